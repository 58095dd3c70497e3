#include "proto/net/http_types.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace ratchet::net {

namespace {

struct MethodName {
  Method method;
  std::string_view name;
};
constexpr std::array<MethodName, 7> kMethods{{{Method::kGet, "GET"},
                                              {Method::kHead, "HEAD"},
                                              {Method::kPost, "POST"},
                                              {Method::kPut, "PUT"},
                                              {Method::kPatch, "PATCH"},
                                              {Method::kDelete, "DELETE"},
                                              {Method::kOptions, "OPTIONS"}}};

struct StatusReason {
  int status;
  std::string_view reason;
};
constexpr std::array<StatusReason, 37> kReasons{{{100, "Continue"},
                                                 {101, "Switching Protocols"},
                                                 {200, "OK"},
                                                 {201, "Created"},
                                                 {202, "Accepted"},
                                                 {204, "No Content"},
                                                 {206, "Partial Content"},
                                                 {301, "Moved Permanently"},
                                                 {302, "Found"},
                                                 {303, "See Other"},
                                                 {304, "Not Modified"},
                                                 {307, "Temporary Redirect"},
                                                 {308, "Permanent Redirect"},
                                                 {400, "Bad Request"},
                                                 {401, "Unauthorized"},
                                                 {403, "Forbidden"},
                                                 {404, "Not Found"},
                                                 {405, "Method Not Allowed"},
                                                 {406, "Not Acceptable"},
                                                 {408, "Request Timeout"},
                                                 {409, "Conflict"},
                                                 {410, "Gone"},
                                                 {411, "Length Required"},
                                                 {412, "Precondition Failed"},
                                                 {413, "Content Too Large"},
                                                 {414, "URI Too Long"},
                                                 {415, "Unsupported Media Type"},
                                                 {416, "Range Not Satisfiable"},
                                                 {422, "Unprocessable Content"},
                                                 {426, "Upgrade Required"},
                                                 {429, "Too Many Requests"},
                                                 {431, "Request Header Fields Too Large"},
                                                 {500, "Internal Server Error"},
                                                 {501, "Not Implemented"},
                                                 {503, "Service Unavailable"},
                                                 {505, "HTTP Version Not Supported"},
                                                 {507, "Insufficient Storage"}}};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool is_one_line(std::string_view text) {
  return std::ranges::none_of(text, [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
}

bool is_field_name(std::string_view name) {
  constexpr std::string_view kSymbols = "!#$%&'*+-.^_`|~";
  return !name.empty() && std::ranges::all_of(name, [&](char c) {
    const char l = lower(c);
    return (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') ||
           kSymbols.find(c) != std::string_view::npos;
  });
}

bool to_number(std::string_view text, std::uint64_t& out) {
  const auto [end, fault] = std::from_chars(text.begin(), text.end(), out);
  return fault == std::errc() && end == text.end();
}

}  // namespace

std::string_view method_name(Method method) {
  return std::ranges::find(kMethods, method, &MethodName::method)->name;
}

std::optional<Method> method_from(std::string_view name) {
  const auto found = std::ranges::find(kMethods, name, &MethodName::name);
  if (found == kMethods.end()) return std::nullopt;
  return found->method;
}

bool equal_without_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

void Headers::set(std::string_view name, std::string_view value) {
  remove(name);
  add(name, value);
}

void Headers::add(std::string_view name, std::string_view value) {
  if (!is_field_name(name) || !is_one_line(value)) return;
  fields_.push_back({std::string(name), std::string(value)});
}

void Headers::remove(std::string_view name) {
  std::erase_if(fields_, [&](const Field& field) { return equal_without_case(field.name, name); });
}

std::string_view Headers::get(std::string_view name) const {
  for (const Field& field : fields_) {
    if (equal_without_case(field.name, name)) return field.value;
  }
  return {};
}

bool Headers::has(std::string_view name) const {
  return std::ranges::any_of(
      fields_, [&](const Field& field) { return equal_without_case(field.name, name); });
}

std::string_view status_reason(int status) {
  const auto found = std::ranges::find(kReasons, status, &StatusReason::status);
  return found == kReasons.end() ? std::string_view() : found->reason;
}

std::string_view bearer_token(const Headers& headers) {
  std::string_view value = headers.get("Authorization");
  constexpr std::string_view kScheme = "Bearer ";
  if (value.size() < kScheme.size() ||
      !equal_without_case(value.substr(0, kScheme.size()), kScheme)) {
    return {};
  }
  value.remove_prefix(kScheme.size());
  while (value.starts_with(' ')) value.remove_prefix(1);
  while (value.ends_with(' ')) value.remove_suffix(1);
  return value;
}

RangeAnswer parse_range(std::string_view header, std::uint64_t size) {
  const RangeAnswer whole{RangeAnswer::Kind::kWhole, {0, size}};
  constexpr std::string_view kUnit = "bytes=";
  if (!header.starts_with(kUnit)) return whole;
  header.remove_prefix(kUnit.size());
  const std::size_t dash = header.find('-');
  if (dash == std::string_view::npos) return whole;
  const std::string_view first_text = header.substr(0, dash);
  const std::string_view last_text = header.substr(dash + 1);
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  if (first_text.empty()) {  // the last N bytes
    if (!to_number(last_text, last)) return whole;
    if (last == 0 || size == 0) return {RangeAnswer::Kind::kUnsatisfiable, {}};
    const std::uint64_t length = std::min(last, size);
    return {RangeAnswer::Kind::kPart, {size - length, length}};
  }
  if (!to_number(first_text, first)) return whole;
  if (last_text.empty()) {
    last = size == 0 ? 0 : size - 1;
  } else if (!to_number(last_text, last) || last < first) {
    return whole;
  }
  if (first >= size) return {RangeAnswer::Kind::kUnsatisfiable, {}};
  return {RangeAnswer::Kind::kPart, {first, std::min(last, size - 1) - first + 1}};
}

std::string content_range(ByteRange range, std::uint64_t size) {
  return "bytes " + std::to_string(range.offset) + "-" +
         std::to_string(range.offset + range.length - 1) + "/" + std::to_string(size);
}

}  // namespace ratchet::net
