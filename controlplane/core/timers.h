#pragma once

// Timers in order of time: one for each (kind, key), armed anew as often as wanted.

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "proto/sync_message.h"

namespace ratchet::control {

enum class TimerKind {
  kLiveness,   // key: node
  kAuthority,  // node
  kDrain,      // node: its drain deadline has passed
  kOffer,      // job
  kBackoff,    // job
  kUpload,     // job: a sealed checkpoint did not arrive in time
  kCapacity,   // job: no node for too long
  kForget,     // job: terminal, its last attempts were never heard of again
  kOrphans,    // job: oldest orphan checkpoint is to be discarded
  kBoot,       // intent
  kProvider,   // provider: may be asked again
  kInventory,  // none
};

class Timers {
 public:
  using Key = std::pair<TimerKind, std::string>;

  void arm(TimerKind kind, const std::string& key, Millis due);
  void disarm(TimerKind kind, const std::string& key);
  [[nodiscard]] bool armed(TimerKind kind, const std::string& key) const;
  [[nodiscard]] std::optional<Millis> next() const;
  // Takes the earliest that is due at `now`.
  std::optional<Key> pop(Millis now);

 private:
  std::set<std::pair<Millis, Key>> order_;
  std::map<Key, Millis> due_;
};

}  // namespace ratchet::control
