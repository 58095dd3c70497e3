#pragma once

// The data formats, and how one row of each becomes training rows.
//
//  chat               {"messages": [{role, content, ...}], "tools": [...]}   OpenAI chat JSONL
//  sharegpt           {"conversations": [{"from", "value"}], "system", "tools"}
//  prompt_completion  two columns: prompt/completion, question/answer, instruction(+input)/output,
//                     or the columns that the job names; either may be a list of messages
//  text               {"text": "..."}
//  conversations      {"conversation_id", persona, emotional_arc, topic, "training_pairs": [...]}:
//                     each training pair is one training row
//                     (trainer/data/conversation.schema.json)

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proto/job_spec.h"
#include "trainer/data/finding.h"
#include "trainer/data/json_tree.h"
#include "trainer/data/row_reader.h"

namespace ratchet::trainer {

enum class RowKind { kText, kChat, kPromptCompletion };

// One training row in the form that the encoder takes.
struct Row {
  RowKind kind = RowKind::kText;
  // kChat: the JSON array of messages, as it stands in the file, because that is what transformers
  // gives a template. Only these are changed: null members other than content are left out, role
  // `developer` is written system and `function` tool, a deprecated function_call is written as a
  // tool call, and "weight": 0 stands on assistant turns that are not learned and nowhere else.
  std::string messages_json;
  std::string tools_json;          // kChat: JSON array, or empty
  std::string text;                // kText
  std::string prompt, completion;  // kPromptCompletion
  std::string id;                  // row or conversation id, "" when none
  RowPlace place;
  std::uint32_t part = 0;             // number of the training pair inside the row; 0 else
  bool has_parts = false;             // a content is a list of parts
  bool has_string_arguments = false;  // the arguments of a tool call are a string
};

// The format that one parsed row looks like, kAuto when like none. Columns that differ from the
// defaults of DataColumns are looked for by name; with the defaults the known pairs are tried.
DataFormat recognise_format(const JsonTree& tree, const DataColumns& columns);

// The format of the majority of the first rows (at most 100 that parse and are recognised; a tie
// goes to the format seen first); kAuto when none is recognised. `head`: RowReader::head().
DataFormat detect_format(std::string_view head, DataLayout layout, const DataColumns& columns);

// Checks one parsed row of `format` and, when `rows` is not null, appends its training rows.
// All faults go to `log`. Const methods are thread-safe.
class RowDecoder {
 public:
  enum class Take {
    kGoodRows,    // a row with a critical finding yields nothing
    kWholeLists,  // a chat row yields its messages whatever is wrong with them (`render`)
  };
  struct Outcome {
    bool good = false;          // no critical finding in this row
    std::uint32_t samples = 0;  // training rows of a good row
    std::string_view id;        // "" when none; points into the tree
  };

  // `format` is not kAuto.
  RowDecoder(DataFormat format, DataColumns columns);
  Outcome decode(const JsonTree& tree, RowPlace place, FindingLog& log, std::vector<Row>* rows,
                 Take take = Take::kGoodRows) const;
  [[nodiscard]] DataFormat format() const { return format_; }

 private:
  DataFormat format_;
  DataColumns columns_;
};

}  // namespace ratchet::trainer
