#include "proto/net/sse.h"

namespace ratchet::net {

namespace {

void put_line(std::string& out, std::string_view field, std::string_view value) {
  out.append(field).append(": ");
  for (const char c : value) {
    if (c != '\r' && c != '\n' && c != '\0') out += c;
  }
  out += '\n';
}

}  // namespace

std::string format_sse(const SseEvent& event) {
  std::string out;
  if (!event.id.empty()) put_line(out, "id", event.id);
  if (!event.type.empty()) put_line(out, "event", event.type);
  std::string_view rest = event.data;
  while (true) {
    const std::size_t end = rest.find('\n');
    put_line(out, "data", rest.substr(0, end));
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 1);
  }
  out += '\n';
  return out;
}

std::string format_sse_comment(std::string_view text) {
  std::string out;
  put_line(out, "", text);
  out += '\n';
  return out;
}

Status SseParser::push(std::string_view piece, const Sink& sink) {
  for (const char c : piece) {
    const bool belongs_to_cr = skip_newline_ && c == '\n';
    skip_newline_ = false;
    if (belongs_to_cr) continue;
    if (c == '\r' || c == '\n') {
      skip_newline_ = c == '\r';
      const std::string line = std::move(line_);
      line_.clear();
      if (Status taken = take_line(line, sink); !taken) return taken;
      continue;
    }
    if (line_.size() + event_.data.size() >= kMaxEventBytes) {
      return Error{Code::kCorrupt, "An event of the stream is longer than 1 MiB."};
    }
    line_ += c;
  }
  return ok();
}

Status SseParser::take_line(std::string_view line, const Sink& sink) {
  if (at_start_ && line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
  at_start_ = false;
  if (line.empty()) {
    Status told = has_data_ ? sink(event_) : ok();
    event_.type.clear();
    event_.data.clear();
    has_data_ = false;
    return told;
  }
  const std::size_t colon = line.find(':');
  const std::string_view field = line.substr(0, colon);
  std::string_view value;
  if (colon != std::string_view::npos) value = line.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (field == "data") {
    if (has_data_) event_.data += '\n';
    event_.data += value;
    has_data_ = true;
  } else if (field == "event") {
    event_.type = value;
  } else if (field == "id" && value.find('\0') == std::string_view::npos) {
    event_.id = value;
  }
  return ok();
}

}  // namespace ratchet::net
