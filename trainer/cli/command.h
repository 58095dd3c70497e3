#pragma once

// What every command of ratchet-trainer shares: exit codes, the shape of an error, colour on a
// terminal. Each command is one file with one `add_<name>_command`, which declares its flags and
// leaves its function in `selected` when it was chosen.

#include <functional>
#include <string>
#include <string_view>

#include "proto/result.h"

namespace CLI {  // NOLINT(readability-identifier-naming): theirs
class App;
}

namespace ratchet::trainer::cli {

inline constexpr int kExitOk = 0;         // fine
inline constexpr int kExitFailure = 1;    // findings or failure, said on stderr
inline constexpr int kExitUsage = 2;      // wrong usage
inline constexpr int kExitPreempted = 3;  // stopped early, state saved

using Command = std::function<int()>;

void add_run_command(CLI::App& app, Command& selected);
void add_check_command(CLI::App& app, Command& selected);
void add_tokenize_command(CLI::App& app, Command& selected);
void add_render_command(CLI::App& app, Command& selected);
void add_inspect_command(CLI::App& app, Command& selected);
void add_eval_command(CLI::App& app, Command& selected);
void add_generate_command(CLI::App& app, Command& selected);
void add_merge_command(CLI::App& app, Command& selected);
void add_preflight_command(CLI::App& app, Command& selected);
void add_make_model_command(CLI::App& app, Command& selected);
void add_make_tokenizer_command(CLI::App& app, Command& selected);

// Prints `error: <message>` on stderr and returns kExitFailure.
int fail(const Error& error);

// Whether stdout (1) or stderr (2) is a terminal that takes colours (NO_COLOR is respected).
bool is_colour_terminal(int fd);

// Whole file as bytes, at most `max_bytes`; kNotFound, kIo or kInvalidArgument (too large).
Result<std::string> read_small_file(const std::string& path, size_t max_bytes);

}  // namespace ratchet::trainer::cli
