#pragma once

// Nodes that register themselves: there is nothing to create and nothing to release, and no way to
// prove that one is dead.

#include "controlplane/provision/provisioner.h"

namespace ratchet::control {

class StaticProvisioner : public Provisioner {
 public:
  explicit StaticProvisioner(std::function<void(std::function<void()>)> post)
      : post_(std::move(post)) {}
  void start(const std::vector<IntentRow>& intents, Sink sink) override;
  void create(const CreateNode& wish, const std::string& join_token) override;
  void release(const std::string& intent_key) override;
  [[nodiscard]] ProvisionerHealth health() const override;
  void stop() override {}

 private:
  std::function<void(std::function<void()>)> post_;
  Sink sink_;
};

}  // namespace ratchet::control
