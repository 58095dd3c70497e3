#pragma once

// Numbers, times and texts as people read them. Pure; any thread.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "proto/result.h"
#include "proto/units.h"

namespace ratchet::control::cli {

// "1.4 s", "45 s", "3 min 05 s", "2 h 10 min", "4 d 3 h"; "?" when not finite or negative.
std::string format_duration(double seconds);
// "512 B", "1.5 GiB".
std::string format_bytes(Bytes bytes);
// "12,345".
std::string format_count(std::int64_t n);
// "9.5", "1.2 k".
std::string format_rate(double per_second);
// "$1.25"; four digits below a dollar: "$0.0042".
std::string format_usd(double usd);
// "2026-11-21 13:53:13 UTC"; "-" when 0.
std::string format_time(UnixMillis time);
// "3 min ago", "in 2 h"; "-" when `time` is 0.
std::string format_age(UnixMillis time, UnixMillis now);

// "[====>     ]" of `columns`, its brackets counted; ratio outside 0..1 is clamped.
std::string format_bar(double ratio, std::size_t columns);

// What a server or a file said, fit for a terminal: control characters, among them escape
// sequences, become '?'. Newlines and tabs stay when `lines`, else they become spaces.
std::string printable(std::string_view text, bool lines = false);

// Terminal columns of UTF-8 text, one a character.
std::size_t columns_of(std::string_view text);
// At most `columns`, cut between characters with "..." at the end.
std::string fit(std::string_view text, std::size_t columns);

// "30s", "500ms", "5m", "2h", "1d" or plain seconds "30"; an error says what is allowed.
Result<std::int64_t> parse_duration_ms(std::string_view text);
// "24GiB", "24G", "80GB", "1024" (bytes).
Result<Bytes> parse_bytes(std::string_view text);
// "2026-11-21T20:00:00Z" (UTC), or "+2h" from now.
Result<UnixMillis> parse_time(std::string_view text, UnixMillis now);

}  // namespace ratchet::control::cli
