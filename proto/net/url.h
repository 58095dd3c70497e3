#pragma once

// URLs of HTTP services, and the escaping of their parts (RFC 3986). Pure.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/result.h"

namespace ratchet::net {

constexpr std::size_t kMaxUrlBytes = 4096;

struct Url {
  bool https = false;
  std::string host;  // name or address, lower case; IPv6 without its brackets
  std::uint16_t port = 80;
  std::string path;   // escaped as written; "/" when there is none
  std::string query;  // escaped, without its question mark
  bool operator==(const Url&) const = default;

  [[nodiscard]] std::string text() const;       // the default port of the scheme is left out
  [[nodiscard]] std::string authority() const;  // for the Host header: "[::1]:7070"
  [[nodiscard]] std::string target() const;     // path and query
};

// "http://127.0.0.1:7070", "https://host/path?x=1". Refuses other schemes, user names, passwords,
// fragments, control characters and spaces.
Result<Url> parse_url(std::string_view text);

// Path of a request below a base: "http://h/base" + "/v1/jobs" -> "/base/v1/jobs".
std::string join_target(const Url& base, std::string_view target);

// Escapes everything but letters, digits and - . _ ~ (a '/' too).
std::string url_escape(std::string_view text);
// Like url_escape, but leaves '/' as it is: for relative file paths.
std::string url_escape_path(std::string_view path);
// False when an escape is broken, or there is a NUL.
bool url_unescape(std::string_view text, std::string& out);

using QueryParameters = std::vector<std::pair<std::string, std::string>>;
constexpr std::size_t kMaxQueryParameters = 64;

// "a=1&b=x%20y"; '+' is a space. False when an escape is broken or there are too many.
bool parse_query(std::string_view query, QueryParameters& out);
std::string format_query(const QueryParameters& parameters);

// Whether the text is 127.0.0.0/8, ::1 or the name localhost.
bool is_loopback_host(std::string_view host);

}  // namespace ratchet::net
