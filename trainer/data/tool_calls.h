#pragma once

// Tool calls of an assistant turn: their checks, and the ShareGPT spelling of one.

#include <string>
#include <string_view>
#include <vector>

#include "trainer/data/row_context.h"

namespace ratchet::trainer {

// `calls`: the member tool_calls, an array with elements. Appends the id of each call to `ids` (""
// for a call without). `path` is the path of the turn. True when a call has its arguments as a
// string.
bool decode_tool_calls(RowContext& context, const JsonNode& calls, std::string_view path,
                       std::vector<std::string_view>& ids);

// `call`: an object with name and arguments, as in the deprecated function_call and inside a tool
// call; `place` is its path. True when its arguments are a string.
bool decode_function(RowContext& context, const JsonNode& call, std::string_view place);

// `text`: a string that holds the JSON of one such object, as ShareGPT writes it into the text of a
// function_call turn. Returns it as JSON with its arguments as an object; "" after a fault.
std::string decode_function_text(RowContext& context, const JsonNode& text, std::string_view place);

}  // namespace ratchet::trainer
