#include "trainer/data/message_forms.h"

#include <nlohmann/json.hpp>

namespace ratchet::trainer {
namespace {

using Json = nlohmann::ordered_json;

// An empty list when `text` is not JSON, which decoded rows never are.
Json parse_messages(std::string_view text) {
  Json messages = Json::parse(text.begin(), text.end(), nullptr, false);
  return messages.is_array() ? messages : Json::array();
}

void make_object(Json& call) {
  const auto function = call.find("function");
  if (function == call.end() || !function->is_object()) return;
  const auto arguments = function->find("arguments");
  if (arguments == function->end() || !arguments->is_string()) return;
  Json parsed = Json::parse(arguments->get_ref<const std::string&>(), nullptr, false);
  if (parsed.is_object()) *arguments = std::move(parsed);
}

}  // namespace

std::string with_joined_parts(std::string_view messages_json) {
  Json messages = parse_messages(messages_json);
  for (Json& message : messages) {
    if (!message.is_object()) continue;
    const auto content = message.find("content");
    if (content == message.end() || !content->is_array()) continue;
    std::string joined;
    for (const Json& part : *content) {
      if (part.is_object() && part.contains("text") && part["text"].is_string()) {
        joined += part["text"].get_ref<const std::string&>();
      }
    }
    *content = joined;
  }
  return messages.dump();
}

std::string with_object_arguments(std::string_view messages_json) {
  Json messages = parse_messages(messages_json);
  for (Json& message : messages) {
    if (!message.is_object()) continue;
    const auto calls = message.find("tool_calls");
    if (calls == message.end() || !calls->is_array()) continue;
    for (Json& call : *calls) {
      if (call.is_object()) make_object(call);
    }
  }
  return messages.dump();
}

std::string as_conversation(std::string_view prompt, std::string_view completion) {
  Json messages = Json::array();
  messages.push_back({{"role", "user"}, {"content", prompt}});
  messages.push_back({{"role", "assistant"}, {"content", completion}});
  return messages.dump();
}

}  // namespace ratchet::trainer
