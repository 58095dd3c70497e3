#include "agent/core/agent_core.h"

#include <algorithm>

#include "agent/core/agent_state.h"

namespace ratchet::agent {

namespace {

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};

}  // namespace

std::uint64_t AgentCore::State::random() {  // splitmix64
  random_state += 0x9e3779b97f4a7c15U;
  std::uint64_t z = random_state;
  z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31U);
}

void AgentCore::State::on_start(const Start& start) {
  node_id = start.node_id;
  incarnation = start.incarnation;
  intent = start.intent;
  facts = start.facts;
  random_state = start.seed;
  epoch_floor = start.epoch_floor;
  recovered_at = now;
  for (const RecoveredAttempt& found : start.attempts) recover(found);
}

void AgentCore::State::on_event(Attempt& attempt, const EventBody& body) {
  std::visit(Overloaded{
                 [&](const StageEvent& event) { attempt.stage = to_word(event.stage); },
                 [&](const StepEvent& event) {
                   news = news || !attempt.stepped;
                   attempt.stepped = true;
                   attempt.step = event.step;
                   attempt.total_steps = event.total_steps;
                   attempt.replayed += event.replayed ? 1 : 0;
                 },
                 [&](const CheckpointEvent& event) {
                   if (event.path.empty()) return;
                   const Millis save{static_cast<std::int64_t>(event.copy_ms + event.write_ms)};
                   slowest_save = std::max(slowest_save.value_or(save), save);
                   attempt.checkpoint_size = event.size;
                   SealedCheckpoint sealed{event.step, event.manifest_sha256,
                                           attempt.parent_manifest, event.size, ""};
                   attempt.parent_manifest = event.manifest_sha256;
                   if (event.step <= attempt.notes.settled_step) return;
                   attempt.sealed.push_back(Sealed{std::move(sealed), event.path});
                   for (const SealedCheckpoint& uploaded : attempt.notes.uploaded) {
                     if (uploaded.manifest_sha256 != event.manifest_sha256) continue;
                     mark_uploaded(attempt, uploaded.manifest_sha256, uploaded.artifact_id);
                   }
                   news = true;
                 },
                 [&](const ResumeEvent& event) {
                   attempt.resumed_from = event.step;
                   attempt.step = std::max(attempt.step, event.step);
                   attempt.replayed = std::max(attempt.replayed, event.replay_steps);
                 },
                 [&](const ExitRecord& event) { attempt.record = event; },
                 [](const auto&) {},
             },
             body);
}

void AgentCore::State::on_line(const LineRead& line) {
  Attempt* attempt = find(line.key);
  if (attempt == nullptr) return;
  attempt->last_sign = now;
  if (line.seq != 0 && line.seq <= attempt->last_seq) return;
  attempt->last_seq = std::max(attempt->last_seq, line.seq);
  if (line.event) on_event(*attempt, line.event->body);
}

void AgentCore::State::on_upload_failed(const UploadFailed& failed) {
  Attempt* attempt = find(failed.key);
  if (attempt == nullptr) return;
  attempt->upload_at = now + backoff(++attempt->upload_failures);
  tell("An upload of job " + failed.key.job_id.str() + " failed: " + failed.message);
  if (failed.manifest_sha256.empty()) {
    attempt->uploading_result = false;
    if (failed.permanent) attempt->failed = "The result could not be uploaded: " + failed.message;
    return;
  }
  if (attempt->uploading == failed.manifest_sha256) attempt->uploading.clear();
  for (std::size_t i = 0; failed.permanent && i < attempt->sealed.size(); ++i) {
    if (attempt->sealed[i].checkpoint.manifest_sha256 == failed.manifest_sha256) {
      take_out(*attempt, i);
    }
  }
}

void AgentCore::State::on_sigterm(const Sigterm& sigterm) {
  if (sigterm.means == SigtermMeans::kDetach) {
    left = true;
    act(Leave{LeaveWhy::kDetached, "The agent was told to end; trainers go on."});
    return;
  }
  if (leaving) return;
  const Millis lead = sigterm.lead >= Millis{0} ? sigterm.lead : settings.unknown_lead;
  see_notice(ReclaimNotice{"sigterm", NoticeKind::kReclaim, "terminate", incarnation, lead});
  leaving = LeaveWhy::kReclaimed;
  leaving_message = "The node is reclaimed; what could be saved is saved.";
  leave_by = now + lead - std::min(lead / 10, settings.retry_first);
}

void AgentCore::State::on_disk(bool full) {
  if (full == disk_full) return;
  disk_full = full;
  news = true;
  if (full) act(DropCache{});
}

void AgentCore::State::on_inputs_failed(const InputsFailed& failed) {
  Attempt* attempt = find(failed.key);
  if (attempt == nullptr) return;
  attempt->preparing = false;
  ++attempt->prepare_failures;
  attempt->prepare_at = now + backoff(attempt->prepare_failures);
  if (failed.permanent || attempt->prepare_failures >= settings.prepare_tries) {
    attempt->failed = "The inputs of the attempt could not be prepared: " + failed.message;
  }
}

void AgentCore::State::on_uploaded(const CheckpointUploaded& done) {
  if (done.took > Millis{0} && done.sent > Bytes{0}) {
    const double speed =
        1000.0 * static_cast<double>(done.sent.count()) / static_cast<double>(done.took.count());
    slowest_upload = std::min(slowest_upload.value_or(speed), speed);
  }
  Attempt* attempt = find(done.key);
  if (attempt == nullptr) return;
  attempt->upload_failures = 0;
  if (attempt->uploading == done.manifest_sha256) attempt->uploading.clear();
  mark_uploaded(*attempt, done.manifest_sha256, done.artifact_id);
  for (const Sealed& sealed : attempt->sealed) {
    if (sealed.checkpoint.manifest_sha256 != done.manifest_sha256) continue;
    attempt->notes.uploaded.push_back(sealed.checkpoint);
    save_notes(*attempt);
    news = true;
  }
}

void AgentCore::State::take(const Input& input) {
  const auto with = [&](const AttemptKey& key, const auto& change) {
    if (Attempt* attempt = find(key)) {
      change(*attempt);
      news = true;
    }
  };
  std::visit(Overloaded{
                 [&](const Start& i) { on_start(i); },
                 [&](const RecoveryDone&) { recovered = true; },
                 [&](const FactsSeen& i) {
                   news =
                       news || facts.preflight != i.facts.preflight || facts.gpus != i.facts.gpus;
                   facts = i.facts;
                 },
                 [&](const HelloAnswered& i) { on_hello(i); },
                 [&](const HeartbeatAnswered& i) { on_heartbeat(i); },
                 [&](const SyncAnswered& i) { on_sync(i); },
                 [&](const NoticeAnswered& i) { on_notice_answer(i); },
                 [&](const CallFailed& i) { on_call_failed(i); },
                 [&](const SaveFailed& i) {
                   with(i.key, [&](Attempt& a) {
                     if (a.start_asked || a.ended()) return;
                     ExitRecord record;
                     record.message = "The attempt could not be stored on the node: " + i.message;
                     end(a, EndCause::kDeclined, std::move(record));
                   });
                 },
                 [&](const InputsPrepared& i) {
                   with(i.key, [](Attempt& a) {
                     a.preparing = false;
                     a.prepared = true;
                   });
                 },
                 [&](const InputsFailed& i) { on_inputs_failed(i); },
                 [&](const TrainerStarted& i) {
                   with(i.key, [&](Attempt& a) {
                     a.started = true;
                     a.last_sign = now;
                   });
                 },
                 [&](const StartFailed& i) {
                   with(i.key, [&](Attempt& a) {
                     a.start_asked = false;
                     a.failed = "The trainer could not be started: " + i.message;
                   });
                 },
                 [&](const LineRead& i) { on_line(i); },
                 [&](const TrainerExited& i) {
                   with(i.key, [&](Attempt& a) {
                     a.started = a.exited = true;
                     a.facts = i.facts;
                     a.exited_at = now;
                   });
                 },
                 [&](const CheckpointUploaded& i) { on_uploaded(i); },
                 [&](const ResultUploaded& i) {
                   with(i.key, [&](Attempt& a) {
                     a.uploading_result = false;
                     a.notes.result_artifact = i.artifact_id;
                     save_notes(a);
                   });
                 },
                 [&](const UploadFailed& i) { on_upload_failed(i); },
                 [&](const NoticeSeen& i) { see_notice(i.notice); },
                 [&](const Sigterm& i) { on_sigterm(i); },
                 [&](const DiskFull&) { on_disk(true); },
                 [&](const DiskHasRoom&) { on_disk(false); },
                 [](const Tick&) {},
             },
             input);
}

void AgentCore::State::expire_authority() {
  if (!authority_given || now < authority_until) return;
  authority_given = false;
  if (!is_on(Fence::kAuthority)) return;
  bool any = false;
  for (auto& [key, attempt] : attempts) {
    any = any || !attempt.uploading.empty() || attempt.uploading_result;
    attempt.uploading.clear();
    attempt.uploading_result = false;
  }
  if (any) act(CancelUploads{});
}

AgentCore::AgentCore(AgentSettings settings)
    : state_(std::make_unique<State>(std::move(settings))) {}
AgentCore::~AgentCore() = default;

Outcome AgentCore::handle(const Input& input, Millis mono) {
  State& state = *state_;
  if (state.left) return {};
  state.now = std::max(state.now, mono);
  state.out = Outcome{};
  state.expire_authority();
  state.take(input);
  state.give_up_late_calls();
  state.advance();
  state.make_calls();
  return std::move(state.out);
}

std::optional<Millis> AgentCore::next_timer(Millis mono) const {
  if (state_->left) return std::nullopt;
  const Millis next = std::min(state_->next_call_timer(), state_->next_attempt_timer());
  if (next == kNever) return std::nullopt;
  return std::max(mono, next);
}

std::vector<AttemptReport> AgentCore::reports(Millis mono) const {
  state_->now = std::max(state_->now, mono);
  return state_->all_reports();
}

std::uint64_t AgentCore::acked_seq(const AttemptKey& key) const {
  const auto found = state_->attempts.find(key);
  return found == state_->attempts.end() ? 0 : found->second.notes.acked_seq;
}

bool AgentCore::in_contact(Millis mono) const { return mono < state_->contact_until; }
bool AgentCore::has_authority(Millis mono) const { return state_->has_authority_at(mono); }
const std::string& AgentCore::node_id() const { return state_->node_id; }
void AgentCore::disable(Fence fence) { state_->on[static_cast<std::size_t>(fence)] = false; }

}  // namespace ratchet::agent
