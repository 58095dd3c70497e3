#pragma once

// TurnProof: where an assistant turn stands in a rendered conversation, shown by rendering the same
// conversation with the turn exchanged. Used by loss_spans.cc for templates without generation
// tags.
//
// With A and B two sentinels that occur nowhere in conversation or template, for turn i:
//
//   whole conversation, turn i said A or B         =  P  A S   and  P  B S
//   conversation cut after turn i, said A or B     =  P' A C   and  P' B C
//   messages before turn i, with generation prompt =  G
//
//  1. Both sentinels stand once, unchanged, with the same text around them.
//  2. The turn begins where the generation prompt ends. P' must begin with G; what P' has beyond G
//     (a space, an empty <think> block) the model writes itself, and P must end with it too. It
//     does not where a template shows a turn otherwise once later turns follow (Qwen3's stock
//     template drops earlier <think> blocks): refused. Where the template knows no generation
//     prompt, or no messages before the turn can be rendered, the turn begins with its content.
//  3. The turn ends after the text with which both C and S begin (`<|eot_id|>`, `<|im_end|>\n`);
//     for the last turn that is all of C. The special tokens that the template is given are
//     sentinels too in all of these renders, so that a text which only closes the conversation
//     (Phi-3's <|endoftext|>) is not taken for half of the next header; where that text is written
//     out in the template, the border moves back to the start of the control token it would cut.
//  4. The true render must be P, the turn's content (at most trimmed), S.
//
// A turn with tool calls is replaced as a whole by a plain one for 1 to 3; then its function names
// are exchanged, which must change nothing but the turn's own bytes and must show there.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/result.h"
#include "trainer/hf/byte_span.h"
#include "trainer/hf/chat_template.h"

namespace ratchet::trainer {

class TurnProof {
 public:
  // `messages` is a JSON array of objects; `rendered` its render under `options`. Both, like the
  // template, must outlive the proof.
  static Result<TurnProof> start(const ChatTemplate& chat_template,
                                 const nlohmann::ordered_json& messages,
                                 const RenderOptions& options, std::string_view rendered);

  // The span of messages[turn] in `rendered`. kUnsupported with the reason where no proof holds.
  [[nodiscard]] Result<ByteSpan> span_of(size_t turn) const;

 private:
  struct Frame {  // the same text before and after each of two sentinels
    std::string before;
    std::string after;
  };
  struct Start {                  // how much of Frame::before belongs to the turn
    size_t written_by_model = 0;  // bytes at its end that are in the span
  };

  TurnProof(const ChatTemplate& chat_template, const nlohmann::ordered_json& messages)
      : template_(chat_template), messages_(messages) {}

  void choose_sentinels(const RenderOptions& options);
  [[nodiscard]] Result<std::string> render(size_t count, size_t turn, std::string_view turn_json,
                                           bool generation_prompt) const;
  [[nodiscard]] Result<Frame> frame(size_t count, size_t turn) const;
  [[nodiscard]] Result<size_t> find_start(size_t turn, const Frame& whole, const Frame& cut) const;
  [[nodiscard]] Result<size_t> end_size(size_t turn, std::string_view cut_after,
                                        std::string_view whole_after) const;
  [[nodiscard]] Status check_content(size_t turn, std::string_view shown) const;
  [[nodiscard]] Status check_calls(size_t turn, std::string_view before,
                                   std::string_view after) const;
  [[nodiscard]] size_t control_border(std::string_view text, size_t border) const;
  [[nodiscard]] bool starts_with_control(std::string_view text) const;
  [[nodiscard]] std::string resolve(std::string_view text) const;
  [[nodiscard]] Error refuse(size_t turn, const std::string& reason) const;

  const ChatTemplate& template_;
  const nlohmann::ordered_json& messages_;
  std::vector<std::string> message_texts_;
  std::string sentinel_a_;
  std::string sentinel_b_;
  // Sentinel that stands for a special token -> the token; empty where the template looks at the
  // tokens themselves, and then the renders use the true ones.
  std::vector<std::pair<std::string, std::string>> variables_;
  RenderOptions options_;  // with variables_ in place of the special tokens
  std::string base_;       // the conversation as it is, under options_
};

}  // namespace ratchet::trainer
