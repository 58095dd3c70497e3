#include "tests/sim/provider_model.h"

#include "tests/sim/checker.h"
#include "tests/sim/control_model.h"
#include "tests/sim/node_model.h"

namespace ratchet::sim {

// Told to whichever process of the control plane is there; the provisioner asks again until then.
void ProviderModel::tell(const control::Input& input) {
  if (!world_.control->alive()) {
    world_.after(Millis{500}, [this, input] { tell(input); });
    return;
  }
  world_.control->submit(input);
}

void ProviderModel::answer(const std::string& key, IntentState state, const std::string& message) {
  tell(control::IntentAnswered{key, state, message});
}

void ProviderModel::command(const control::Command& command) {
  if (const auto* create_node = std::get_if<control::CreateNode>(&command)) {
    world_.checker->on_create(world_.control->tables, *create_node);
    const control::CreateNode wish = *create_node;
    const std::int64_t process = world_.control->generation;
    // What the process had not done when it died, it will not do.
    world_.after(world_.random.between(Millis{1}, Millis{200}), [this, wish, process] {
      if (world_.control->generation == process && world_.control->alive()) create(wish);
    });
  } else {
    const auto wish = std::get<control::ReleaseNode>(command);
    world_.after(world_.random.between(Millis{1}, Millis{200}), [this, wish] { release(wish); });
  }
}

void ProviderModel::create(const control::CreateNode& wish) {
  const std::string key = wish.intent_key;
  world_.control->submit(control::IntentSent{key});
  Machine& machine = machines_[key];
  if (machine.made || machine.gone) {
    answer(key, IntentState::kCreated, "");
    if (machine.gone) prove(key);
    return;
  }
  const double lie = world_.quiet ? 0.0 : world_.random.unit();
  if (lie > 0.9) {
    world_.coverage.hit("fault", "provider refuses");
    answer(key, IntentState::kRefused, "no capacity");
    return;
  }
  const bool error = lie > 0.7;
  const bool makes = !error || world_.random.chance(0.6);
  if (makes) {
    machine.made = true;
    const Millis appears = error ? world_.random.between(Millis{3000}, Millis{60000})
                                 : world_.random.between(Millis{1000}, Millis{6000});
    world_.after(appears, [this, key] { make(key); });
  }
  if (!error) {
    answer(key, IntentState::kCreated, "");
    return;
  }
  world_.coverage.hit("fault", makes ? "provider errs and makes it" : "provider errs");
  answer(key, IntentState::kAmbiguous, "HTTP 500");
  look(key, 0);
}

// Lists by name: a node that was made may be shown late.
void ProviderModel::look(const std::string& key, int tries) {
  world_.after(Millis{2000 << tries}, [this, key, tries] {
    const Machine& machine = machines_[key];
    if (machine.node != nullptr || machine.gone) {
      answer(key, IntentState::kCreated, "found by its name");
      if (machine.gone) prove(key);
    } else if (tries < 3) {
      look(key, tries + 1);
    } else {
      world_.coverage.hit(
          "fault", machine.made ? "node appears after it was given up" : "node is absent for sure");
      answer(key, IntentState::kAbsentConfirmed, "no node of this name");
    }
  });
}

void ProviderModel::make(const std::string& key) {
  Machine& machine = machines_[key];
  if (machine.node != nullptr || machine.gone) return;
  NodeModel& node = world_.add_node(provider_.name, key, NodePrice::kSpot);
  machine.node = &node;
  const bool boots = world_.quiet || world_.random.chance(0.9);
  if (!boots) {
    world_.coverage.hit("fault", "node never boots");
    return;
  }
  NodeModel* raw = &node;
  world_.after(world_.random.between(Millis{2000}, Millis{15000}), [raw] { raw->boot(); });
}

void ProviderModel::release(const control::ReleaseNode& wish) {
  std::string key = wish.intent_key;
  if (key.empty()) {
    if (const NodeModel* node = world_.node_by_id(wish.node_id)) key = node->intent;
  }
  Machine& machine = machines_[key];
  machine.release_asked = true;
  if (!world_.quiet && world_.random.chance(0.2)) {
    world_.coverage.hit("fault", "provider forgets to delete");
    return;
  }
  if (machine.node != nullptr) {
    lose_machine(*machine.node);
  } else {
    machine.gone = true;
    prove(key);
  }
}

void ProviderModel::lose_machine(NodeModel& node) {
  node.power_off(false);
  Machine& machine = machines_[node.intent];
  machine.gone = true;
  machine.node = &node;
  const std::string key = node.intent;
  world_.after(world_.random.between(Millis{500}, Millis{20000}), [this, key] { prove(key); });
}

void ProviderModel::prove(const std::string& key) {
  const Machine& machine = machines_[key];
  const std::string proof = "absent in two lists";
  if (machine.node != nullptr && !machine.node->node_id.empty()) {
    tell(control::NodeGone{machine.node->node_id, proof});
  }
  tell(control::IntentGone{key, proof});
}

void ProviderModel::tell_truth() {
  for (auto& [key, machine] : machines_) {
    if (machine.node != nullptr && machine.node->released && !machine.gone) {
      lose_machine(*machine.node);
    } else if (machine.release_asked && !machine.gone) {
      release(control::ReleaseNode{"", key, provider_.name});
    } else if (machine.node != nullptr && !machine.gone && !machine.node->up()) {
      machine.node->boot();
    } else if (machine.gone) {
      prove(key);
    }
  }
}

}  // namespace ratchet::sim
