#pragma once

// Follows a job until it is over, through interruptions of the job and of the control plane.

#include <string>

#include "controlplane/cli/command.h"

namespace ratchet::control::cli {

// kExitOk when the job completed, kExitJobFailed when it failed or was cancelled,
// kExitInterrupted after Ctrl-C.
Answer<int> watch_job(Api& api, const Flags& flags, const std::string& id);

}  // namespace ratchet::control::cli
