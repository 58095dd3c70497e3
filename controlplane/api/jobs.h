#pragma once

// Jobs as the API shows them, put together from the store. Blocks.

#include <string>

#include "controlplane/api/call.h"
#include "controlplane/api/forms.h"
#include "controlplane/store/store.h"

namespace ratchet::control {

// Everything but last_step, which only the service knows while the job trains; of jobs that it has
// forgotten the store's newest metric is taken.
Result<JobParts> job_parts(const Store& store, JobView view);

// The job, when it is the tenant's; job_not_found otherwise.
std::variant<JobView, ApiError> find_job(const Store& store, const Call& call);

}  // namespace ratchet::control
