#include "controlplane/provision/static_provisioner.h"

namespace ratchet::control {

void StaticProvisioner::start(const std::vector<IntentRow>& /*intents*/, Sink sink) {
  sink_ = std::move(sink);
}

void StaticProvisioner::create(const CreateNode& wish, const std::string& /*join_token*/) {
  post_([this, key = wish.intent_key] {
    sink_(IntentAnswered{key, IntentState::kRefused,
                         "Static nodes register themselves: start ratchet-agent on a machine that "
                         "fits."});
  });
}

void StaticProvisioner::release(const std::string& /*intent_key*/) {}

ProvisionerHealth StaticProvisioner::health() const {
  return {.name = "static", .message = "Nodes register themselves with a join token."};
}

}  // namespace ratchet::control
