#pragma once

// Names that no other process or earlier attempt has used. Internal to this folder.

#include <string>

namespace ratchet::trainer {

std::string random_name();  // 128 random bits in hex

}  // namespace ratchet::trainer
