#pragma once

// Where nodes come from. A provisioner acts on commands of the core and tells facts back; what it
// is asked for was durable before (I6), and what it tells is made durable by whoever listens.
//
// All calls and facts happen on the loop's thread; a fact never comes from within a call.

#include <cstdint>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "controlplane/core/control_core.h"

namespace ratchet::control {

// The node of an intent is dead, with what proves it (I7). Not told for nodes that were only
// silent.
struct ProvisionedGone {
  std::string intent_key;
  std::string proof;
};
using ProvisionFact = std::variant<IntentAnswered, ProvisionedGone>;

struct ProvisionerHealth {
  std::string name;
  bool ok = true;
  std::string message;  // why not, or what is there
  std::int64_t nodes = 0;
  std::int64_t nodes_max = 0;  // 0: no limit of its own
};

class Provisioner {
 public:
  using Sink = std::function<void(ProvisionFact fact)>;
  virtual ~Provisioner() = default;

  // Once, before all else: looks for what was made for these intents before a restart, watches it
  // again, and tells the death of what is gone.
  virtual void start(const std::vector<IntentRow>& intents, Sink sink) = 0;
  // Idempotent by key. `join_token` lets the node's agent register itself.
  virtual void create(const CreateNode& wish, const std::string& join_token) = 0;
  // Idempotent; answered by ProvisionedGone.
  virtual void release(const std::string& intent_key) = 0;
  [[nodiscard]] virtual ProvisionerHealth health() const = 0;
  // Before the process ends; whether nodes live on is the provisioner's setting.
  virtual void stop() = 0;
};

}  // namespace ratchet::control
