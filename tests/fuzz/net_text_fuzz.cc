// Texts that HTTP peers send and proto/net takes apart: URLs, queries, escapes, ranges, events,
// Retry-After.
//
// The first byte chooses the reader. What is read must come back from being written: a difference
// aborts.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "proto/net/http_types.h"
#include "proto/net/retry.h"
#include "proto/net/sse.h"
#include "proto/net/url.h"

namespace {

namespace net = ratchet::net;

void check(bool good) {
  if (!good) std::abort();
}

void try_url(std::string_view text) {
  const auto url = net::parse_url(text);
  if (!url) return;
  const auto again = net::parse_url(url->text());
  if (url->text().size() <= net::kMaxUrlBytes) check(again && *again == *url);
}

void try_query(std::string_view text) {
  net::QueryParameters parameters;
  if (!net::parse_query(text, parameters)) return;
  net::QueryParameters again;
  const bool named = [&] {
    for (const auto& [name, value] : parameters) {
      if (name.empty() && value.empty()) return false;  // "=" is written as nothing to read
    }
    return true;
  }();
  check(net::parse_query(net::format_query(parameters), again));
  if (named) check(again == parameters);
}

void try_range(std::string_view text) {
  constexpr std::uint64_t kSize = 1000;
  const net::RangeAnswer answer = net::parse_range(text, kSize);
  if (answer.kind == net::RangeAnswer::Kind::kUnsatisfiable) return;
  check(answer.range.offset + answer.range.length <= kSize);
  check(answer.kind == net::RangeAnswer::Kind::kWhole || answer.range.length > 0);
}

std::vector<net::SseEvent> events_of(std::string_view text, std::size_t piece) {
  net::SseParser parser;
  std::vector<net::SseEvent> events;
  for (std::size_t i = 0; i < text.size(); i += piece) {
    const auto pushed = parser.push(text.substr(i, piece), [&](const net::SseEvent& event) {
      events.push_back(event);
      return ratchet::ok();
    });
    if (!pushed) break;
  }
  return events;
}

void try_sse(std::string_view text) {
  const auto events = events_of(text, text.size() + 1);
  check(events == events_of(text, 1));
}

void try_small(std::string_view text) {
  std::string out;
  if (net::url_unescape(text, out)) {
    std::string again;
    check(net::url_unescape(net::url_escape(out), again) && again == out);
  }
  const auto wait = net::parse_retry_after(text, {});
  check(!wait || wait->count() >= 0);
  net::Headers headers;
  headers.add(text, text);
  headers.add("Authorization", text);
  (void)net::bearer_token(headers);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 5) {
    case 0:
      try_url(text);
      break;
    case 1:
      try_query(text);
      break;
    case 2:
      try_range(text);
      break;
    case 3:
      try_sse(text);
      break;
    default:
      try_small(text);
  }
  return 0;
}
