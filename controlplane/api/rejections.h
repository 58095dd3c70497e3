#pragma once

#include "controlplane/core/control_core.h"
#include "proto/api_error.h"

namespace ratchet::control {

// What the core refused, in the API's form: its codes are the API's.
ApiError problem_of(const Rejection& rejection);

}  // namespace ratchet::control
