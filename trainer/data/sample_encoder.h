#pragma once

// One training row to token ids and the mask of trained tokens. The one place that decides how a
// row is seen: the tokenized data set, `render` and `eval` all use it.
//
//  chat               the template's text, encoded without added special tokens (the template
//  writes
//                     them); a token is trained when it overlaps the span of a learned assistant
//                     turn
//  prompt_completion  with a template: as a chat of user and assistant. Without: bos + prompt +
//                     separator + completion + eos, where completion and eos are trained; the
//                     separator is one newline, or nothing where white space stands already
//  text               bos + text + eos, all trained
//
// bos and eos are written where the tokenizer names them. The first token of a sample is never
// trained: nothing predicts it.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proto/result.h"
#include "trainer/data/finding.h"
#include "trainer/data/formats.h"
#include "trainer/hf/chat_template.h"
#include "trainer/hf/tokenizer.h"

namespace ratchet::trainer {

struct EncodedSample {
  std::string text;  // what was encoded, without bos and eos that were added as ids
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> train;  // one per id, 0 or 1
};

// A sample for people to look at. Where the template renders the row and only the loss cannot be
// placed, the text and ids are there, train is empty and `fault` is the reason.
struct SampleView {
  EncodedSample sample;
  std::string fault;
};

// A thing that a row does which is allowed and seldom meant.
struct RowDoubt {
  Rule rule = Rule::kControlTokenText;
  std::string message;
  std::string current;
};

// Const methods are thread-safe. Tokenizer and template must outlive it.
class SampleEncoder {
 public:
  // `chat_template` null: chat rows are refused with a sentence that says how to name one.
  SampleEncoder(const Tokenizer& tokenizer, const ChatTemplate* chat_template);

  // Errors: no template for a chat row; a template that raises, whose spans cannot be proven, or
  // that writes a list of content parts as a list; text that the tokenizer refuses. The message
  // names neither row nor line.
  [[nodiscard]] Result<EncodedSample> encode(const Row& row) const;

  // The same for `render`: also rows without a reply, and with `add_generation_prompt` what the
  // template writes to ask for the next one. Errors: the row cannot be rendered or encoded.
  [[nodiscard]] Result<SampleView> view(const Row& row, bool add_generation_prompt) const;

  // Control tokens spelled inside the data; tool arguments that the template quotes twice.
  [[nodiscard]] std::vector<RowDoubt> doubts(const Row& row) const;

 private:
  [[nodiscard]] Result<EncodedSample> encode_text(const Row& row) const;
  [[nodiscard]] Result<EncodedSample> encode_pair(const Row& row) const;
  [[nodiscard]] Result<EncodedSample> encode_chat(const Row& row) const;
  [[nodiscard]] Status check_parts(const Row& row, const std::string& rendered) const;
  void add_bos_eos(EncodedSample& sample) const;

  const Tokenizer& tokenizer_;
  const ChatTemplate* template_;
  std::vector<std::string> control_texts_;  // special tokens of the tokenizer, as text
};

}  // namespace ratchet::trainer
