#pragma once

// Where the third-party inputs lie: RATCHET_SHARED, else ../shared beside the source tree. Tests
// that need them skip with this reason when they are absent.

#include <cstdlib>
#include <filesystem>

namespace ratchet::testing {

inline std::filesystem::path shared_inputs() {
  const char* named = std::getenv("RATCHET_SHARED");
  const std::filesystem::path root =
      named != nullptr ? std::filesystem::path(named)
                       : std::filesystem::path(RATCHET_SOURCE_DIR) / ".." / "shared";
  return root / "inputs";
}

}  // namespace ratchet::testing

#define RATCHET_NEEDS_SHARED_INPUTS()                                  \
  if (!std::filesystem::exists(::ratchet::testing::shared_inputs())) { \
    GTEST_SKIP() << "shared inputs absent";                            \
  }                                                                    \
  static_assert(true)
