#pragma once

// Which bytes of a rendered conversation the loss is taken on: what the assistant wrote.
//
// A template with {% generation %} tags says so itself. For any other the span of every assistant
// turn is proven from renders of the same conversation (turn_proof.h has the rules), and where no
// proof holds the conversation is refused with the reason. The text of a turn is never searched
// for.
//
// What a span holds: all that the model writes after the generation prompt, the end of its turn
// included (Llama-3 `content<|eot_id|>`, ChatML `content<|im_end|>\n`, Phi-3 `content<|end|>\n` and
// after the last turn its <|endoftext|>); headers never. OpenAI's `"weight": 0` on an assistant
// message takes its turn out of the loss.

#include <cstdint>
#include <span>
#include <string>
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
