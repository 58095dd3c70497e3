#pragma once

// What becomes of one webhook delivery: (row, event, now) -> row and actions. Pure.
//
//   pending --taken--> sending --2xx--> delivered
//      waiting --taken--^  |--410--> dead, the endpoint is disabled
//                          |--else--> waiting(next_at), or dead after the last try or 76 h
//
// A row that is sending holds a lease until next_at: when the process dies, the delivery is taken
// again after that (at least once; receivers tell by webhook-id). Other events change nothing.

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "controlplane/store/records.h"

namespace ratchet::control {

struct DeliveryPolicy {
  // Waits before each try (Standard Webhooks): the first at once, the tenth 75 h 35 min 5 s later.
  std::vector<Millis> schedule{
      Millis{0},
      std::chrono::seconds(5),
      std::chrono::minutes(5),
      std::chrono::minutes(30),
      std::chrono::hours(2),
      std::chrono::hours(5),
      std::chrono::hours(10),
      std::chrono::hours(14),
      std::chrono::hours(20),
      std::chrono::hours(24),
  };
  double jitter = 0.1;  // a wait is shortened by up to this share
  Millis max_age = std::chrono::hours(76);
  Millis most_retry_after = std::chrono::hours(24);
  Millis lease = std::chrono::seconds(60);  // longer than a try can take
};

struct DeliveryTaken {};
struct DeliveryAnswered {
  int status = 0;
  std::optional<Millis> retry_after;
  Millis took{0};
};
struct DeliveryUnanswered {  // not reached, cut off, timed out, or its address was refused
  std::string reason;        // sentence
  Millis took{0};
};
struct DeliverySkipped {};  // the endpoint's format does not know such events
struct DeliveryImpossible {
  std::string reason;
};
using DeliveryEvent = std::variant<DeliveryTaken, DeliveryAnswered, DeliveryUnanswered,
                                   DeliverySkipped, DeliveryImpossible>;

struct DeliveryStep {
  DeliveryRow row;
  bool changed = false;
  bool disable_endpoint = false;                // 410: it wants nothing any more
  std::optional<UnixMillis> pause_endpoint_to;  // 429, 502, 504: leave it alone until then
};

// `chance` from 0 to below 1 draws the jitter.
DeliveryStep advance(const DeliveryRow& row, const DeliveryEvent& event, UnixMillis now,
                     const DeliveryPolicy& policy, double chance);

}  // namespace ratchet::control
