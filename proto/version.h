#pragma once

// The version that all programs of one build say with --version, and CHANGELOG.md begins with.

namespace ratchet {

inline constexpr char kVersion[] = "0.2.0";

}  // namespace ratchet
