#pragma once

// AgentCore: everything that an agent decides for its node, and nothing that it does. No clock, no
// files, no processes, no network: inputs and the monotonic time come in, saves and actions go out.
//
//   Outcome outcome = core.handle(input, mono);
//   for (save : outcome.saves) ...      // durable, in this order, before anything below
//   for (action : outcome.actions) ...  // then these, in this order
//
// A save that fails is told by SaveFailed; the actions are done all the same. A crash between
// handle() and the saves is harmless: the core is made again from what is on disk.
//
// Promises (control-plane.md (c), (f)):
//  - An attempt's epoch is durable before its trainer starts. Of one job, an epoch that is lower
//    than one ever taken, or the same with another attempt_no, is refused, also after restarts.
//  - The same attempt_no under a higher epoch is a re-grant: what runs here goes on, reports bear
//    the new epoch. AttemptKey keeps the first one, as do folders and the trainer.
//  - A trainer starts only when no older one of its job lives here, and on a free slot.
//  - Leases count from when a request was handed out for sending, less the drift allowance.
//    Training goes on past both. While the authority lease is over nothing is uploaded; sealed
//    checkpoints are kept and offered later. Once over, only an answered sync brings it back: it
//    says what is still wanted.
//  - What `desired` lacks is drained, then stopped, unless the inventory is open.
//  - Every attempt is in every sync until its end is acknowledged and its checkpoints are settled.
//  - A rented node whose authority has been over for `hard_cap` saves, stops and releases itself.
//
// mono: milliseconds of a clock that counts suspend (CLOCK_BOOTTIME); never goes back.
// Not thread-safe.

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "agent/core/drain_plan.h"
#include "agent/core/failure_classifier.h"
#include "proto/events.h"
#include "proto/ids.h"
#include "proto/sync_message.h"

namespace ratchet::agent {

struct AgentSettings {
  double drift = 0.01;  // of a lease, plus drift_floor: clocks differ
  Millis drift_floor{1000};
  Millis hard_cap{2 * 3600 * 1000};
  Millis drain_deadline{120000};   // for attempts that nobody wants any more
  Millis unknown_lead{5000};       // of a reclaim notice that does not say
  Millis end_upload_grace{60000};  // an end waits so long for the last checkpoint's upload
  Millis push_gap{200};            // least time between two syncs that carry news
  Millis progress_gap{2000};       // a running attempt's steps are told so often
  Millis call_timeout{15000};      // beyond the wait that a call asks for
  Millis retry_first{500};         // doubled at each failure in a row, with jitter
  Millis retry_last{8000};
  std::int64_t prepare_tries = 5;
  Millis orphan_kept{24 * 3600 * 1000};  // unsettled checkpoints of ended attempts
};

struct AttemptKey {  // epoch under which it was first offered
  JobId job_id;
  std::int64_t epoch = 0;
  auto operator<=>(const AttemptKey&) const = default;
};

// Durable beside the DesiredAttempt; replaced as a whole. Losing the last version is harmless.
struct AttemptNotes {
  std::int64_t granted_epoch = 0;          // higher than desired.epoch after a re-grant
  std::optional<EndCause> ordered;         // a stop was ordered, with this cause
  bool discard = false;                    // cancelled: nothing of it is wanted any more
  std::int64_t settled_step = -1;          // checkpoints up to here have their verdict
  std::vector<SealedCheckpoint> uploaded;  // later ones that are in the store, with artifact_id
  std::uint64_t acked_seq = 0;             // lines up to here are stored by the control plane
  std::string result_artifact;
  std::optional<AttemptExit> end;
  bool end_acked = false;
  bool operator==(const AttemptNotes&) const = default;
};

// Inputs ------------------------------------------------------------------------------------------

struct RecoveredAttempt {
  DesiredAttempt desired;
  AttemptNotes notes;
  bool started = false;  // a process was made for it, alive or not
};
// First input. Then, for each attempt that was started: its lines from the first (LineRead), and
// TrainerExited when its process (pid and start time) is gone. Then RecoveryDone; hello follows.
struct Start {
  std::string node_id;      // empty on the first start ever
  std::string incarnation;  // made new by the rim
  std::string intent;
  NodeFacts facts;
  std::vector<RecoveredAttempt> attempts;
  std::map<JobId, std::int64_t> epoch_floor;  // highest epoch ever saved, also of removed attempts
  std::uint64_t seed = 0;                     // for jitter
};
struct RecoveryDone {};

struct FactsSeen {  // whenever they change (preflight done, GPUs, disk)
  NodeFacts facts;
};

enum class CallError {
  kUnreachable,  // no answer, a broken one, or a transient error
  kNeedsHello,   // unknown node or incarnation
  kRefused,      // token or message not accepted: retried slowly
};
struct HelloAnswered {
  std::uint64_t call = 0;
  HelloResponse response;
};
struct HeartbeatAnswered {
  std::uint64_t call = 0;
  HeartbeatResponse response;
};
struct SyncAnswered {
  std::uint64_t call = 0;
  SyncResponse response;
};
struct NoticeAnswered {
  std::uint64_t call = 0;
  HeartbeatResponse response;
};
struct CallFailed {
  std::uint64_t call = 0;
  CallError error = CallError::kUnreachable;
  std::string message;
};

struct SaveFailed {  // of SaveAttempt: the attempt is declined
  AttemptKey key;
  std::string message;
};
struct InputsPrepared {
  AttemptKey key;
};
struct InputsFailed {
  AttemptKey key;
  std::string message;
  bool permanent = false;  // no retry will help
};
struct TrainerStarted {
  AttemptKey key;
};
struct StartFailed {
  AttemptKey key;
  std::string message;
};
struct LineRead {  // of the attempt's events.jsonl, in order
  AttemptKey key;
  std::uint64_t seq = 0;       // of the event; 0: not readable
  std::optional<Event> event;  // none: of a type or version that this agent does not know
};
struct TrainerExited {  // after the last line was read
  AttemptKey key;
  ExitFacts facts;
};
struct CheckpointUploaded {
  AttemptKey key;
  std::string manifest_sha256;
  std::string artifact_id;
  Bytes sent;  // over the wire: less than its size when the store had parts
  Millis took{0};
};
struct ResultUploaded {
  AttemptKey key;
  std::string artifact_id;
};
struct UploadFailed {
  AttemptKey key;
  std::string manifest_sha256;  // empty: the result
  std::string message;
  bool permanent = false;  // the files are gone or damaged: not tried again
};
struct NoticeSeen {
  ReclaimNotice notice;
};
enum class SigtermMeans { kDetach, kReclaim };
struct Sigterm {
  SigtermMeans means = SigtermMeans::kDetach;
  Millis lead{-1};  // for reclaim; less than 0: unknown
};
struct DiskFull {};
struct DiskHasRoom {};
struct Tick {};  // no later than next_timer()

using Input =
    std::variant<Start, RecoveryDone, FactsSeen, HelloAnswered, HeartbeatAnswered, SyncAnswered,
                 NoticeAnswered, CallFailed, SaveFailed, InputsPrepared, InputsFailed,
                 TrainerStarted, StartFailed, LineRead, TrainerExited, CheckpointUploaded,
                 ResultUploaded, UploadFailed, NoticeSeen, Sigterm, DiskFull, DiskHasRoom, Tick>;

// Outputs -----------------------------------------------------------------------------------------

// Saves: atomic replace and fsync, file and folder.
struct SaveIdentity {
  std::string node_id;
  std::string node_token;  // empty: keep the one there is
};
struct SaveAttempt {  // before its trainer can start
  DesiredAttempt desired;
};
struct SaveNotes {
  AttemptKey key;
  AttemptNotes notes;
};
struct RemoveAttempt {  // its files; the epoch stays known (Start::epoch_floor)
  AttemptKey key;
};
using Save = std::variant<SaveIdentity, SaveAttempt, SaveNotes, RemoveAttempt>;

// Calls are answered by ..Answered or CallFailed with the same number. A sync replaces one that is
// still under way: drop that connection. The rim adds `lines` to a sync: those after acked_seq of
// each attempt, as many as fit.
struct SendHello {
  std::uint64_t call = 0;
  HelloRequest request;
};
struct SendHeartbeat {
  std::uint64_t call = 0;
  HeartbeatRequest request;
};
struct SendSync {
  std::uint64_t call = 0;
  SyncRequest request;
};
struct SendNotice {  // on a connection of its own
  std::uint64_t call = 0;
  NoticeRequest request;
};
struct PrepareInputs {  // base model, data, and the checkpoint to resume from
  DesiredAttempt desired;
};
struct StartTrainer {
  DesiredAttempt desired;
};
struct StopTrainer {  // control socket: save inside `save_deadline`, then leave
  AttemptKey key;
  Millis save_deadline{0};
};
struct KillTrainer {  // SIGKILL, the whole process group
  AttemptKey key;
};
struct PauseTrainer {  // SIGSTOP
  AttemptKey key;
};
struct ContinueTrainer {  // SIGCONT
  AttemptKey key;
};
struct UploadCheckpoint {
  AttemptKey key;
  std::int64_t attempt_no = 0;
  SealedCheckpoint checkpoint;
  std::string path;  // as the trainer's line said
};
struct UploadResult {
  AttemptKey key;
  std::int64_t attempt_no = 0;
};
struct CancelUploads {  // of every attempt: the authority lease is over
};
struct DropCheckpoint {  // its local copy is not needed by the agent any more
  AttemptKey key;
  std::int64_t step = 0;
  std::string path;
};
struct DropCache {};  // inputs that no attempt uses
struct Tell {         // for the log
  std::string message;
};
enum class LeaveWhy {
  kDetached,   // trainers run on; the next agent finds them
  kReclaimed,  // everything that could be saved is
  kReleased,   // as the control plane or the dead man's switch wishes: give the node back
};
struct Leave {  // end the agent's process; no input follows
  LeaveWhy why = LeaveWhy::kDetached;
  std::string message;
};
using Action =
    std::variant<SendHello, SendHeartbeat, SendSync, SendNotice, PrepareInputs, StartTrainer,
                 StopTrainer, KillTrainer, PauseTrainer, ContinueTrainer, UploadCheckpoint,
                 UploadResult, CancelUploads, DropCheckpoint, DropCache, Tell, Leave>;

struct Outcome {
  std::vector<Save> saves;
  std::vector<Action> actions;
};

class AgentCore {
 public:
  explicit AgentCore(AgentSettings settings);
  ~AgentCore();
  AgentCore(const AgentCore&) = delete;
  AgentCore& operator=(const AgentCore&) = delete;

  Outcome handle(const Input& input, Millis mono);

  [[nodiscard]] std::optional<Millis> next_timer(Millis mono) const;
  [[nodiscard]] std::vector<AttemptReport> reports(Millis mono) const;
  [[nodiscard]] std::uint64_t acked_seq(const AttemptKey& key) const;  // where `lines` go on
  [[nodiscard]] bool in_contact(Millis mono) const;
  [[nodiscard]] bool has_authority(Millis mono) const;
  [[nodiscard]] const std::string& node_id() const;

  // Guards that the mutation check of the simulation switches off, one at a time: an invariant must
  // fail then. All on outside tests.
  enum class Fence {
    kEpochFloor,      // lower or equal-other epochs are refused
    kSaveBeforeFork,  // the epoch is durable before the trainer starts
    kOldTrainerGone,  // a job's new trainer waits for its old one
    kAuthority,       // no upload without authority
    kSyncRevives,     // only a sync brings authority back
    kSentTime,        // leases count from the sending, not from the answer
    kAnswerOrder,     // answers to calls that were given up are ignored
    kInventory,       // nothing is stopped while the inventory is open
    kAbsent,          // what desired lacks is stopped
    kReportUntilAcked,
    kResultBeforeEnd,  // a completed end is told with its result in the store
    kHardCap,
  };
  void disable(Fence fence);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ratchet::agent
