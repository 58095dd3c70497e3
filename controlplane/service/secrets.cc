#include "controlplane/service/secrets.h"

#include <openssl/evp.h>
#include <sys/random.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <vector>

namespace ratchet::control {

namespace {

std::string hex(const unsigned char* bytes, std::size_t count) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < count; ++i) {
    out += kDigits[bytes[i] >> 4];
    out += kDigits[bytes[i] & 15];
  }
  return out;
}

}  // namespace

std::string random_digits(std::size_t bytes) {
  std::vector<unsigned char> buffer(bytes);
  // At most 256 bytes are never cut short; without randomness no secret can be made.
  if (bytes > 256 || ::getrandom(buffer.data(), bytes, 0) != static_cast<ssize_t>(bytes)) {
    std::abort();
  }
  return hex(buffer.data(), bytes);
}

std::string new_id(std::string_view prefix) {
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::system_clock::now().time_since_epoch());
  std::array<unsigned char, 6> time{};
  auto value = static_cast<std::uint64_t>(now.count());
  for (std::size_t i = time.size(); i-- > 0; value >>= 8) {
    time.at(i) = static_cast<unsigned char>(value & 0xff);
  }
  return std::string(prefix) + "-" + hex(time.data(), time.size()) + "-" + random_digits(4);
}

std::string new_token(std::string_view kind) {
  return "rt_" + std::string(kind) + "_" + random_digits(24);
}

std::string sha256_hex(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1) {
    std::abort();
  }
  return hex(digest.data(), size);
}

}  // namespace ratchet::control
