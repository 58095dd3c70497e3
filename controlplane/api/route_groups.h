#pragma once

// The parts of the route table.

#include <vector>

#include "controlplane/api/route.h"

namespace ratchet::control {

std::vector<Route> job_routes();
std::vector<Route> resource_routes();  // nodes, artifacts, webhooks
std::vector<Route> system_routes();    // tokens, settings, health, agents

}  // namespace ratchet::control
