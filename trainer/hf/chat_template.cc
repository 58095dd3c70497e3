#include "trainer/hf/chat_template.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "trainer/hf/files.h"
#include "trainer/hf/rust_call.h"

namespace ratchet::trainer {
namespace {

using nlohmann::json;

constexpr size_t kMaxTemplateBytes = size_t{4} << 20;

struct Source {
  std::string text;
  std::string origin;
};

// `chat_template` of a tokenizer_config.json: a text, or a list of {"name", "template"}.
std::optional<std::string> template_in(const json& config) {
  const auto found = config.find("chat_template");
  if (found == config.end()) return std::nullopt;
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array()) return std::nullopt;
  for (const json& named : *found) {
    if (named.is_object() && named.value("name", "") == "default" && named.contains("template") &&
        named["template"].is_string()) {
      return named["template"].get<std::string>();
    }
  }
  return std::nullopt;
}

// json converts from everything, Error included, so that Result<json> would be ambiguous.
struct TokenizerConfig {
  json root;
};

Result<TokenizerConfig> read_config(const std::filesystem::path& folder) {
  const auto path = folder / "tokenizer_config.json";
  auto bytes = read_small_file(path, kMaxTokenizerConfigBytes);
  if (!bytes) {
    if (bytes.error().code == Code::kNotFound) return TokenizerConfig{json::object()};
    return bytes.error();
  }
  json config = json::parse(*bytes, nullptr, false);
  if (!config.is_object()) {
    return Error{Code::kCorrupt, "'" + path.string() + "' is not a JSON object."};
  }
  return TokenizerConfig{std::move(config)};
}

Result<Source> find_source(const std::filesystem::path& folder, const json& config,
                           const std::optional<std::filesystem::path>& override_file) {
  if (override_file) {
    auto text = read_small_file(*override_file, kMaxTemplateBytes);
    if (!text) return Error{text.error().code, "Chat template: " + text.error().message};
    return Source{std::move(*text), override_file->string()};
  }
  const auto file = folder / "chat_template.jinja";
  auto text = read_small_file(file, kMaxTemplateBytes);
  if (text) return Source{std::move(*text), file.string()};
  if (text.error().code != Code::kNotFound) return text.error();
  if (auto inside = template_in(config)) {
    return Source{std::move(*inside), (folder / "tokenizer_config.json").string()};
  }
  return Error{Code::kNotFound,
               "'" + folder.string() +
                   "' has no chat template: neither a file chat_template.jinja nor "
                   "'chat_template' (a text, or a list with one named 'default') in "
                   "tokenizer_config.json. Name one in the spec, \"data\": {\"chat_template\": "
                   "\"my-template.jinja\"}, or with --template FILE."};
}

// Texts of the added tokens. The config has them in new folders; tokenizer.json always does, but
// is large: its vocabulary is skipped while parsing.
std::vector<std::string> find_control_texts(const std::filesystem::path& folder,
                                            const json& config) {
  std::vector<std::string> texts;
  const auto add = [&texts](const json& token) {
    if (token.is_object() && token.contains("content") && token["content"].is_string()) {
      texts.push_back(token["content"].get<std::string>());
    }
  };
  const auto decoder = config.find("added_tokens_decoder");
  if (decoder != config.end() && decoder->is_object()) {
    for (const auto& entry : decoder->items()) add(entry.value());
  } else if (auto bytes = read_small_file(folder / "tokenizer.json", kMaxTokenizerBytes)) {
    const auto keep = [](int depth, json::parse_event_t event, const json& key) {
      return depth != 1 || event != json::parse_event_t::key || key != "model";
    };
    const json document = json::parse(*bytes, keep, false);
    if (document.is_object() && document.contains("added_tokens") &&
        document["added_tokens"].is_array()) {
      for (const json& token : document["added_tokens"]) add(token);
    }
  }
  std::erase(texts, "");
  std::sort(texts.begin(), texts.end(), [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() > b.size() : a < b;
  });
  return texts;
}

bool is_json(std::string_view text, char first) {
  const size_t at = text.find_first_not_of(" \t\r\n");
  return at != std::string_view::npos && text[at] == first &&
         json::accept(text.begin(), text.end());
}

Error not_json(const char* what, const char* kind) {
  return {Code::kInvalidArgument, std::string(what) + " must be a JSON " + kind +
                                      " in UTF-8, without NaN, Infinity or half surrogates."};
}

// The variables that a template sees, as one JSON object. Documents stay the bytes that they are:
// numbers and the order of keys reach the template unchanged.
Result<std::string> variables(std::string_view messages_json, const RenderOptions& options,
                              const SpecialTokens& special_tokens) {
  if (!is_json(messages_json, '[')) return not_json("The messages", "array");
  if (!options.tools_json.empty() && !is_json(options.tools_json, '[')) {
    return not_json("The tools", "array");
  }
  using Ordered = nlohmann::ordered_json;
  Ordered small = Ordered::object();
  for (const auto& [role, token] : special_tokens) small[role] = token;
  if (!options.variables_json.empty()) {
    const Ordered more = Ordered::parse(options.variables_json, nullptr, false);
    if (!more.is_object()) return not_json("The template's further variables", "object");
    small.update(more);
  }
  small["add_generation_prompt"] = options.add_generation_prompt;
  small["documents"] = nullptr;
  std::string all = small.dump(-1, ' ', false, json::error_handler_t::replace);
  all.back() = ',';
  all += "\"tools\":";
  all += options.tools_json.empty() ? "null" : options.tools_json;
  all += ",\"messages\":";
  all += messages_json;
  all += '}';
  return all;
}

}  // namespace

Result<ChatTemplate> ChatTemplate::load(const std::filesystem::path& folder,
                                        const std::optional<std::filesystem::path>& override_file) {
  auto config = read_config(folder);
  if (!config) return config.error();
  auto source = find_source(folder, config->root, override_file);
  if (!source) return source.error();
  auto special_tokens = read_special_tokens(folder);
  if (!special_tokens) return special_tokens.error();
  auto loaded = from_source(source->text, std::move(*special_tokens));
  if (!loaded) {
    return Error{loaded.error().code, "'" + source->origin + "': " + loaded.error().message};
  }
  loaded->origin_ = source->origin;
  loaded->control_texts_ = find_control_texts(folder, config->root);
  return loaded;
}

Result<ChatTemplate> ChatTemplate::from_source(std::string_view source,
                                               SpecialTokens special_tokens) {
  RhTemplate* raw = nullptr;
  RustBytes message;
  if (rh_template_compile(rust_data(source), source.size(), &raw, message.out()) != kRhOk) {
    return rust_error(Code::kInvalidArgument, "The chat template cannot be used", message);
  }
  ChatTemplate compiled;
  compiled.handle_ = std::shared_ptr<const RhTemplate>(
      raw, [](const RhTemplate* handle) { rh_template_free(const_cast<RhTemplate*>(handle)); });
  compiled.has_generation_tags_ = rh_template_has_generation_tags(raw) != 0;
  compiled.special_tokens_ = std::move(special_tokens);
  compiled.source_ = source;
  compiled.digest_ = sha256_hex(source);
  return compiled;
}

Result<Rendered> ChatTemplate::render(std::string_view messages_json,
                                      const RenderOptions& options) const {
  const auto json_text =
      variables(messages_json, options, options.special_tokens.value_or(special_tokens_));
  if (!json_text) return json_text.error();
  RhRender raw{};
  RustBytes message;
  if (rh_template_render(handle_.get(), rust_data(*json_text), json_text->size(), options.now_s,
                         &raw, message.out()) != kRhOk) {
    return rust_error(Code::kInvalidArgument, "The chat template did not render the conversation",
                      message);
  }
  Rendered rendered;
  rendered.text.assign(reinterpret_cast<const char*>(raw.text.data), raw.text.size);
  for (size_t i = 0; i < raw.span_count; ++i) {
    rendered.generation_spans.push_back({raw.spans[2 * i], raw.spans[2 * i + 1]});
  }
  rh_render_free(&raw);
  return rendered;
}

}  // namespace ratchet::trainer
