#include "controlplane/api/route.h"

#include "controlplane/api/route_groups.h"

namespace ratchet::control {

std::span<const Route> route_table() {
  static const std::vector<Route> table = [] {
    auto out = job_routes();
    for (auto&& group : {resource_routes(), system_routes()}) {
      out.insert(out.end(), group.begin(), group.end());
    }
    return out;
  }();
  return table;
}

}  // namespace ratchet::control
