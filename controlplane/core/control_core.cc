#include "controlplane/core/control_core.h"

#include <utility>

#include "controlplane/core/core.h"

namespace ratchet::control {

struct ControlCore::State {
  Core core;
};

ControlCore::ControlCore(CoreSettings settings, std::vector<Provider> providers,
                         std::string boot_id, LoadedRows rows, Now now, std::uint64_t seed)
    : state_(new State{Core(std::move(settings), std::move(providers), std::move(boot_id),
                            std::move(rows), now, seed)}) {}

ControlCore::~ControlCore() = default;

Outcome ControlCore::handle(const Input& input, Now now) { return state_->core.handle(input, now); }

SyncResponse ControlCore::desired_for(const std::string& node_id, Now now) const {
  return state_->core.desired_for(node_id, now);
}

std::int64_t ControlCore::desired_rev(const std::string& node_id) const {
  return state_->core.desired_rev(node_id);
}

const JobRow* ControlCore::job(const JobId& id) const { return state_->core.job(id); }

std::optional<NodeView> ControlCore::node(const std::string& id, Now now) const {
  return state_->core.node(id, now);
}

std::vector<NodeView> ControlCore::nodes(Now now) const { return state_->core.nodes(now); }

bool ControlCore::inventory_open(Now /*now*/) const { return state_->core.inventory_open(); }

std::optional<Millis> ControlCore::next_timer(Now now) const {
  return state_->core.next_timer(now);
}

void ControlCore::disable(Fence fence) { state_->core.disable(fence); }

}  // namespace ratchet::control
