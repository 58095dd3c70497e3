#pragma once

// The parts of the route table.

#include <vector>

#include "controlplane/api/route.h"

namespace ratchet::control {

inline constexpr Parameter kLimit{"limit", "integer", "Most items of the answer, 1 to 1000"};
inline constexpr Parameter kCursor{"cursor", "string", "next_cursor of the page before"};
inline constexpr Parameter kUploadOffset{"Upload-Offset", "integer", "Where the bytes belong",
                                         "header", true};

std::vector<Route> job_routes();
std::vector<Route> resource_routes();  // nodes, artifacts, webhooks
std::vector<Route> system_routes();    // tokens, settings, health, agents

}  // namespace ratchet::control
