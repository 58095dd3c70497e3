#pragma once

// What the agent tells about its node, and how it knows that the trainer works there.

#include <boost/asio/awaitable.hpp>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "agent/daemon/gpu_probe.h"
#include "agent/daemon/kernel_log.h"
#include "proto/result.h"
#include "proto/sync_message.h"

namespace ratchet::agent {

std::string host_name();
std::int64_t usable_cores();
Bytes parse_memory_total(std::string_view meminfo);  // 0 when it cannot be read
Bytes memory_total();

// Xids of the kernel log go to the GPU on whose bus they happened.
std::vector<GpuFacts> gpu_facts(const std::vector<Gpu>& gpus, const KernelLog& log);

// The line that `ratchet-trainer preflight` prints:
// {"passed":true,"kernel_ms":1.5,"device":"cpu","message":"","build":"0.1"}.
struct Preflight {
  PreflightFacts facts;
  std::string device;
  std::string build;
};
Preflight parse_preflight(std::string_view output, int exit_code, const std::string& program);

// Runs it on one GPU (its UUID; empty: the trainer's choice), at most three minutes: a first start
// of CUDA takes its time. Never fails: what goes wrong is the result. `log` is a file for its
// output.
boost::asio::awaitable<Preflight> run_preflight(std::string program, std::string gpu,
                                                std::filesystem::path log);

}  // namespace ratchet::agent
