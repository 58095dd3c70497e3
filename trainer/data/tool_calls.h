#pragma once

// Tool calls of an assistant turn: checked, and written with their arguments as an object, which is
// what chat templates expect.

#include <string>
#include <string_view>
#include <vector>

#include "trainer/data/row_context.h"

namespace ratchet::trainer {

// `calls`: the member tool_calls, an array with elements. Appends a JSON array to `json` (when not
// null) and the id of each call to `ids`. `path` is the path of the turn.
void decode_tool_calls(RowContext& context, const JsonNode& calls, std::string_view path,
                       std::string* json, std::vector<std::string_view>& ids);

// `call`: an object with name and arguments, as in the deprecated function_call and inside a tool
// call. `place` is its path. Appends {"name", "arguments"} to `json` when not null.
void decode_function(RowContext& context, const JsonNode& call, std::string_view place,
                     std::string* json);

// `text`: JSON of one such object, as ShareGPT writes it into the text of a function_call turn.
void decode_function_text(RowContext& context, const JsonNode& text, std::string_view place,
                          std::string* json);

}  // namespace ratchet::trainer
