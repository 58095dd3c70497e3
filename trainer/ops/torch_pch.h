#pragma once

// The LibTorch headers that the files of trainer/ops and trainer/model need, precompiled once.
// Nothing outside those rooms' .cc files includes this; the .cc files include what they use by
// themselves and build without the precompiled header too.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/variable.h>
