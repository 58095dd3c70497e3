#pragma once

// Which bytes of a rendered conversation the loss is taken on: what the assistant wrote.
//
// A template with {% generation %} tags says so itself. For any other the span of every assistant
// turn is proven from renders of the same conversation; the text of a turn is never searched for.
// With A and B two sentinels that occur nowhere in conversation or template, for turn i:
//
//   whole conversation, turn i said A or B     =  P + A + S    and  P + B + S
//   conversation cut after turn i, said A or B =  P' + A + C   and  P' + B + C
//   messages before turn i + generation prompt =  G
//
//  1. Both sentinels stand once, unchanged, with the same text around them.
//  2. The turn begins where the generation prompt ends. P' must begin with G; what P' has beyond G
//     (a space, an empty <think> block) is text that the model writes itself, and P must end with
//     it too. It does not where a template shows a turn otherwise once later turns follow (Qwen3's
//     stock template drops earlier <think> blocks): that is refused.
//  3. The turn ends after the text with which both C and S begin (`<|eot_id|>`, `<|im_end|>\n`);
//     for the last turn that is all of C. bos_token and eos_token are sentinels as well in these
//     renders, so that a text which only closes the conversation (Phi-3's <|endoftext|>) is not
//     mistaken for half of the next header; where a text is written out in the template, the border
//     moves back to the beginning of a control token that it would cut.
//  4. The true render must be P, the turn's content (at most trimmed), S.
//
// Tool calls: the turn is replaced as a whole by a plain one for 1 to 3, and once more with its
// function names exchanged, which must change nothing but the turn's own bytes, and must show.
// OpenAI's `"weight": 0` on an assistant message takes its turn out of the loss.

#include <string_view>
#include <vector>

#include "proto/result.h"
#include "trainer/hf/byte_span.h"
#include "trainer/hf/chat_template.h"
#include "trainer/hf/tokenizer.h"

namespace ratchet::trainer {

struct RenderedLoss {
  std::string text;
  std::vector<ByteSpan> spans;  // ordered, disjoint, not empty; touching spans are merged
};

// Renders the conversation and finds its loss spans. `messages_json` is a JSON array.
// Errors: kInvalidArgument (the conversation does not render), kUnsupported (no proof holds; the
// message names turn and reason).
Result<RenderedLoss> render_with_loss(const ChatTemplate& chat_template,
                                      std::string_view messages_json,
                                      const RenderOptions& options = {});

struct LossTokens {
  std::string text;
  std::vector<int32_t> ids;
  std::vector<uint8_t> train;  // [ids.size()]: 1 where the token is a training target
};

// A token is trained if it covers at least one byte of a span (transformers' rule for assistant
// masks). The text is encoded without adding special tokens: a chat template writes its own BOS,
// and a second one would shift every position.
Result<LossTokens> tokenize_conversation(const Tokenizer& tokenizer,
                                         const ChatTemplate& chat_template,
                                         std::string_view messages_json,
                                         const RenderOptions& options = {});

// The mask alone: `offsets` as encode_with_offsets gives them, `spans` ordered and disjoint.
std::vector<uint8_t> train_mask(std::span<const ByteSpan> offsets, std::span<const ByteSpan> spans);

}  // namespace ratchet::trainer
