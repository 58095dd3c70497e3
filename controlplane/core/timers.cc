#include "controlplane/core/timers.h"

namespace ratchet::control {

void Timers::arm(TimerKind kind, const std::string& key, Millis due) {
  disarm(kind, key);
  due_.emplace(Key{kind, key}, due);
  order_.emplace(due, Key{kind, key});
}

void Timers::disarm(TimerKind kind, const std::string& key) {
  const auto found = due_.find(Key{kind, key});
  if (found == due_.end()) return;
  order_.erase({found->second, found->first});
  due_.erase(found);
}

bool Timers::armed(TimerKind kind, const std::string& key) const {
  return due_.contains(Key{kind, key});
}

std::optional<Millis> Timers::next() const {
  if (order_.empty()) return std::nullopt;
  return order_.begin()->first;
}

std::optional<Timers::Key> Timers::pop(Millis now) {
  if (order_.empty() || order_.begin()->first > now) return std::nullopt;
  Key key = order_.begin()->second;
  order_.erase(order_.begin());
  due_.erase(key);
  return key;
}

}  // namespace ratchet::control
