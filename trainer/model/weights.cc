#include "trainer/model/weights.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <vector>

namespace ratchet::trainer {
namespace {

constexpr int64_t kStagingBytes = int64_t{64} << 20;  // host memory of a load to another device
constexpr int64_t kPieceElements = int64_t{1} << 20;  // 4 MiB of fp32 while a dtype is changed

void expect(const Status& status) {
  if (!status) {
    throw ErrorException(status.error());
  }
}

const FolderTensor& tensor_of(const HfFolder& folder, const std::string& name) {
  const FolderTensor* tensor = folder.find(name);
  TORCH_CHECK(tensor != nullptr, "the model has no tensor '", name, "'");
  return *tensor;
}

DType dtype_of(at::ScalarType dtype) {
  TORCH_CHECK(dtype == at::kFloat || dtype == at::kBFloat16,
              "weights are held as fp32 or bf16, not ", dtype);
  return dtype == at::kFloat ? DType::kF32 : DType::kBF16;
}

std::span<std::byte> bytes_of(const at::Tensor& host) {
  return {static_cast<std::byte*>(host.mutable_data_ptr()), host.nbytes()};
}

// Elements [first, first + host.numel()) of the tensor into `host`, flat and contiguous.
void read_elements(const HfFolder& folder, const FolderTensor& tensor, int64_t first,
                   const at::Tensor& host) {
  const DType wanted = dtype_of(host.scalar_type());
  const size_t stored_size = dtype_size(tensor.dtype);
  if (wanted == tensor.dtype) {
    expect(folder.read_range(tensor, static_cast<uint64_t>(first) * stored_size, bytes_of(host)));
    return;
  }
  std::vector<std::byte> stored;
  std::vector<float> wide;
  const std::span<std::byte> out = bytes_of(host);
  for (int64_t done = 0; done < host.numel(); done += kPieceElements) {
    const auto count = static_cast<size_t>(std::min(kPieceElements, host.numel() - done));
    stored.resize(count * stored_size);
    wide.resize(count);
    expect(folder.read_range(tensor, static_cast<uint64_t>(first + done) * stored_size, stored));
    widen_to_float(tensor.dtype, stored, wide);
    const size_t size = dtype_size(wanted);
    narrow_from_float(wanted, wide, out.subspan(static_cast<size_t>(done) * size, count * size));
  }
}

void read_into(const HfFolder& folder, const std::string& name, const at::Tensor& destination) {
  const FolderTensor& tensor = tensor_of(folder, name);
  TORCH_CHECK(destination.is_contiguous() && destination.sizes() == tensor.tensor.shape, "weight '",
              name, "' does not fit ", destination.sizes());
  const at::Tensor flat = destination.view({-1});
  if (flat.is_cpu()) {
    read_elements(folder, tensor, 0, flat);
    return;
  }
  const int64_t step = kStagingBytes / flat.element_size();
  const at::Tensor staging =
      at::empty({std::min(step, flat.numel())}, flat.options().device(at::kCPU));
  for (int64_t first = 0; first < flat.numel(); first += step) {
    const int64_t count = std::min(step, flat.numel() - first);
    const at::Tensor host = staging.narrow(0, 0, count);
    read_elements(folder, tensor, first, host);
    flat.narrow(0, first, count).copy_(host);
  }
}

}  // namespace

at::Tensor read_weight(const HfFolder& folder, const std::string& name, at::Device device,
                       at::ScalarType dtype) {
  at::Tensor weight = at::empty(tensor_of(folder, name).tensor.shape,
                                at::TensorOptions().dtype(dtype).device(device));
  read_into(folder, name, weight);
  return weight;
}

void read_weight_into(const HfFolder& folder, const std::string& name, at::Tensor destination) {
  const at::NoGradGuard no_grad;
  read_into(folder, name, destination.detach());
}

}  // namespace ratchet::trainer
