#pragma once

// What the kernel says about GPUs and memory: NVIDIA's Xid lines and kills by the OOM killer, read
// from /dev/kmsg where that is allowed. Nothing is lost where it is not but the evidence.
//
// Loop thread only; poll() does not block.

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ratchet::agent {

struct KernelFinding {
  std::uint64_t time_us = 0;  // since boot
  std::int64_t xid = 0;       // 0: it is an OOM kill
  std::string pci_bus;        // of an Xid: "0000:3b:00"
  pid_t killed = 0;           // of an OOM kill
  bool operator==(const KernelFinding&) const = default;
};

// One record of /dev/kmsg: "6,1234,5678901,-;text". Untrusted: programs can write there too.
std::optional<KernelFinding> parse_kernel_record(std::string_view record);

class KernelLog {
 public:
  // Reads from the oldest record that the kernel still has.
  explicit KernelLog(const std::filesystem::path& device = "/dev/kmsg");
  ~KernelLog();
  KernelLog(const KernelLog&) = delete;
  KernelLog& operator=(const KernelLog&) = delete;

  void poll();
  [[nodiscard]] bool readable() const { return fd_ >= 0; }
  [[nodiscard]] const std::vector<KernelFinding>& findings() const { return findings_; }
  [[nodiscard]] std::vector<std::int64_t> xids_since(std::uint64_t time_us) const;
  [[nodiscard]] std::vector<std::int64_t> xids_of(std::string_view pci_bus) const;
  [[nodiscard]] bool killed(pid_t pid, std::uint64_t since_us) const;

 private:
  int fd_ = -1;
  std::vector<KernelFinding> findings_;  // the newest kMaxFindings
};

// Microseconds since boot, as the kernel log counts them.
std::uint64_t kernel_time_us();

}  // namespace ratchet::agent
