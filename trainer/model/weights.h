#pragma once

// Reads a model folder's weights into tensors. Internal to the LibTorch half of this room.

#include <ATen/core/Tensor.h>

#include <string>

#include "trainer/model/hf_folder.h"

namespace ratchet::trainer {

// The named tensor on `device` in `dtype` (fp32 or bf16). On the CPU the bytes go straight into the
// result; elsewhere they pass through a buffer of 64 MiB. Throws ErrorException when the file
// cannot be read; the name must be one of folder.tensors().
at::Tensor read_weight(const HfFolder& folder, const std::string& name, at::Device device,
                       at::ScalarType dtype);

// The named tensor as fp32 into `destination`, which has its shape, contiguous, on any device.
void read_weight_into(const HfFolder& folder, const std::string& name, at::Tensor destination);

}  // namespace ratchet::trainer
