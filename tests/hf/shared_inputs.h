#pragma once

// Where the real inputs are (environment RATCHET_SHARED, else beside the checkout), and the
// expected renders among them. Private to the tests of this folder.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "trainer/hf/chat_template.h"

namespace ratchet::trainer::testing {

std::filesystem::path shared_inputs();
bool have_shared_inputs();
std::string read_text(const std::filesystem::path& path);

// One row of templates/expectations/jinja2_renders.jsonl: a template, a conversation, and what
// Jinja2 made of them.
struct Expected {
  std::string template_name;
  std::string test_case;
  std::string messages_json;
  RenderOptions options;
  std::optional<std::string> rendered;         // nothing where Jinja2 gave an error
  std::string error;                           // type of that error (TemplateError, ...)
  std::string error_text;                      // its message
  std::optional<std::vector<ByteSpan>> spans;  // of templates with {% generation %}
  std::vector<int32_t> ids_qwen2_5;            // where the row has them
  size_t assistant_turns = 0;
};

std::vector<Expected> expected_renders();

// A template of the inputs, without a tokenizer folder beside it.
ChatTemplate compile_file(const std::string& template_name);

}  // namespace ratchet::trainer::testing
