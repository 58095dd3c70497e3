#pragma once

// One training row to token ids and the mask of trained tokens. The one place that decides how a
// row is seen: the tokenized data set, `render` and `eval` all use it.
//
//  chat               the template's text, encoded without added special tokens (the template
//  writes
//                     them); a token is trained when it overlaps the span of a learned assistant
//                     turn
//  prompt_completion  with a template: as a chat of user and assistant. Without: bos + prompt +
//                     separator + completion + eos; completion and eos are trained. The separator
//                     is one newline, or nothing when white space is there already
//  text               bos + text + eos, all trained
//
// bos and eos are written when the tokenizer names them. The first token of a sample is never
// trained: nothing predicts it.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/result.h"
#include "trainer/data/finding.h"
#include "trainer/data/formats.h"

namespace ratchet::trainer {

class Tokenizer;
class ChatTemplate;

struct EncodedSample {
  std::string text;  // what was encoded, without bos and eos that were added as ids
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> train;  // one per id, 0 or 1
};

// Const methods are thread-safe. Tokenizer and template must outlive it.
class SampleEncoder {
 public:
  // `chat_template` null: chat rows are refused with a sentence that says how to name one.
  SampleEncoder(const Tokenizer& tokenizer, const ChatTemplate* chat_template);

  // Errors: no template for a chat row, a template that raises or whose spans cannot be proven,
  // text that the tokenizer refuses. The message names neither row nor line.
  [[nodiscard]] Result<EncodedSample> encode(const Row& row) const;

  // The text of one chat row as the model is asked (add_generation_prompt), and its ids; nothing is
  // trained. Text rows: bos + text. Prompt/completion rows: the prompt alone.
  [[nodiscard]] Result<EncodedSample> encode_prompt(const Row& row) const;

  // Texts of control tokens that occur inside the data of `row`, the first one; "" when none.
  [[nodiscard]] std::string control_text_in(const Row& row) const;

 private:
  const Tokenizer& tokenizer_;
  const ChatTemplate* template_;
};

}  // namespace ratchet::trainer
