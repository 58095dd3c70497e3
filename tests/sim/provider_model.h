#pragma once

// A provider that lies: it errs after it has made a node, shows nodes late, forgets to delete, and
// answers nothing. It finds a node by its name before it makes one, as ours do.

#include <map>
#include <string>

#include "tests/sim/world.h"

namespace ratchet::sim {

class ProviderModel {
 public:
  ProviderModel(World& world, control::ControlCore::Provider provider)
      : world_(world), provider_(std::move(provider)) {}

  void command(const control::Command& command);
  void lose_machine(NodeModel& node);  // taken away; proof follows
  void tell_truth();                   // faults are over: finish what hangs

  [[nodiscard]] const control::ControlCore::Provider& provider() const { return provider_; }

 private:
  struct Machine {
    NodeModel* node = nullptr;
    bool made = false;
    bool gone = false;
    bool release_asked = false;
  };

  void create(const control::CreateNode& command);
  void release(const control::ReleaseNode& command);
  void make(const std::string& key);
  void prove(const std::string& key);
  void look(const std::string& key, int tries);
  void answer(const std::string& key, IntentState state, const std::string& message);
  void tell(const control::Input& input);

  World& world_;
  control::ControlCore::Provider provider_;
  std::map<std::string, Machine> machines_;
};

}  // namespace ratchet::sim
