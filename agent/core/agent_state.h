#pragma once

// Inside of AgentCore. Its sources divide the work: agent_core.cc takes inputs in, calls.cc talks
// to the control plane and keeps the leases, attempts.cc moves attempts on.
//
// Every input first changes what is known; then advance() looks at everything and does what is due.
// Nothing depends on an input coming twice or in a lucky order.

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <utility>

#include "agent/core/agent_core.h"

namespace ratchet::agent {

constexpr Millis kNever = Millis::max();
constexpr std::size_t kFences = 12;

struct Sealed {
  SealedCheckpoint checkpoint;
  std::string path;
};

struct Attempt {
  DesiredAttempt desired;
  AttemptNotes notes;

  bool preparing = false;
  bool prepared = false;
  std::int64_t prepare_failures = 0;
  Millis prepare_at{0};

  bool start_asked = false;
  bool started = false;
  bool exited = false;
  bool paused = false;
  ExitFacts facts;
  std::optional<std::string> failed;  // our own fault: it never ran, or its result is lost

  std::string stage;
  std::int64_t step = 0;
  std::int64_t total_steps = 0;
  std::int64_t resumed_from = -1;
  std::int64_t replayed = 0;
  bool stepped = false;
  Millis last_sign{0};
  std::uint64_t last_seq = 0;
  std::optional<ExitRecord> record;

  // Steps grow; later than notes.settled_step. The parent of each is the nearest ancestor that can
  // be in the store: those that were passed over for a newer one are taken out.
  std::vector<Sealed> sealed;
  std::string parent_manifest;  // of the next checkpoint
  Bytes checkpoint_size;

  bool stop_sent = false;
  bool killed = false;
  Millis save_by = kNever;  // the trainer may save until then
  Millis kill_at = kNever;
  std::optional<Millis> upload_until;  // set by a reclaim's plan

  std::string uploading;  // manifest under way; empty: none
  bool uploading_result = false;
  Millis upload_at{0};  // next try
  std::int64_t upload_failures = 0;
  Millis exited_at{0};
  Millis ended_at{0};

  [[nodiscard]] bool live() const { return started && !exited; }
  [[nodiscard]] bool ended() const { return notes.end.has_value(); }
  [[nodiscard]] std::int64_t epoch() const { return std::max(desired.epoch, notes.granted_epoch); }
  [[nodiscard]] AttemptKey key() const { return {desired.job_id, desired.epoch}; }
};

struct Call {  // one under way; number 0: none
  std::uint64_t number = 0;
  Millis sent{0};
  Millis give_up{0};
};

struct AgentCore::State {
  explicit State(AgentSettings chosen) : settings(std::move(chosen)) { on.fill(true); }

  // agent_core.cc
  void take(const Input& input);
  void on_start(const Start& start);
  void on_line(const LineRead& line);
  void on_event(Attempt& attempt, const EventBody& body);
  void on_inputs_failed(const InputsFailed& failed);
  void on_uploaded(const CheckpointUploaded& done);
  void on_upload_failed(const UploadFailed& failed);
  void expire_authority();
  void on_sigterm(const Sigterm& sigterm);
  void on_disk(bool full);

  // calls.cc
  void on_hello(const HelloAnswered& answer);
  void on_heartbeat(const HeartbeatAnswered& answer);
  void on_notice_answer(const NoticeAnswered& answer);
  void on_sync(const SyncAnswered& answer);
  void on_call_failed(const CallFailed& failed);
  void renew(Millis sent, Millis contact_ttl, Millis authority_ttl, bool revives);
  void heard_of(const std::string& new_boot_id, std::int64_t rev);
  void take_verdicts(const SyncResponse& response);
  void take_acks(const SyncResponse& response);
  void take_desired(const SyncResponse& response);
  void give_up_late_calls();
  void make_calls();
  void send_sync(Millis wait);
  Millis backoff(std::int64_t failures);
  [[nodiscard]] bool authority() const { return has_authority_at(now); }
  [[nodiscard]] bool has_authority_at(Millis when) const;
  [[nodiscard]] Millis next_call_timer() const;

  // attempts.cc
  Attempt* take_wish(const DesiredAttempt& desired);
  void regrant(Attempt& attempt, std::int64_t epoch);
  void accept(const DesiredAttempt& desired);
  void recover(const RecoveredAttempt& recovered);
  void order(Attempt& attempt, EndCause cause, Millis save, Millis kill_after);
  void see_notice(const ReclaimNotice& notice);
  void drain_for_reclaim(Attempt& attempt, Millis left);
  void advance();
  void advance_start(Attempt& attempt);
  void advance_pause(Attempt& attempt);
  void advance_stop(Attempt& attempt);
  void advance_uploads(Attempt& attempt);
  void advance_end(Attempt& attempt);
  void advance_leaving();
  void leave_when_done();
  void settle(Attempt& attempt, std::int64_t step);
  void mark_uploaded(Attempt& attempt, const std::string& manifest, const std::string& artifact);
  void take_out(Attempt& attempt, std::size_t index);
  void end(Attempt& attempt, EndCause cause, ExitRecord record);
  void remove_finished();
  [[nodiscard]] bool may_start(const Attempt& attempt) const;
  [[nodiscard]] const Sealed* to_upload(const Attempt& attempt) const;
  [[nodiscard]] bool waits_for_upload(const Attempt& attempt) const;
  [[nodiscard]] AttemptReport report(const Attempt& attempt) const;
  [[nodiscard]] std::vector<AttemptReport> all_reports() const;
  [[nodiscard]] Millis next_attempt_timer() const;

  [[nodiscard]] Attempt* find(const AttemptKey& key);
  [[nodiscard]] Attempt* find_number(const JobId& job_id, std::int64_t attempt_no);
  [[nodiscard]] bool is_on(Fence fence) const { return on[static_cast<std::size_t>(fence)]; }
  [[nodiscard]] std::uint64_t random();
  void save_notes(const Attempt& attempt) {
    out.saves.emplace_back(SaveNotes{attempt.key(), attempt.notes});
  }
  void act(Action action) { out.actions.push_back(std::move(action)); }
  void tell(std::string message) { act(Tell{std::move(message)}); }

  AgentSettings settings;
  std::array<bool, kFences> on{};
  Millis now{0};
  Outcome out;

  std::string node_id;
  std::string incarnation;
  std::string intent;
  NodeFacts facts;
  std::uint64_t random_state = 0;
  std::map<AttemptKey, Attempt> attempts;
  std::map<JobId, std::int64_t> epoch_floor;
  std::set<std::pair<AttemptKey, std::int64_t>> refused;  // told once
  bool recovered = false;
  Millis recovered_at{0};
  bool disk_full = false;
  bool left = false;

  Millis contact_until{0};
  Millis authority_until{0};
  bool authority_given = false;  // by a sync, and not over since
  Millis authority_since{0};
  Millis heartbeat_every{2000};
  Millis sync_wait{25000};
  std::string boot_id;
  std::int64_t desired_rev = 0;
  bool news = false;  // the control plane should hear of it before the poll's end

  std::uint64_t last_call = 0;
  std::uint64_t heartbeat_seq = 0;
  std::uint64_t sync_seq = 0;
  bool greeted = false;
  Call hello, heartbeat, sync, notice_call;
  bool sync_is_push = false;
  Millis hello_at{0}, heartbeat_at{0}, sync_at{0}, notice_at{0}, sync_sent{0};
  std::int64_t call_failures = 0;
  std::int64_t vain_hellos = 0;  // since the last sync that was answered

  std::set<std::string> notices_seen;
  std::optional<ReclaimNotice> notice;
  Millis notice_over{0};
  bool notice_told = true;
  NodeWant node_want = NodeWant::kKeep;
  Millis release_time{0};
  std::optional<LeaveWhy> leaving;
  std::string leaving_message;
  Millis leave_by = kNever;

  std::optional<Millis> slowest_save;
  std::optional<double> slowest_upload;
};

}  // namespace ratchet::agent
