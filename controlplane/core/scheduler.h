#pragma once

// Who runs where, pure: jobs in order of priority and age, nodes with room, and out come
// assignments. A job that fits nowhere does not hold up those behind it.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "controlplane/core/rows.h"

namespace ratchet::control {

struct JobAsk {  // a job that may be placed now: its backoff and starts_at have passed
  const JobRow* job = nullptr;
  bool any_price = false;  // placement is widened after losses without progress (I9)
};

struct NodeOffer {
  const NodeRow* node = nullptr;
  std::int64_t free_slots = 0;  // 0: full; known so that avoided nodes can be judged
  bool idle = true;             // nothing runs there
};

struct Quota {
  std::int64_t slots_each = 0;               // 0: no limit
  std::map<std::string, std::int64_t> held;  // by tenant
};

struct Assignment {
  std::size_t job = 0;  // index into the asks
  std::size_t node = 0;
  std::int64_t slots = 0;
};

// Slots that the job takes on this node; 0: the node does not suit it, however empty it is.
std::int64_t slots_on(const Requirements& needs, const NodeFacts& facts, bool any_price);

// Whether a node of a provider could suit the job (for provision intents).
bool could_offer(const Requirements& needs, const Requirements& offers);

// `asks` in any order. Nodes are taken as given: only those that may be given work are passed.
std::vector<Assignment> schedule(std::span<const JobAsk> asks, std::span<const NodeOffer> nodes,
                                 const Quota& quota);

// Order of the queue: higher priority first, then older, then by id.
bool goes_before(const JobRow& a, const JobRow& b);

}  // namespace ratchet::control
