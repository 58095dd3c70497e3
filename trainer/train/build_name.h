#pragma once

// What checkpoints and preflights call this program.

#include <string>

#include "proto/version.h"

namespace ratchet::trainer {

inline std::string trainer_build() { return std::string("ratchet-trainer ") + kVersion; }

}  // namespace ratchet::trainer
