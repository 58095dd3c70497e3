// Arbitrary bytes through the ABI of trainer/hf/ratchet_hf.h: no crash, no hang, and answers that
// agree with each other. The first byte of an input says what the rest is:
//
//   0  text for a byte-level tokenizer: encoded, with offsets, and decoded again
//   1  a tokenizer.json
//   2  a chat template, rendered for a fixed conversation
//   3  the messages of a conversation, for a template that reads much of them
//   4  template and messages, separated by a NUL byte

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "trainer/hf/bpe_training.h"
#include "trainer/hf/loss_spans.h"
#include "trainer/hf/tokenizer.h"

namespace {

using ratchet::trainer::AddSpecial;
using ratchet::trainer::ChatTemplate;
using ratchet::trainer::SkipSpecial;
using ratchet::trainer::SpecialTokens;
using ratchet::trainer::Tokenizer;

constexpr std::string_view kMessages =
    R"([{"role":"system","content":"s"},{"role":"user","content":"u"},)"
    R"({"role":"assistant","content":"a","tool_calls":[{"function":{"name":"f","arguments":{}}}]},)"
    R"({"role":"tool","content":"1.5"},{"role":"assistant","content":"b"}])";

constexpr std::string_view kTemplate =
    "{% for m in messages %}<{{ m.role }}>{% if m.content is string %}{{ m.content | trim }}"
    "{% else %}{{ m.content | tojson(indent=2) }}{{ m.content }}{% endif %}"
    "{% for c in m.tool_calls %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor "
    "%}"
    "{{ m.content | float }}{{ m.content | length }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";

const SpecialTokens& special_tokens() {
  static const SpecialTokens tokens = {{"bos_token", "<|bos|>"}, {"eos_token", "<|eos|>"}};
  return tokens;
}

void require(bool holds) {
  if (!holds) std::abort();
}

void check_text(const Tokenizer& tokenizer, std::string_view text) {
  const auto encoding = tokenizer.encode_with_offsets(text, AddSpecial::kNo);
  const auto ids = tokenizer.encode(text, AddSpecial::kNo);
  require(encoding.has_value() == ids.has_value());
  if (!encoding) return;
  require(encoding->ids == *ids && encoding->offsets.size() == ids->size());
  for (const auto& span : encoding->offsets) {
    require(span.begin <= span.end && span.end <= text.size());
  }
  require(tokenizer.decode(*ids, SkipSpecial::kYes).has_value());
}

const Tokenizer& byte_level_tokenizer() {
  static const Tokenizer tokenizer = [] {
    const std::string texts[] = {"the wheel turns and turns the wheel", "12 ratchets, 345 teeth"};
    return Tokenizer::from_bytes(ratchet::trainer::train_bpe(texts, {.vocab_size = 300}).value(),
                                 ratchet::trainer::default_tokenizer_config())
        .value();
  }();
  return tokenizer;
}

void check_byte_level(std::string_view text) {
  const Tokenizer& tokenizer = byte_level_tokenizer();
  check_text(tokenizer, text);
  const auto ids = tokenizer.encode(text, AddSpecial::kNo);
  // Byte-level without a normalizer: nothing is lost.
  if (ids) require(tokenizer.decode(*ids, SkipSpecial::kNo).value() == text);
}

void check_tokenizer_json(std::string_view json) {
  const auto tokenizer = Tokenizer::from_bytes(json);
  if (!tokenizer) return;
  (void)tokenizer->vocab_size();
  const auto ids = tokenizer->encode("abc <s> 12\n\xc3\xa9", AddSpecial::kYes);
  if (ids) (void)tokenizer->decode(*ids, SkipSpecial::kNo);
}

void check_conversation(std::string_view source, std::string_view messages) {
  const auto compiled = ChatTemplate::from_source(source, special_tokens());
  if (!compiled) return;
  const auto loss = ratchet::trainer::render_with_loss(*compiled, messages);
  if (!loss) return;
  size_t last = 0;
  for (const auto& span : loss->spans) {
    require(last <= span.begin && span.begin < span.end && span.end <= loss->text.size());
    last = span.end;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 5) {
    case 0:
      check_byte_level(rest);
      break;
    case 1:
      check_tokenizer_json(rest);
      break;
    case 2:
      check_conversation(rest, kMessages);
      break;
    case 3:
      check_conversation(kTemplate, rest);
      break;
    default: {
      const size_t middle = rest.find('\0');
      if (middle == std::string_view::npos) break;
      check_conversation(rest.substr(0, middle), rest.substr(middle + 1));
    }
  }
  return 0;
}
