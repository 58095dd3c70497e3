#pragma once

// Tokenizer: a Hugging Face tokenizer folder (tokenizer.json, tokenizer_config.json), read by the
// `tokenizers` library. tokenizer.json alone decides ids; the config only names bos, eos and pad.
// All const methods may be called from any number of threads at once.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "trainer/hf/byte_span.h"

struct RhTokenizer;

namespace ratchet::trainer {

enum class AddSpecial { kNo, kYes };   // what tokenizer.json's post_processor adds (a BOS, say)
enum class SkipSpecial { kNo, kYes };  // whether decode leaves special tokens out of the text

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool special = false;
};

// Role ("bos_token", "eos_token", "pad_token", "unk_token", ...) -> token text, for the roles that
// tokenizer_config.json (else special_tokens_map.json) sets to something other than null.
using SpecialTokens = std::map<std::string, std::string>;

class Tokenizer {
 public:
  // `folder` holds tokenizer.json and, usually, tokenizer_config.json.
  // Errors: kNotFound (no tokenizer.json), kCorrupt (not one, or added tokens whose ids disagree
  // with the file), kInvalidArgument (a config that is not what transformers writes).
  static Result<Tokenizer> load(const std::filesystem::path& folder);

  // From bytes instead of files; `config_json` may be empty.
  static Result<Tokenizer> from_bytes(std::string_view tokenizer_json,
                                      std::string_view config_json = {});

  struct Encoding {
    std::vector<int32_t> ids;
    std::vector<ByteSpan> offsets;  // bytes of the given text that each token covers; empty for
                                    // tokens that cover none. Tokens that share one character
                                    // (byte-level pieces of an emoji) all carry its range.
  };

  // `utf8` must be valid UTF-8 (kInvalidArgument otherwise). Text that spells a special token
  // becomes that token, as in transformers.
  [[nodiscard]] Result<std::vector<int32_t>> encode(std::string_view utf8, AddSpecial add) const;
  [[nodiscard]] Result<Encoding> encode_with_offsets(std::string_view utf8, AddSpecial add) const;

  // Encodes every text, in order, on up to `threads` threads. The first error wins and names the
  // index of its text.
  [[nodiscard]] Result<std::vector<std::vector<int32_t>>> encode_batch(
      std::span<const std::string> texts, AddSpecial add, int threads) const;

  // Ids outside of the vocabulary are an error. Bytes that do not form UTF-8 become U+FFFD.
  [[nodiscard]] Result<std::string> decode(std::span<const int32_t> ids, SkipSpecial skip) const;

  // Largest id + 1, added tokens included. A model's vocab_size may be larger, never smaller.
  [[nodiscard]] int32_t vocab_size() const { return vocab_size_; }
  [[nodiscard]] std::optional<int32_t> token_to_id(std::string_view token) const;
  [[nodiscard]] Result<std::string> id_to_token(int32_t id) const;

  [[nodiscard]] std::optional<int32_t> bos_id() const { return bos_id_; }
  [[nodiscard]] std::optional<int32_t> eos_id() const { return eos_id_; }
  [[nodiscard]] std::optional<int32_t> pad_id() const { return pad_id_; }
  [[nodiscard]] const SpecialTokens& special_tokens() const { return special_tokens_; }
  [[nodiscard]] const std::vector<AddedToken>& added_tokens() const { return added_tokens_; }

  // SHA-256 (hex) of tokenizer.json and the special tokens: equal digests give equal ids. The chat
  // template has a digest of its own.
  [[nodiscard]] const std::string& digest() const { return digest_; }

 private:
  Tokenizer() = default;

  std::shared_ptr<const RhTokenizer> handle_;  // immutable, shared by copies of the tokenizer
  int32_t vocab_size_ = 0;
  std::optional<int32_t> bos_id_;
  std::optional<int32_t> eos_id_;
  std::optional<int32_t> pad_id_;
  SpecialTokens special_tokens_;
  std::vector<AddedToken> added_tokens_;
  std::string digest_;
};

// The special tokens of a folder, without loading its vocabulary.
Result<SpecialTokens> read_special_tokens(const std::filesystem::path& folder);

}  // namespace ratchet::trainer
