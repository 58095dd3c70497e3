#pragma once

// Log lines as JSON on standard error, one write a line: {"time_ms":..,"level":"info","event":"..",
// ...}. Any thread. Values are texts; secrets are never given to it.

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace ratchet::control {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kCritical };

// By its word; unknown ones change nothing.
void set_log_level(std::string_view least);

// Whether lines of that level are written: for callers whose fields are dear to make.
bool is_logged(LogLevel level);

using LogField = std::pair<std::string_view, std::string>;
void log_line(LogLevel level, std::string_view event, std::initializer_list<LogField> fields);

}  // namespace ratchet::control
