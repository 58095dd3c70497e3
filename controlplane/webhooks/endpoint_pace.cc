#include "controlplane/webhooks/endpoint_pace.h"

namespace ratchet::control {

std::size_t EndpointPace::room(UnixMillis now) const {
  if (now < paused_to_ || in_flight_ >= window_) return 0;
  return window_ - in_flight_;
}

void EndpointPace::finished(bool good) {
  if (in_flight_ > 0) --in_flight_;
  window_ = good ? std::min(window_ + 1, kMost) : 1;
}

}  // namespace ratchet::control
