#include "trainer/train/process_group.h"

#include <ATen/ATen.h>

#include <cstring>
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <vector>

#include "trainer/train/cuda_library.h"

namespace ratchet::trainer {

struct ProcessGroup::Impl {
  c10::intrusive_ptr<c10d::Backend> backend;  // where the tensors are
};

namespace {

c10::intrusive_ptr<c10d::Backend> make_gloo(const c10::intrusive_ptr<c10d::Store>& store,
                                            const ProcessGroup::Options& options) {
  auto gloo_options = c10d::ProcessGroupGloo::Options::create();
  gloo_options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1"));
  gloo_options->timeout = options.timeout;
  // Two threads reorder nothing: each collective is one operation on one context.
  gloo_options->threads = 2;
  return c10::make_intrusive<c10d::ProcessGroupGloo>(store, options.rank, options.world_size,
                                                     gloo_options);
}

}  // namespace

ProcessGroup::ProcessGroup(const Options& options)
    : options_(options), impl_(std::make_unique<Impl>()) {
  if (options.world_size == 1) {
    return;
  }
  auto store =
      c10::make_intrusive<c10d::FileStore>(options.rendezvous.string(), options.world_size);
  if (options.cuda) {
    impl_->backend =
        c10::intrusive_ptr<c10d::Backend>::reclaim(load_cuda_library().value()->make_nccl(
            c10::intrusive_ptr<c10d::Store>(store).release(), options.rank, options.world_size,
            options.timeout.count()));
  } else {
    impl_->backend = make_gloo(store, options);
  }
}

ProcessGroup::~ProcessGroup() = default;

void ProcessGroup::all_reduce_sum(at::Tensor& flat) {
  if (options_.world_size == 1) {
    return;
  }
  std::vector<at::Tensor> tensors{flat};
  impl_->backend->allreduce(tensors)->wait();
}

std::string ProcessGroup::broadcast(const std::string& text) {
  if (options_.world_size == 1) {
    return text;
  }
  constexpr int64_t kBytesMax = 1 << 20;
  const auto device = options_.cuda ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  auto size = at::full({1}, static_cast<int64_t>(text.size()), at::kLong).to(device);
  std::vector<at::Tensor> sizes{size};
  impl_->backend->broadcast(sizes)->wait();
  const int64_t bytes = sizes[0].cpu().item<int64_t>();
  TORCH_CHECK(bytes >= 0 && bytes <= kBytesMax, "broadcast of ", bytes, " bytes is out of bounds");
  if (bytes == 0) {
    return {};
  }
  auto host = at::zeros({bytes}, at::kByte);
  if (options_.rank == 0) {
    std::memcpy(host.data_ptr<uint8_t>(), text.data(), text.size());
  }
  std::vector<at::Tensor> payload{host.to(device)};
  impl_->backend->broadcast(payload)->wait();
  host = payload[0].cpu();
  return {reinterpret_cast<const char*>(host.data_ptr<uint8_t>()), static_cast<size_t>(bytes)};
}

}  // namespace ratchet::trainer
