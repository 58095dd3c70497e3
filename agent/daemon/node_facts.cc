#include "agent/daemon/node_facts.h"

#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "agent/daemon/files.h"
#include "agent/daemon/off_loop.h"
#include "agent/daemon/process.h"
#include "proto/document.h"

namespace ratchet::agent {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kMaxText = 64 * 1024;
constexpr std::size_t kMaxOutput = 4 * 1024 * 1024;
constexpr std::chrono::milliseconds kPreflightLimit{180000};
constexpr std::chrono::milliseconds kLook{100};
constexpr int kExitUsage = 2;  // of ratchet-trainer: it does not know the command

// The last line that begins as an object: errors for people may follow it.
std::string_view result_line(std::string_view output) {
  const std::size_t at = output.rfind("\n{");
  std::string_view line = output.substr(at == std::string_view::npos ? 0 : at + 1);
  return line.substr(0, line.find('\n'));
}

PreflightFacts failed(std::string message) { return {true, false, 0, std::move(message)}; }

}  // namespace

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "node";
  return name.data();
}

std::int64_t usable_cores() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return CPU_COUNT(&set);
}

Bytes parse_memory_total(std::string_view meminfo) {
  constexpr std::string_view kKey = "MemTotal:";
  const std::size_t at = meminfo.find(kKey);
  if (at == std::string_view::npos) return Bytes(0);
  std::string_view rest = meminfo.substr(at + kKey.size());
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  std::int64_t kib = 0;
  std::from_chars(rest.data(), rest.data() + rest.size(), kib);
  return kibibytes(kib);
}

Bytes memory_total() {
  const auto text = read_file("/proc/meminfo", kMaxText);
  return text ? parse_memory_total(*text) : Bytes(0);
}

std::vector<GpuFacts> gpu_facts(const std::vector<Gpu>& gpus, const KernelLog& log) {
  std::vector<GpuFacts> out;
  for (const Gpu& gpu : gpus) {
    out.push_back(gpu.facts);
    std::vector<std::int64_t>& xids = out.back().xids;
    xids = log.xids_of(gpu.pci_bus);
    if (xids.size() > kMaxGpuXids) xids.erase(xids.begin(), xids.end() - kMaxGpuXids);
  }
  return out;
}

Preflight parse_preflight(std::string_view output, int exit_code, const std::string& program) {
  Preflight result;
  if (exit_code == kExitUsage) {
    result.facts = failed("The trainer '" + program +
                          "' has no preflight command: it does not belong to this agent. Install "
                          "the trainer of the same version.");
    return result;
  }
  const std::string_view line = result_line(output);
  FindingList findings;
  result.facts.done = true;
  if (const auto document = Document::parse(line, {.max_bytes = kMaxText}, findings)) {
    ObjectReader root = document->root(findings, UnknownKeys::kTolerate);
    root.require("passed", "whether the device works");
    root.boolean("passed", result.facts.passed);
    root.number("kernel_ms", result.facts.kernel_ms);
    root.text("message", result.facts.message, {.kind = TextKind::kAny});
    root.text("device", result.device);
    root.text("build", result.build);
  }
  if (!findings.empty()) {
    result.facts = failed("The trainer's preflight ended with code " + std::to_string(exit_code) +
                          " and said: " + clip_text(output, 1000));
  }
  return result;
}

asio::awaitable<Preflight> run_preflight(std::string program, std::string gpu,
                                         std::filesystem::path log) {
  ::unlink(log.c_str());
  SpawnArgs args;
  args.program = program;
  args.arguments = {"preflight", "--json"};
  args.folder = log.parent_path();
  if (!gpu.empty()) args.environment.push_back("CUDA_VISIBLE_DEVICES=" + gpu);
  args.log = log;
  auto process = TrainerProcess::start(args, [](const ProcessIdentity&) { return ok(); });
  if (!process) {
    co_return Preflight{failed(process.error().message), {}, {}};
  }
  std::optional<ProcessEnd> end;
  for (auto waited = kLook; !end && waited < kPreflightLimit; waited += kLook) {
    co_await sleep_for(kLook);
    end = process->reap();
  }
  if (!end) {
    process->signal_group(SIGKILL);
    co_return Preflight{failed("The trainer's preflight did not end within 3 minutes: the device "
                               "hangs."),
                        {},
                        {}};
  }
  const auto output = read_file(log, kMaxOutput);
  co_return parse_preflight(output ? std::string_view(*output) : std::string_view(), end->exit_code,
                            program);
}

}  // namespace ratchet::agent
