#pragma once

// What checkpoints and preflights call this program.

namespace ratchet::trainer {

inline constexpr const char* kTrainerBuild = "ratchet-trainer 0.1.0";

}  // namespace ratchet::trainer
