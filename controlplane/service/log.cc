#include "controlplane/service/log.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>

#include "proto/document.h"

namespace ratchet::control {

namespace {

constexpr std::size_t kMaxValue = 2000;
std::atomic<LogLevel> least_level{LogLevel::kInfo};

std::string_view level_word(LogLevel level) {
  constexpr std::array<std::string_view, 5> kWords{"debug", "info", "warning", "error", "critical"};
  return kWords.at(static_cast<std::size_t>(level));
}

void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      std::array<char, 8> escape{};
      std::snprintf(escape.data(), escape.size(), "\\u%04x", static_cast<unsigned>(c));
      out += escape.data();
    } else {
      out += c;
    }
  }
  out += '"';
}

}  // namespace

void set_log_level(std::string_view least) {
  for (const auto level :
       {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError}) {
    if (level_word(level) == least) least_level = level;
  }
}

bool is_logged(LogLevel level) { return level >= least_level.load(); }

void log_line(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  if (!is_logged(level)) return;
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::system_clock::now().time_since_epoch());
  std::string line = "{\"time_ms\":" + std::to_string(now.count()) + ",\"level\":\"" +
                     std::string(level_word(level)) + "\",\"event\":";
  append_quoted(line, event);
  for (const auto& [key, value] : fields) {
    line += ',';
    append_quoted(line, key);
    line += ':';
    append_quoted(line, clip_text(value, kMaxValue));
  }
  line += "}\n";
  // A log that cannot be written must not stop the service.
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace ratchet::control
