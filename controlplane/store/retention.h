#pragma once

// Removal of what is old, see RetentionRequest. Runs on the writer's connection.

#include "controlplane/store/database.h"
#include "controlplane/store/store.h"

namespace ratchet::control {

Result<RetentionReport> remove_old(Database& db, const RetentionRequest& request);

}  // namespace ratchet::control
