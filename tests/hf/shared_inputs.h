#pragma once

// Where the real inputs are (environment RATCHET_SHARED, else beside the checkout), and the small
// helpers that the tests of this folder share.

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "trainer/hf/chat_template.h"

namespace ratchet::trainer::testing {

inline std::filesystem::path shared_inputs() {
  if (const char* named = std::getenv("RATCHET_SHARED"))
    return std::filesystem::path(named) / "inputs";
  return std::filesystem::path(RATCHET_SOURCE_DIR) / ".." / "shared" / "inputs";
}

inline bool have_shared_inputs() { return std::filesystem::exists(shared_inputs() / "templates"); }

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

// One row of templates/expectations/jinja2_renders.jsonl.
struct Expected {
  std::string template_name;
  std::string test_case;
  std::string messages_json;
  nlohmann::ordered_json row;

  [[nodiscard]] bool is_error() const { return row.contains("error"); }
  [[nodiscard]] std::string rendered() const { return row.at("rendered").get<std::string>(); }

  [[nodiscard]] RenderOptions options() const {
    RenderOptions options;
    options.add_generation_prompt = row.at("add_generation_prompt").get<bool>();
    if (!row.at("tools").is_null()) options.tools_json = row.at("tools").dump();
    options.special_tokens = SpecialTokens{{"bos_token", row.at("bos_token").get<std::string>()},
                                           {"eos_token", row.at("eos_token").get<std::string>()}};
    return options;
  }

  // The file counts characters.
  [[nodiscard]] std::vector<ByteSpan> spans() const {
    const std::string text = rendered();
    std::vector<size_t> byte_of;  // of each character, and the end
    for (size_t i = 0; i < text.size(); ++i) {
      if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) byte_of.push_back(i);
    }
    byte_of.push_back(text.size());
    std::vector<ByteSpan> spans;
    for (const auto& span : row.at("assistant_char_spans")) {
      spans.push_back({byte_of.at(span[0].get<size_t>()), byte_of.at(span[1].get<size_t>())});
    }
    return spans;
  }
};

inline std::vector<Expected> expected_renders() {
  std::vector<Expected> all;
  std::ifstream file(shared_inputs() / "templates/expectations/jinja2_renders.jsonl");
  for (std::string line; std::getline(file, line);) {
    auto row = nlohmann::ordered_json::parse(line);
    all.push_back({row.at("template").get<std::string>(), row.at("case").get<std::string>(),
                   row.at("messages").dump(), row});
  }
  return all;
}

inline ChatTemplate compile_file(const std::string& template_name) {
  return ChatTemplate::from_source(read_text(shared_inputs() / "templates" / template_name), {})
      .value();
}

}  // namespace ratchet::trainer::testing
