#include "agent/daemon/kernel_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <ctime>

namespace ratchet::agent {
namespace {

constexpr std::size_t kMaxFindings = 1000;
constexpr std::size_t kMaxRecord = 8192;  // the kernel's own limit
constexpr int kMaxRecordsAPoll = 20000;

template <class Number>
bool read_leading_number(std::string_view text, Number& out) {
  return std::from_chars(text.data(), text.data() + text.size(), out).ec == std::errc();
}

std::string_view after(std::string_view text, std::string_view mark) {
  const std::size_t at = text.find(mark);
  return at == std::string_view::npos ? std::string_view() : text.substr(at + mark.size());
}

// "NVRM: Xid (PCI:0000:3b:00): 79, pid=..., GPU has fallen off the bus."
bool parse_xid(std::string_view text, KernelFinding& out) {
  const std::string_view rest = after(text, "NVRM: Xid (PCI:");
  const std::size_t close = rest.find("): ");
  if (close == std::string_view::npos || close > 32) return false;
  out.pci_bus = std::string(rest.substr(0, close));
  return read_leading_number(rest.substr(close + 3), out.xid) && out.xid > 0 && out.xid < 100000;
}

// "Out of memory: Killed process 1234 (name) ...", "Memory cgroup out of memory: Killed process .."
bool parse_oom(std::string_view text, KernelFinding& out) {
  if (text.find("ut of memory") == std::string_view::npos) return false;
  return read_leading_number(after(text, "Killed process "), out.killed) && out.killed > 0;
}

}  // namespace

std::optional<KernelFinding> parse_kernel_record(std::string_view record) {
  const std::size_t semicolon = record.find(';');
  if (semicolon == std::string_view::npos) return std::nullopt;
  const std::string_view prefix = record.substr(0, semicolon);
  unsigned priority = 0;
  KernelFinding finding;
  if (!read_leading_number(prefix, priority)) return std::nullopt;
  // Facility 0 is the kernel; what programs write has another one, whatever it says.
  if (priority >> 3 != 0) return std::nullopt;
  const std::string_view time = after(after(prefix, ","), ",");
  if (!read_leading_number(time, finding.time_us)) return std::nullopt;
  const std::string_view text = record.substr(semicolon + 1);
  if (parse_xid(text, finding) || parse_oom(text, finding)) return finding;
  return std::nullopt;
}

KernelLog::KernelLog(const std::filesystem::path& device)
    : fd_(::open(device.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {}

KernelLog::~KernelLog() {
  if (fd_ >= 0) ::close(fd_);
}

void KernelLog::poll() {
  std::array<char, kMaxRecord> record{};
  for (int i = 0; fd_ >= 0 && i < kMaxRecordsAPoll; ++i) {
    const ssize_t got = ::read(fd_, record.data(), record.size());
    if (got < 0 && (errno == EINTR || errno == EPIPE)) continue;  // EPIPE: records were overwritten
    if (got <= 0) return;
    if (auto found = parse_kernel_record({record.data(), static_cast<std::size_t>(got)})) {
      if (findings_.size() == kMaxFindings) findings_.erase(findings_.begin());
      findings_.push_back(*std::move(found));
    }
  }
}

std::vector<std::int64_t> KernelLog::xids_since(std::uint64_t time_us) const {
  std::vector<std::int64_t> out;
  for (const KernelFinding& finding : findings_) {
    if (finding.xid > 0 && finding.time_us >= time_us) out.push_back(finding.xid);
  }
  return out;
}

std::vector<std::int64_t> KernelLog::xids_of(std::string_view pci_bus) const {
  std::vector<std::int64_t> out;
  for (const KernelFinding& finding : findings_) {
    if (finding.xid > 0 && finding.pci_bus == pci_bus) out.push_back(finding.xid);
  }
  return out;
}

bool KernelLog::killed(pid_t pid, std::uint64_t since_us) const {
  for (const KernelFinding& finding : findings_) {
    if (finding.killed == pid && finding.time_us >= since_us) return true;
  }
  return false;
}

std::uint64_t kernel_time_us() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000000 +
         static_cast<std::uint64_t>(now.tv_nsec) / 1000;
}

}  // namespace ratchet::agent
