#include "agent/daemon/cgroup.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <string>
#include <vector>

#include "agent/daemon/files.h"

namespace ratchet::agent {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxText = 64 * 1024;

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const std::size_t end = text.find(at);
    parts.push_back(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return parts;
}

}  // namespace

std::optional<fs::path> own_cgroup(std::string_view proc, std::string_view mounts) {
  std::string_view below;
  for (const std::string_view line : split(proc, '\n')) {
    if (line.substr(0, 3) == "0::") below = line.substr(3);
  }
  if (below.empty() || below.front() != '/') return std::nullopt;
  for (const std::string_view line : split(mounts, '\n')) {
    const auto fields = split(line, ' ');
    // Fields of mountinfo: ... 4 root, 5 mount point, 6 options, optional ones, "-", type, ...
    for (std::size_t i = 6; i + 1 < fields.size(); ++i) {
      if (fields[i] == "-" && fields[i + 1] == "cgroup2") {
        return fs::path(std::string(fields[4]) + std::string(below)).lexically_normal();
      }
    }
  }
  return std::nullopt;
}

bool counts_memory(const fs::path& group) {
  const auto text = read_file(group / "cgroup.subtree_control", kMaxText);
  if (!text) return false;
  for (const std::string_view word : split(*text, ' ')) {
    if (word == "memory" || word == "memory\n") return true;
  }
  return false;
}

Result<fs::path> make_cgroup(const fs::path& parent, std::string_view name) {
  const fs::path group = parent / ("ratchet-" + std::string(name));
  if (::mkdir(group.c_str(), 0755) != 0 && errno != EEXIST) {
    return io_error("Cannot make the control group '" + group.string() + "'", errno);
  }
  return group;
}

void remove_cgroup(const fs::path& group) {
  if (!group.empty()) ::rmdir(group.c_str());
}

std::int64_t parse_oom_kills(std::string_view memory_events) {
  for (const std::string_view line : split(memory_events, '\n')) {
    const auto fields = split(line, ' ');
    std::int64_t count = 0;
    if (fields.size() == 2 && fields[0] == "oom_kill" &&
        std::from_chars(fields[1].data(), fields[1].data() + fields[1].size(), count).ec ==
            std::errc()) {
      return count;
    }
  }
  return 0;
}

std::int64_t oom_kills(const fs::path& group) {
  const auto text = read_file(group / "memory.events", kMaxText);
  return text ? parse_oom_kills(*text) : 0;
}

}  // namespace ratchet::agent
