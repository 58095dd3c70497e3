#pragma once

// How many deliveries an endpoint gets at once. One that fails or is slow keeps only one of the
// sender's places, so it cannot delay others; one that answers gets more, up to a bound. Pure.

#include <algorithm>
#include <cstddef>

#include "proto/units.h"

namespace ratchet::control {

class EndpointPace {
 public:
  static constexpr std::size_t kMost = 16;

  // Deliveries that may start now.
  [[nodiscard]] std::size_t room(UnixMillis now) const;
  void started() { ++in_flight_; }
  void finished(bool good);
  void pause_to(UnixMillis time) { paused_to_ = std::max(paused_to_, time); }
  [[nodiscard]] UnixMillis paused_to() const { return paused_to_; }
  [[nodiscard]] std::size_t in_flight() const { return in_flight_; }

 private:
  std::size_t in_flight_ = 0;
  std::size_t window_ = 4;
  UnixMillis paused_to_{0};
};

}  // namespace ratchet::control
