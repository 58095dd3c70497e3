#pragma once

// What the C++ files of this room share to call ratchet_hf.h: owners for its buffers, and errors.

#include <cstdint>
#include <string>
#include <string_view>

#include "proto/result.h"
#include "trainer/hf/ratchet_hf.h"

namespace ratchet::trainer {

// Owns an RhBytes. `out()` is handed to the library, `view()` is valid until destruction.
class RustBytes {
 public:
  RustBytes() = default;
  RustBytes(const RustBytes&) = delete;
  RustBytes& operator=(const RustBytes&) = delete;
  ~RustBytes() { rh_bytes_free(&bytes_); }

  RhBytes* out() { return &bytes_; }
  [[nodiscard]] std::string_view view() const {
    return {reinterpret_cast<const char*>(bytes_.data), bytes_.size};
  }

 private:
  RhBytes bytes_{};
};

inline const uint8_t* rust_data(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

// The Error of a call that did not return kRhOk. `what` says what was tried and ends without a full
// stop; the library's sentence follows it. A caught panic is no different from a refusal: either
// way this input cannot be used, and the next one can.
Error rust_error(Code code, std::string_view what, const RustBytes& message);

}  // namespace ratchet::trainer
