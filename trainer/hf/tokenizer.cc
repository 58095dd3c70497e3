#include "trainer/hf/tokenizer.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "trainer/hf/files.h"
#include "trainer/hf/rust_call.h"

namespace ratchet::trainer {
namespace {

using nlohmann::json;

// Written as a text, or as an object with its "content" (what transformers 4 saved).
std::optional<std::string> token_text(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("content") && value["content"].is_string()) {
    return value["content"].get<std::string>();
  }
  return std::nullopt;
}

// Roles are the keys that end in "_token": bos_token, eos_token, pad_token, unk_token, ...
Status add_special_tokens(const json& document, SpecialTokens& tokens) {
  for (const auto& [key, value] : document.items()) {
    if (!key.ends_with("_token") || value.is_null() || value.is_boolean()) continue;
    const auto text = token_text(value);
    if (!text) {
      return Error{Code::kInvalidArgument, "'" + key +
                                               "' in the tokenizer's config is neither a text nor "
                                               "an object with a text 'content'."};
    }
    tokens.emplace(key, *text);
  }
  return ok();
}

// json converts from everything, Error included, so that Result<json> would be ambiguous.
struct Document {
  json root;
};

Result<Document> parse_object(std::string_view text, const std::string& name) {
  json document = json::parse(text, nullptr, false);
  if (!document.is_object()) {
    return Error{Code::kCorrupt, "'" + name + "' is not a JSON object."};
  }
  return Document{std::move(document)};
}

// An absent file is an empty text.
Result<std::string> read_optional(const std::filesystem::path& path) {
  auto bytes = read_small_file(path, kMaxTokenizerConfigBytes);
  if (!bytes && bytes.error().code == Code::kNotFound) return std::string();
  return bytes;
}

Result<std::vector<AddedToken>> read_added_tokens(const RhTokenizer* handle) {
  RustBytes text;
  RustBytes message;
  if (rh_tokenizer_added_tokens(handle, text.out(), message.out()) != kRhOk) {
    return rust_error(Code::kInternal, "The added tokens could not be listed", message);
  }
  std::vector<AddedToken> tokens;
  for (const json& token : json::parse(text.view())) {
    tokens.push_back({token["content"].get<std::string>(), token["id"].get<int32_t>(),
                      token["special"].get<bool>()});
  }
  return tokens;
}

// Field lengths are part of it, so that no two sets of tokens share a text.
std::string digest_of(std::string_view tokenizer_json, const SpecialTokens& tokens) {
  std::string text = sha256_hex(tokenizer_json);
  for (const auto& [role, token] : tokens) {
    text += '\n' + role + ' ' + std::to_string(token.size()) + ' ' + token;
  }
  return sha256_hex(text);
}

}  // namespace

Result<SpecialTokens> read_special_tokens(const std::filesystem::path& folder) {
  SpecialTokens tokens;
  // emplace keeps the first: the config wins over the map that older folders carry beside it.
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const auto path = folder / name;
    auto bytes = read_optional(path);
    if (!bytes) return bytes.error();
    if (bytes->empty()) continue;
    auto document = parse_object(*bytes, path.string());
    if (!document) return document.error();
    // A role that the config sets to null is unset, whatever the older file says.
    if (auto added = add_special_tokens(document->root, tokens); !added) return added.error();
    if (std::string_view(name) == "tokenizer_config.json" && document->root.contains("eos_token"))
      break;
  }
  return tokens;
}

Result<Tokenizer> Tokenizer::load(const std::filesystem::path& folder) {
  const auto path = folder / "tokenizer.json";
  auto bytes = read_small_file(path, kMaxTokenizerBytes);
  if (!bytes) {
    if (bytes.error().code != Code::kNotFound) return bytes.error();
    return Error{Code::kNotFound,
                 "There is no tokenizer at '" + path.string() +
                     "'. A model folder needs a tokenizer.json; older folders with only "
                     "tokenizer.model or vocab.json get one from transformers' save_pretrained."};
  }
  auto tokens = read_special_tokens(folder);
  if (!tokens) return tokens.error();
  json config = json::object();
  for (const auto& [role, token] : *tokens) config[role] = token;
  auto loaded = from_bytes(*bytes, config.dump());
  if (!loaded) {
    return Error{loaded.error().code, "'" + path.string() + "': " + loaded.error().message};
  }
  return loaded;
}

Result<Tokenizer> Tokenizer::from_bytes(std::string_view tokenizer_json,
                                        std::string_view config_json) {
  Tokenizer tokenizer;
  if (!config_json.empty()) {
    auto config = parse_object(config_json, "tokenizer_config.json");
    if (!config) return config.error();
    if (auto added = add_special_tokens(config->root, tokenizer.special_tokens_); !added) {
      return added.error();
    }
  }
  RhTokenizer* raw = nullptr;
  RustBytes message;
  if (rh_tokenizer_load(rust_data(tokenizer_json), tokenizer_json.size(), &raw, message.out()) !=
      kRhOk) {
    return rust_error(Code::kCorrupt, "The tokenizer could not be read", message);
  }
  tokenizer.handle_ = std::shared_ptr<const RhTokenizer>(
      raw, [](const RhTokenizer* handle) { rh_tokenizer_free(const_cast<RhTokenizer*>(handle)); });
  const size_t vocab_size = rh_tokenizer_vocab_size(raw);
  if (vocab_size > static_cast<size_t>(INT32_MAX)) {
    return Error{Code::kCorrupt, "The tokenizer has token ids beyond 2147483646."};
  }
  tokenizer.vocab_size_ = static_cast<int32_t>(vocab_size);
  auto added = read_added_tokens(raw);
  if (!added) return added.error();
  tokenizer.added_tokens_ = std::move(*added);
  const auto id_of = [&tokenizer](const char* role) -> std::optional<int32_t> {
    const auto found = tokenizer.special_tokens_.find(role);
    if (found == tokenizer.special_tokens_.end()) return std::nullopt;
    return tokenizer.token_to_id(found->second);
  };
  tokenizer.bos_id_ = id_of("bos_token");
  tokenizer.eos_id_ = id_of("eos_token");
  tokenizer.pad_id_ = id_of("pad_token");
  tokenizer.digest_ = digest_of(tokenizer_json, tokenizer.special_tokens_);
  return tokenizer;
}

Result<Tokenizer::Encoding> Tokenizer::encode_with_offsets(std::string_view utf8,
                                                           AddSpecial add) const {
  RhEncoding raw{};
  RustBytes message;
  if (rh_tokenizer_encode(handle_.get(), rust_data(utf8), utf8.size(), add == AddSpecial::kYes, 1,
                          &raw, message.out()) != kRhOk) {
    return rust_error(Code::kInvalidArgument, "A text could not be tokenised", message);
  }
  Encoding encoding;
  encoding.ids.reserve(raw.size);
  encoding.offsets.reserve(raw.size);
  for (size_t i = 0; i < raw.size; ++i) {
    encoding.ids.push_back(static_cast<int32_t>(raw.ids[i]));
    encoding.offsets.push_back({raw.offsets[2 * i], raw.offsets[2 * i + 1]});
  }
  rh_encoding_free(&raw);
  return encoding;
}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view utf8, AddSpecial add) const {
  RhEncoding raw{};
  RustBytes message;
  if (rh_tokenizer_encode(handle_.get(), rust_data(utf8), utf8.size(), add == AddSpecial::kYes, 0,
                          &raw, message.out()) != kRhOk) {
    return rust_error(Code::kInvalidArgument, "A text could not be tokenised", message);
  }
  std::vector<int32_t> ids(raw.ids, raw.ids + raw.size);
  rh_encoding_free(&raw);
  return ids;
}

Result<std::vector<std::vector<int32_t>>> Tokenizer::encode_batch(
    std::span<const std::string> texts, AddSpecial add, int threads) const {
  std::vector<std::vector<int32_t>> all(texts.size());
  std::atomic<size_t> next{0};
  std::mutex mu;
  std::optional<std::pair<size_t, Error>> first_error;  // guarded by mu
  const auto work = [&] {
    for (size_t i = next++; i < texts.size(); i = next++) {
      auto ids = encode(texts[i], add);
      if (ids) {
        all[i] = std::move(*ids);
        continue;
      }
      const std::lock_guard lock(mu);
      if (!first_error || i < first_error->first) first_error.emplace(i, ids.error());
    }
  };
  {
    std::vector<std::jthread> pool;
    const auto wanted = std::min<size_t>(static_cast<size_t>(std::max(threads, 1)), texts.size());
    for (size_t t = 1; t < wanted; ++t) pool.emplace_back(work);
    work();
  }
  if (first_error) {
    return Error{first_error->second.code,
                 "Text " + std::to_string(first_error->first) + ": " + first_error->second.message};
  }
  return all;
}

Result<std::string> Tokenizer::decode(std::span<const int32_t> ids, SkipSpecial skip) const {
  std::vector<uint32_t> unsigned_ids(ids.begin(), ids.end());
  RustBytes text;
  RustBytes message;
  if (rh_tokenizer_decode(handle_.get(), unsigned_ids.data(), unsigned_ids.size(),
                          skip == SkipSpecial::kYes, text.out(), message.out()) != kRhOk) {
    return rust_error(Code::kInvalidArgument, "Token ids could not be decoded", message);
  }
  return std::string(text.view());
}

std::optional<int32_t> Tokenizer::token_to_id(std::string_view token) const {
  const int64_t id = rh_tokenizer_token_to_id(handle_.get(), rust_data(token), token.size());
  if (id < 0) return std::nullopt;
  return static_cast<int32_t>(id);
}

Result<std::string> Tokenizer::id_to_token(int32_t id) const {
  RustBytes token;
  RustBytes message;
  if (rh_tokenizer_id_to_token(handle_.get(), static_cast<uint32_t>(id), token.out(),
                               message.out()) != kRhOk) {
    return rust_error(Code::kInvalidArgument, "A token id could not be looked up", message);
  }
  return std::string(token.view());
}

}  // namespace ratchet::trainer
