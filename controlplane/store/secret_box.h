#pragma once

// Secrets that must be used again (webhook signing) are stored as AES-256-GCM boxes:
// 12 bytes nonce, ciphertext, 16 bytes tag. Thread-safe.

#include <array>
#include <string>
#include <string_view>

#include "proto/result.h"

namespace ratchet::control {

class SecretBox {
 public:
  using Key = std::array<unsigned char, 32>;
  explicit SecretBox(const Key& key) : key_(key) {}
  ~SecretBox();  // wipes the key
  SecretBox(const SecretBox&) = delete;
  SecretBox& operator=(const SecretBox&) = delete;

  // `context` says whose secret it is; a box opens only under the same one.
  [[nodiscard]] Result<std::string> seal(std::string_view secret, std::string_view context) const;
  // kCorrupt when the box was changed, or sealed with another key or context.
  [[nodiscard]] Result<std::string> open(std::string_view box, std::string_view context) const;

 private:
  Key key_;
};

// `count` random bytes as lower-case hex.
Result<std::string> random_hex(std::size_t count);

}  // namespace ratchet::control
