#pragma once

// The rotary-embedding keys of config.json, in both spellings. Internal to model_config.cc.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "proto/result.h"
#include "trainer/model/model_config.h"

namespace ratchet::trainer {

// Fills rope_theta and rope_scaling from rope_theta + rope_scaling (transformers 4) and
// rope_parameters (transformers 5), which must agree where both are there. An unknown kind of
// scaling is kUnsupported; faults of type, range and agreement are added to `faults`.
Status read_rope(const nlohmann::json& document, std::vector<std::string>& faults,
                 ModelConfig& config);

}  // namespace ratchet::trainer
