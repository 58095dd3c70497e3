#include "proto/net/url.h"

#include <algorithm>
#include <array>
#include <boost/asio/ip/address.hpp>
#include <charconv>

namespace ratchet::net {

namespace {

constexpr std::string_view kHexDigits = "0123456789ABCDEF";

bool is_unreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

std::string escape(std::string_view text, std::string_view also_plain) {
  std::string out;
  for (const char c : text) {
    if (is_unreserved(c) || also_plain.find(c) != std::string_view::npos) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += '%';
      out += kHexDigits[byte >> 4];
      out += kHexDigits[byte & 15];
    }
  }
  return out;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Error bad_url(std::string_view text, const std::string& why) {
  return {Code::kInvalidArgument,
          "\"" + std::string(text.substr(0, 200)) + "\" is no usable URL: " + why +
              " Write it like http://127.0.0.1:7070 or https://control.example.com."};
}

bool is_host_name(std::string_view host) {
  if (host.empty() || host.size() > 253) return false;
  return std::ranges::all_of(host, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  });
}

// Splits "host", "host:port", "[v6]" or "[v6]:port"; false when it is none of them.
bool split_authority(std::string_view authority, std::string_view& host, std::string_view& port) {
  port = {};
  if (authority.starts_with('[')) {
    const std::size_t end = authority.find(']');
    if (end == std::string_view::npos) return false;
    host = authority.substr(1, end - 1);
    const std::string_view rest = authority.substr(end + 1);
    if (rest.empty()) return true;
    port = rest.substr(1);
    return rest.front() == ':' && !port.empty();
  }
  const std::size_t colon = authority.find(':');
  host = authority.substr(0, colon);
  if (colon == std::string_view::npos) return true;
  port = authority.substr(colon + 1);
  return !port.empty();
}

}  // namespace

std::string Url::authority() const {
  std::string out = host.find(':') == std::string::npos ? host : "[" + host + "]";
  if (port != (https ? 443 : 80)) out += ":" + std::to_string(port);
  return out;
}

std::string Url::target() const { return query.empty() ? path : path + "?" + query; }

std::string Url::text() const { return (https ? "https://" : "http://") + authority() + target(); }

Result<Url> parse_url(std::string_view text) {
  if (text.size() > kMaxUrlBytes) return bad_url(text, "it is longer than 4096 bytes.");
  for (const char c : text) {
    if (static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7F) {
      return bad_url(text, "spaces, control characters and non-ASCII must be escaped.");
    }
  }
  Url url;
  std::string_view rest = text;
  if (rest.starts_with("https://")) {
    url.https = true;
    url.port = 443;
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
  } else {
    return bad_url(text, "it must begin with http:// or https://.");
  }
  if (rest.find('#') != std::string_view::npos) return bad_url(text, "it must have no fragment.");
  const std::size_t end = std::min(rest.find_first_of("/?"), rest.size());
  const std::string_view authority = rest.substr(0, end);
  rest.remove_prefix(end);
  if (authority.find('@') != std::string_view::npos) {
    return bad_url(text, "it must hold no user name or password.");
  }
  std::string_view host;
  std::string_view port;
  if (!split_authority(authority, host, port)) return bad_url(text, "its host is broken.");
  url.host = host;
  std::ranges::transform(url.host, url.host.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  boost::system::error_code ignored;
  if (authority.starts_with('[')) {
    boost::asio::ip::make_address_v6(url.host, ignored);
    if (ignored) return bad_url(text, "its IPv6 address is broken.");
  } else if (!is_host_name(url.host)) {
    return bad_url(text, "its host is missing or broken.");
  }
  if (!port.empty()) {
    const auto [last, fault] = std::from_chars(port.begin(), port.end(), url.port);
    if (fault != std::errc() || last != port.end() || url.port == 0) {
      return bad_url(text, "its port must be a number from 1 to 65535.");
    }
  }
  const std::size_t question = rest.find('?');
  url.path = rest.substr(0, question);
  if (url.path.empty()) url.path = "/";
  if (question != std::string_view::npos) url.query = rest.substr(question + 1);
  std::string unescaped;
  if (!url_unescape(url.path, unescaped)) return bad_url(text, "its path has a broken escape.");
  return url;
}

std::string join_target(const Url& base, std::string_view target) {
  std::string out = base.path;
  while (out.ends_with('/')) out.pop_back();
  if (!target.starts_with('/')) out += '/';
  out += target;
  return out;
}

std::string url_escape(std::string_view text) { return escape(text, ""); }
std::string url_escape_path(std::string_view path) { return escape(path, "/"); }

bool url_unescape(std::string_view text, std::string& out) {
  out.clear();
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\0') return false;
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
    const int low = high >= 0 ? hex_value(text[i + 2]) : -1;
    if (low < 0 || (high == 0 && low == 0)) return false;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return true;
}

bool parse_query(std::string_view query, QueryParameters& out) {
  out.clear();
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (pair.empty()) continue;
    if (out.size() == kMaxQueryParameters) return false;
    std::string plain(pair);
    std::ranges::replace(plain, '+', ' ');
    const std::size_t equals = plain.find('=');
    auto& [name, value] = out.emplace_back();
    if (!url_unescape(std::string_view(plain).substr(0, equals), name)) return false;
    if (equals == std::string::npos) continue;
    if (!url_unescape(std::string_view(plain).substr(equals + 1), value)) return false;
  }
  return true;
}

std::string format_query(const QueryParameters& parameters) {
  std::string out;
  for (const auto& [name, value] : parameters) {
    if (!out.empty()) out += '&';
    out += url_escape(name) + "=" + url_escape(value);
  }
  return out;
}

bool is_loopback_host(std::string_view host) {
  if (host == "localhost") return true;
  boost::system::error_code fault;
  const auto address = boost::asio::ip::make_address(std::string(host), fault);
  return !fault && address.is_loopback();
}

}  // namespace ratchet::net
