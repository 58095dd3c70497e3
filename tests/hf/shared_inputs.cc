#include "tests/hf/shared_inputs.h"

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace ratchet::trainer::testing {
namespace {

using Json = nlohmann::ordered_json;

// The file counts characters.
std::vector<ByteSpan> byte_spans(const std::string& text, const Json& char_spans) {
  std::vector<size_t> byte_of;  // of each character, and the end
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) byte_of.push_back(i);
  }
  byte_of.push_back(text.size());
  std::vector<ByteSpan> spans;
  for (const Json& span : char_spans) {
    spans.push_back({byte_of.at(span.at(0).get<size_t>()), byte_of.at(span.at(1).get<size_t>())});
  }
  return spans;
}

Expected read_row(const Json& row) {
  Expected expected;
  expected.template_name = row.at("template");
  expected.test_case = row.at("case");
  expected.messages_json = row.at("messages").dump();
  expected.options.add_generation_prompt = row.at("add_generation_prompt");
  if (!row.at("tools").is_null()) expected.options.tools_json = row.at("tools").dump();
  expected.options.special_tokens =
      SpecialTokens{{"bos_token", row.at("bos_token")}, {"eos_token", row.at("eos_token")}};
  for (const Json& message : row.at("messages")) {
    expected.assistant_turns += message.value("role", "") == "assistant" ? 1 : 0;
  }
  if (row.contains("error")) {
    expected.error = row.at("error");
    expected.error_text = row.at("error_text");
    return expected;
  }
  expected.rendered = row.at("rendered").get<std::string>();
  if (row.contains("assistant_char_spans")) {
    expected.spans = byte_spans(*expected.rendered, row.at("assistant_char_spans"));
  }
  if (row.contains("ids_qwen2_5")) {
    expected.ids_qwen2_5 = row.at("ids_qwen2_5").get<std::vector<int32_t>>();
  }
  return expected;
}

}  // namespace

std::filesystem::path shared_inputs() {
  const char* named = std::getenv("RATCHET_SHARED");
  const auto shared = named != nullptr
                          ? std::filesystem::path(named)
                          : std::filesystem::path(RATCHET_SOURCE_DIR) / ".." / "shared";
  return shared / "inputs";
}

bool have_shared_inputs() { return std::filesystem::exists(shared_inputs() / "templates"); }

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

std::vector<Expected> expected_renders() {
  std::vector<Expected> all;
  std::ifstream file(shared_inputs() / "templates/expectations/jinja2_renders.jsonl");
  for (std::string line; std::getline(file, line);) all.push_back(read_row(Json::parse(line)));
  return all;
}

ChatTemplate compile_file(const std::string& template_name) {
  return ChatTemplate::from_source(read_text(shared_inputs() / "templates" / template_name), {})
      .value();
}

}  // namespace ratchet::trainer::testing
