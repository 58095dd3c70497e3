#pragma once

// Other spellings of the same messages, to see what a chat template makes of them.

#include <string>
#include <string_view>

namespace ratchet::trainer {

// Content that is a list of text parts becomes one string.
std::string with_joined_parts(std::string_view messages_json);

// Arguments of tool calls that are strings become the objects that they hold.
std::string with_object_arguments(std::string_view messages_json);

// [user: prompt, assistant: completion].
std::string as_conversation(std::string_view prompt, std::string_view completion);

}  // namespace ratchet::trainer
