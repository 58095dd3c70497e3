#pragma once

// journal.jsonl: what happened to the checkpoints of a job, one fsynced line an event, for people
// and for a control plane. Loading never depends on it.
//
//   {"at":"2026-01-31T12:00:00Z","event":"committed_local","step":300,...}

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/result.h"
#include "trainer/checkpoint/file_system.h"

namespace ratchet::trainer {

struct JournalLine {
  std::string event;  // "begin", "committed_local", "failed", "deleted", "resumed", "rejected", ...
  std::uint64_t step = 0;
  std::vector<std::pair<std::string, std::string>> details;  // key, text
};

Status append_journal(FileSystem& fs, const std::string& job_dir, const JournalLine& line,
                      Sync sync = Sync::kYes);

}  // namespace ratchet::trainer
