#include "trainer/hf/loss_spans.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "trainer/hf/turn_proof.h"

namespace ratchet::trainer {
namespace {

using Json = nlohmann::ordered_json;

struct Turns {
  std::vector<size_t> trained;
  std::vector<size_t> left_out;  // "weight": 0
};

Turns assistant_turns(const Json& messages) {
  Turns turns;
  for (size_t i = 0; i < messages.size(); ++i) {
    const Json& message = messages[i];
    if (!message.is_object()) continue;
    const auto role = message.find("role");
    if (role == message.end() || *role != "assistant") continue;
    const auto weight = message.find("weight");
    const bool out = weight != message.end() && weight->is_number() && *weight == 0;
    (out ? turns.left_out : turns.trained).push_back(i);
  }
  return turns;
}

// Orders, drops empty spans, merges touching ones.
std::vector<ByteSpan> merged(std::vector<ByteSpan> spans) {
  std::erase_if(spans, [](const ByteSpan& span) { return span.begin >= span.end; });
  std::sort(spans.begin(), spans.end(),
            [](const ByteSpan& a, const ByteSpan& b) { return a.begin < b.begin; });
  std::vector<ByteSpan> result;
  for (const ByteSpan& span : spans) {
    if (!result.empty() && span.begin <= result.back().end) {
      result.back().end = std::max(result.back().end, span.end);
    } else {
      result.push_back(span);
    }
  }
  return result;
}

std::vector<ByteSpan> without(const std::vector<ByteSpan>& spans, const ByteSpan& hole) {
  std::vector<ByteSpan> kept;
  for (const ByteSpan& span : spans) {
    kept.push_back({span.begin, std::min(span.end, hole.begin)});
    kept.push_back({std::max(span.begin, hole.end), span.end});
  }
  return merged(std::move(kept));
}

Result<std::vector<ByteSpan>> proven_spans(const TurnProof& proof,
                                           const std::vector<size_t>& turns) {
  std::vector<ByteSpan> spans;
  for (const size_t turn : turns) {
    auto span = proof.span_of(turn);
    if (!span) return span.error();
    if (!spans.empty() && span->begin < spans.back().end) {
      return Error{Code::kUnsupported, "The loss cannot be placed on messages[" +
                                           std::to_string(turn) +
                                           "]: the template writes it inside of an earlier turn."};
    }
    spans.push_back(*span);
  }
  return spans;
}

}  // namespace

Result<RenderedLoss> render_with_loss(const ChatTemplate& chat_template,
                                      std::string_view messages_json,
                                      const RenderOptions& options) {
  auto rendered = chat_template.render(messages_json, options);
  if (!rendered) return rendered.error();
  const Json messages = Json::parse(messages_json.begin(), messages_json.end(), nullptr, false);
  const Turns turns = assistant_turns(messages);
  RenderedLoss loss{std::move(rendered->text), {}};
  const bool tagged = chat_template.has_generation_tags();
  if (tagged && turns.left_out.empty()) {
    loss.spans = merged(std::move(rendered->generation_spans));
    return loss;
  }
  auto proof = TurnProof::start(chat_template, messages, options, loss.text);
  if (!proof) return proof.error();
  auto spans = proven_spans(*proof, tagged ? turns.left_out : turns.trained);
  if (!spans) return spans.error();
  if (!tagged) {
    loss.spans = merged(std::move(*spans));
    return loss;
  }
  loss.spans = merged(std::move(rendered->generation_spans));
  for (const ByteSpan& hole : *spans) loss.spans = without(loss.spans, hole);
  return loss;
}

std::vector<uint8_t> train_mask(std::span<const ByteSpan> offsets,
                                std::span<const ByteSpan> spans) {
  std::vector<uint8_t> mask(offsets.size(), 0);
  for (size_t i = 0; i < offsets.size(); ++i) {
    const ByteSpan& token = offsets[i];
    if (token.begin >= token.end) continue;
    // The first span that ends behind the token's first byte is the only one that can begin before
    // the token's end: spans are ordered and disjoint.
    const auto found =
        std::upper_bound(spans.begin(), spans.end(), token.begin,
                         [](size_t begin, const ByteSpan& span) { return begin < span.end; });
    mask[i] = found != spans.end() && found->begin < token.end ? 1 : 0;
  }
  return mask;
}

Result<LossTokens> tokenize_conversation(const Tokenizer& tokenizer,
                                         const ChatTemplate& chat_template,
                                         std::string_view messages_json,
                                         const RenderOptions& options) {
  auto loss = render_with_loss(chat_template, messages_json, options);
  if (!loss) return loss.error();
  auto encoding = tokenizer.encode_with_offsets(loss->text, AddSpecial::kNo);
  if (!encoding) return encoding.error();
  LossTokens tokens;
  tokens.train = train_mask(encoding->offsets, loss->spans);
  tokens.text = std::move(loss->text);
  tokens.ids = std::move(encoding->ids);
  return tokens;
}

}  // namespace ratchet::trainer
