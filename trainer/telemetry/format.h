#pragma once

// Numbers for people.

#include <cstdint>
#include <string>

#include "proto/units.h"

namespace ratchet::trainer {

std::string format_bytes(Bytes bytes);  // "512 B", "1.5 KiB", "14.0 GiB"
std::string format_duration(
    double seconds);                       // "0.4 s", "42 s", "3 min 05 s", "2 h 07 min", "3 d 4 h"
std::string format_count(std::int64_t n);  // "1,234,567"
std::string format_rate(double per_second);  // "0.5", "950", "12.3 k", "1.2 M"

}  // namespace ratchet::trainer
