#pragma once

// Random ids and tokens, and the digests under which tokens are kept. Any thread.

#include <string>
#include <string_view>

namespace ratchet::control {

std::string random_digits(std::size_t bytes);  // of the kernel's generator
std::string new_id(std::string_view prefix);   // "job" -> "job-19a2b3c4d5e6-1f2e3d": sorts by time
std::string new_token(std::string_view kind);  // "rt_user_<48 hex digits>"
std::string sha256_hex(std::string_view bytes);

}  // namespace ratchet::control
