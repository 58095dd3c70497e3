#pragma once

// Leases on the grantor's side. The holder counts from when it sent its request, the grantor from
// when it has it, and waits besides for what two clocks may differ: the holder's ends first.

#include "controlplane/core/control_core.h"

namespace ratchet::control {

// When the grantor may act as if the lease were over.
Millis lease_end(Millis granted, Millis ttl, const CoreSettings& settings);

}  // namespace ratchet::control
