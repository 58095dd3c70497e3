#include "controlplane/core/leases.h"

#include <cmath>
#include <cstdint>

namespace ratchet::control {

Millis lease_end(Millis granted, Millis ttl, const CoreSettings& settings) {
  const double share = std::ceil(static_cast<double>(ttl.count()) * settings.drift);
  return granted + ttl + Millis{static_cast<std::int64_t>(share)} + settings.drift_floor;
}

}  // namespace ratchet::control
