#pragma once

// ChatTemplate: a model's chat template, rendered as transformers' apply_chat_template renders it
// (Jinja2 with trim_blocks, lstrip_blocks, loop controls, Python's tojson, raise_exception,
// strftime_now, {% generation %}). Const methods may be called from any number of threads.
//
// Rendering is bounded in instructions, depth and length of output. A template is
// nevertheless code that the model's publisher wrote: one that doubles a string in a loop can use
// much memory before the budget stops it. Messages and tools are data and cannot.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "trainer/hf/byte_span.h"
#include "trainer/hf/tokenizer.h"

struct RhTemplate;

namespace ratchet::trainer {

// 2024-07-26 00:00:00 UTC, the date that Llama-3.1's template falls back to. Training renders use
// it always, so that a resumed job sees the text that it saw before; `generate` passes the clock.
inline constexpr int64_t kTrainingClockS = 1721952000;

struct RenderOptions {
  bool add_generation_prompt = false;
  std::string tools_json{};      // a JSON array, or empty for none
  std::string variables_json{};  // a JSON object of more variables (enable_thinking, ...), or empty
  int64_t now_s = kTrainingClockS;                // what strftime_now reads, UTC
  std::optional<SpecialTokens> special_tokens{};  // instead of the folder's own
};

struct Rendered {
  std::string text;
  std::vector<ByteSpan> generation_spans;  // what {% generation %} enclosed, ordered and disjoint
};

class ChatTemplate {
 public:
  // Source, first that exists: `override_file`; chat_template.jinja in `folder`; `chat_template` in
  // tokenizer_config.json (a text, or a list of named templates, of which "default" is taken).
  // Errors: kNotFound says where a template was looked for and how to name one; kInvalidArgument
  // gives the line at which a template does not compile.
  static Result<ChatTemplate> load(
      const std::filesystem::path& folder,
      const std::optional<std::filesystem::path>& override_file = std::nullopt);

  static Result<ChatTemplate> from_source(std::string_view source, SpecialTokens special_tokens);

  // `messages_json`: a JSON array of message objects, passed to the template as they are.
  // kInvalidArgument carries the template's own complaint (raise_exception, a missing key).
  [[nodiscard]] Result<Rendered> render(std::string_view messages_json,
                                        const RenderOptions& options = {}) const;

  [[nodiscard]] bool has_generation_tags() const { return has_generation_tags_; }
  [[nodiscard]] const SpecialTokens& special_tokens() const { return special_tokens_; }
  // Texts of every added token of the folder, where it has a tokenizer.json; longest first.
  [[nodiscard]] const std::vector<std::string>& control_texts() const { return control_texts_; }
  [[nodiscard]] const std::string& source() const { return source_; }
  [[nodiscard]] const std::string& origin() const { return origin_; }  // file, for messages
  [[nodiscard]] const std::string& digest() const { return digest_; }  // SHA-256 (hex) of source()

 private:
  ChatTemplate() = default;

  std::shared_ptr<const RhTemplate> handle_;
  bool has_generation_tags_ = false;
  SpecialTokens special_tokens_;
  std::vector<std::string> control_texts_;
  std::string source_;
  std::string origin_ = "memory";
  std::string digest_;
};

}  // namespace ratchet::trainer
