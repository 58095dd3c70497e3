#include "trainer/cli/data_flags.h"

#include <CLI/CLI.hpp>

#include "proto/words.h"

namespace ratchet::trainer::cli {

void add_data_flags(CLI::App& command, DataFlags& flags) {
  command
      .add_option("--format", flags.format,
                  "auto, chat, sharegpt, prompt_completion, text or conversations")
      ->capture_default_str();
  command.add_option("--prompt-column", flags.prompt_column,
                     "prompt_completion: key of the prompt (question, say)");
  command.add_option("--completion-column", flags.completion_column,
                     "prompt_completion: key of the completion (answer, say)");
}

Status parse_data_flags(const DataFlags& flags, DataFormat& format, DataColumns& columns) {
  const auto word = from_word<DataFormat>(flags.format);
  if (!word) {
    return Error{Code::kInvalidArgument,
                 "--format '" + flags.format +
                     "' is unknown; use auto, chat, sharegpt, prompt_completion, text or "
                     "conversations."};
  }
  format = *word;
  if (!flags.prompt_column.empty()) {
    columns.prompt = flags.prompt_column;
  }
  if (!flags.completion_column.empty()) {
    columns.completion = flags.completion_column;
  }
  return ok();
}

}  // namespace ratchet::trainer::cli
