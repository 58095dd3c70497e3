#pragma once

// A cgroup v2 group of its own for each trainer, where the agent may make one and its memory is
// counted there: then a kill for want of memory is known, not guessed. Otherwise there is none and
// nothing is lost but that knowledge.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "proto/result.h"

namespace ratchet::agent {

// The agent's own group when trainers can get groups below it. `proc` and `mounts` are
// /proc/self/cgroup and /proc/self/mountinfo; tests give recorded ones.
std::optional<std::filesystem::path> own_cgroup(std::string_view proc, std::string_view mounts);

// Whether the group passes the memory controller on to its children.
bool counts_memory(const std::filesystem::path& group);

// Makes `<parent>/ratchet-<name>`. Fails where the agent may not.
Result<std::filesystem::path> make_cgroup(const std::filesystem::path& parent,
                                          std::string_view name);
void remove_cgroup(const std::filesystem::path& group);

// oom_kill of memory.events; 0 when it cannot be read.
std::int64_t oom_kills(const std::filesystem::path& group);
std::int64_t parse_oom_kills(std::string_view memory_events);

}  // namespace ratchet::agent
