#pragma once

// The agent's folder: what must outlive its process.
//
//   <state>/
//     agent.json                 node id, token, epochs of removed attempts (mode 0600)
//     agent.lock                 held while an agent runs on the folder
//     attempts/<job>/e<epoch>/
//       desired.json             what was ordered; there before its trainer can start
//       notes.json               what the agent has settled about it
//       process.json             pid, start time, epoch, GPUs of the trainer
//       attempt.json             AttemptSpec that the trainer was given
//       cursor.json              how far its events are acknowledged; only saves reading
//       trainer.log              its stdout and stderr
//       out/                     its output folder
//     sealed/<job>/<step>-<manifest digest>/   hard links of checkpoints
//     cache/<artifact id>/       inputs
//
// Loop thread only.

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/core/agent_core.h"
#include "agent/daemon/event_tail.h"
#include "agent/daemon/process.h"
#include "proto/result.h"

namespace ratchet::agent {

struct AgentIdentity {
  std::string node_id;
  std::string node_token;
  std::map<JobId, std::int64_t> epoch_floor;  // of attempts that are removed
};

struct StoredAttempt {
  RecoveredAttempt recovered;
  std::optional<ProcessRecord> process;
  TailCursor cursor;
};

class StateFolder {
 public:
  // Makes what is missing and takes the lock. kFailedPrecondition when another agent has it.
  static Result<StateFolder> open(const std::filesystem::path& root);
  StateFolder(StateFolder&& other) noexcept;
  StateFolder& operator=(StateFolder&&) = delete;
  ~StateFolder();

  [[nodiscard]] const AgentIdentity& identity() const { return identity_; }
  // Attempts that can be read; one whose desired.json is damaged is told in `complaints`.
  std::vector<StoredAttempt> load(std::vector<std::string>& complaints);

  Status apply(const Save& save);
  Status save_process(const AttemptKey& key, const ProcessRecord& record);
  void save_cursor(const AttemptKey& key, const TailCursor& cursor);

  [[nodiscard]] std::filesystem::path attempt(const AttemptKey& key) const;
  [[nodiscard]] std::filesystem::path output(const AttemptKey& key) const;
  [[nodiscard]] std::filesystem::path sealed(const JobId& job, std::int64_t step,
                                             const std::string& manifest_sha256) const;
  [[nodiscard]] std::filesystem::path sealed_root() const { return root_ / "sealed"; }
  [[nodiscard]] std::filesystem::path cache() const { return root_ / "cache"; }
  [[nodiscard]] const std::filesystem::path& root() const { return root_; }

 private:
  StateFolder(std::filesystem::path root, int lock) : root_(std::move(root)), lock_(lock) {}
  Status save_identity();
  Status remove_attempt(const AttemptKey& key);

  std::filesystem::path root_;
  int lock_ = -1;
  AgentIdentity identity_;
};

// notes.json.
std::string encode_notes(const AttemptNotes& notes);
Result<AttemptNotes> decode_notes(std::string_view text);

}  // namespace ratchet::agent
