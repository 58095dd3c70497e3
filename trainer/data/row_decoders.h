#pragma once

// One decoder a format. Each checks one parsed row (an object), reports every fault to the context
// and, when `rows` is not null and the row is good, appends its training rows. Returns how many
// training rows a good row yields.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proto/job_spec.h"
#include "trainer/data/formats.h"
#include "trainer/data/row_context.h"
#include "trainer/data/turns.h"

namespace ratchet::trainer {

std::uint32_t decode_chat(RowContext& context, std::vector<Row>* rows, RowDecoder::Take take);
std::uint32_t decode_sharegpt(RowContext& context, std::vector<Row>* rows);
std::uint32_t decode_columns(RowContext& context, const DataColumns& columns,
                             std::vector<Row>* rows);
std::uint32_t decode_text(RowContext& context, std::vector<Row>* rows);
std::uint32_t decode_conversation(RowContext& context, std::vector<Row>* rows);

// The two members that hold the texts of a prompt/completion row; `input` is Alpaca's third.
struct ColumnPair {
  std::string_view prompt;
  std::string_view completion;
  std::string_view input;  // "" when there is none
};

// The pair that a row uses: the named columns, or, with the default names, the known pair of which
// it has both members, else the first of which it has one. Empty names when it has none.
ColumnPair columns_of(const JsonTree& tree, const DataColumns& columns);

// Messages in the form of Row::messages_json, as they are decoded.
struct DecodedTurns {
  std::vector<Turn> turns;
  std::string json;  // the elements, comma-separated; filled when wanted
  bool has_parts = false;
  bool has_string_arguments = false;
};

struct MessageOptions {
  bool want_json = false;
  bool learn = true;  // false: no turn of this list is learned (the prompt of a pair)
};

// Decodes the OpenAI message list `list` (an array node whose path is `path`) and appends to `out`.
void decode_messages(RowContext& context, const JsonNode& list, std::string_view path,
                     const MessageOptions& options, DecodedTurns& out);

// The array node at member `key` of the row, or nullptr after reporting what is wrong with it
// (missing, not a list, empty).
const JsonNode* required_list(RowContext& context, std::string_view key);

// The text at member `key` of `object`, or nullptr after reporting that it is missing or no string.
// `place` is the path of `object`, "" for the row.
const JsonNode* required_text(RowContext& context, const JsonNode& object, std::string_view key,
                              std::string_view place);

// Path of a member: "key" in the row itself, "place.key" below it.
std::string member_path(std::string_view place, std::string_view key);

// The tools of a row as a JSON array: an array, or a string that holds one. Faults are reported.
std::string decode_tools(RowContext& context, bool want_json);

// A row with its kind, id and place.
Row new_row(const RowContext& context, RowKind kind);

// A chat row of the decoded messages.
Row chat_row(const RowContext& context, const DecodedTurns& decoded, std::string tools);

// Appends {"role": role, "content": content} to a comma-separated list.
void append_message(std::string_view role, std::string_view content, std::string& json);

}  // namespace ratchet::trainer
