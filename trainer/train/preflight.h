#pragma once

// Whether the device computes: a question that a node asks before it takes jobs. LibTorch-free
// door.

#include <string>

#include "proto/job_spec.h"

namespace ratchet::trainer {

struct PreflightResult {
  bool passed = false;
  double kernel_ms = 0.0;  // of the checked matrix product, once warm
  std::string device;      // "cpu", or the GPU's name
  std::string message;     // full sentence when it did not pass
};

// A matrix product of small integers, which must be right in every element; on a GPU our own
// normalisation kernel besides, against the CPU. About a second, most of it LibTorch's start. Never
// throws. devices.kind auto means a GPU when there is one.
PreflightResult check_device(DeviceKind kind);

}  // namespace ratchet::trainer
