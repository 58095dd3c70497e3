#include "trainer/train/run_job.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "proto/control_message.h"
#include "trainer/checkpoint/async_saver.h"
#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/checkpoint/checkpoint_writer.h"
#include "trainer/checkpoint/journal.h"
#include "trainer/checkpoint/resume_check.h"
#include "trainer/model/peft_folder.h"
#include "trainer/train/job_inputs.h"
#include "trainer/train/output_lock.h"
#include "trainer/train/rank_launcher.h"
#include "trainer/train/reporter.h"
#include "trainer/train/result_export.h"
#include "trainer/train/step_engine.h"
#include "trainer/train/train_loop.h"
#include "trainer/train/watcher.h"

namespace ratchet::trainer {
namespace {

// Ends the attempt early with a record; caught in run_attempt().
struct AttemptOver {
  ExitRecord record;
};

[[noreturn]] void give_up(ExitKind kind, std::string message, Stage stage) {
  ExitRecord record;
  record.kind = kind;
  record.message = std::move(message);
  record.stage = to_word(stage);
  throw AttemptOver{std::move(record)};
}

template <class T>
T take(Result<T> result, ExitKind kind, Stage stage) {
  if (!result) {
    give_up(kind, result.error().message, stage);
  }
  return std::move(*result);
}

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Host copies of the three arenas, alive while a checkpoint is read.
struct HostArenas {
  std::vector<float> params, exp_avg, exp_avg_sq;
  explicit HostArenas(std::int64_t size)
      : params(static_cast<size_t>(size)),
        exp_avg(static_cast<size_t>(size)),
        exp_avg_sq(static_cast<size_t>(size)) {}
  ArenaTargets targets() { return {params, exp_avg, exp_avg_sq}; }
  [[nodiscard]] ArenaViews views() const { return {params, exp_avg, exp_avg_sq}; }
};

class Attempt {
 public:
  Attempt(const AttemptSpec& spec, const RunOptions& options) : spec_(spec), options_(options) {}

  ExitRecord run();

 private:
  [[nodiscard]] bool leads() const { return options_.rank == 0; }
  void set_up_output();
  void start_watcher();
  void load_inputs();
  void start_ranks();
  void build_engine();
  void resume();
  std::string choose_resume_point(const Expectations& expect, HostArenas& arenas);
  void load_chosen(const std::string& path, const Expectations& expect, HostArenas& arenas);
  void adopt(const LoadedCheckpoint& loaded, const HostArenas& arenas,
             std::vector<RejectedCheckpoint> rejected);
  void start_saver();
  ExitRecord train();
  void write_result();
  void say(Stage stage, const std::string& detail);
  void emit(const EventBody& body);

  void on_stop(const StopRequest& request);
  std::string on_request(const std::string& line);
  void on_rank_death(const std::string& what);
  // True for the first caller: it alone ends the process.
  bool claim_end() { return !ending_.exchange(true); }
  [[noreturn]] void leave(ExitRecord record);
  void park() {
    while (true) {
      std::this_thread::sleep_for(std::chrono::seconds(1));
    }
  }

  const AttemptSpec& spec_;
  const RunOptions& options_;
  std::optional<OutputLock> lock_;
  std::unique_ptr<Reporter> reporter_;
  std::unique_ptr<Watcher> watcher_;
  std::unique_ptr<RankLauncher> ranks_;
  std::string rendezvous_;
  std::optional<JobInputs> inputs_;
  std::optional<StepSchedule> schedule_;
  std::unique_ptr<StepEngine> engine_;
  TrainerState state_;
  ManifestHeader header_;
  std::string parent_manifest_;
  std::vector<WitnessRecord> witness_;
  std::optional<std::string> resumed_from_;

  std::mutex saver_mutex_;  // guards the pointer, not the saver
  std::shared_ptr<AsyncSaver> saver_;
  std::atomic<bool> ending_{false};
  std::atomic<Stage> stage_{Stage::kValidation};
  std::atomic<std::int64_t> step_{0};
  std::atomic<std::int64_t> total_steps_{0};
};

void Attempt::emit(const EventBody& body) {
  if (const auto* step = std::get_if<StepEvent>(&body)) {
    step_.store(step->step);
  }
  if (reporter_) {
    reporter_->emit(body);
  }
}

void Attempt::say(Stage stage, const std::string& detail) {
  stage_.store(stage);
  emit(StageEvent{stage, detail});
}

void Attempt::set_up_output() {
  lock_.emplace(
      take(OutputLock::acquire(spec_.output_dir), ExitKind::kUserError, Stage::kValidation));
  ReporterOptions reporting;
  reporting.output_dir = spec_.output_dir;
  reporting.events_fd = options_.events_fd;
  reporting.job_id = spec_.job_id;
  reporting.attempt_no = spec_.epoch == 0 ? 0 : spec_.attempt_no;
  reporting.epoch = spec_.epoch;
  reporting.quiet = options_.quiet;
  reporter_ = take(Reporter::open(reporting), ExitKind::kInternal, Stage::kValidation);
  static_cast<void>(take(remove_leftovers(posix_file_system(), spec_.output_dir),
                         ExitKind::kInternal, Stage::kValidation));
}

void Attempt::start_watcher() {
  Watcher::Options watching;
  watching.socket_path = std::filesystem::path(spec_.output_dir) / "control.sock";
  watching.sigterm_deadline = options_.sigterm_deadline;
  watcher_ =
      take(Watcher::start(watching, {[this](const StopRequest& request) { on_stop(request); },
                                     [this](const std::string& line) { return on_request(line); }}),
           ExitKind::kInternal, Stage::kValidation);
}

void Attempt::load_inputs() {
  if (auto runs = check_device(spec_.job); !runs) {
    give_up(ExitKind::kUserError, runs.error().message, Stage::kValidation);
  }
  JobInputsOptions reading;
  reading.on_stage = [this](Stage stage, const std::string& detail) { say(stage, detail); };
  InputsResult result = open_job_inputs(spec_, reading);
  if (!result.inputs) {
    give_up(result.problem.data_fault ? ExitKind::kDataError : ExitKind::kUserError,
            result.problem.error.message, stage_.load());
  }
  inputs_.emplace(std::move(*result.inputs));
  for (const std::string& warning : inputs_->warnings) {
    emit(WarningEvent{"inputs", warning, 0});
  }
  if (leads()) {
    say(Stage::kModelLoad, "digesting the weights of '" + spec_.paths.base_model + "'");
    inputs_->identity.base_model =
        take(digest_base_model(inputs_->folder), ExitKind::kUserError, Stage::kModelLoad);
  }
  schedule_.emplace(
      take(StepSchedule::make(inputs_->train.lengths(), inputs_->packing, inputs_->run_length),
           ExitKind::kDataError, Stage::kPreprocessing));
  total_steps_.store(static_cast<std::int64_t>(schedule_->total_steps()));
}

void Attempt::start_ranks() {
  rendezvous_ = options_.rendezvous;
  const int world_size = static_cast<int>(spec_.job.devices.count);
  if (world_size == 1 || !leads()) {
    return;
  }
  std::random_device random;
  const std::filesystem::path out = spec_.output_dir;
  rendezvous_ =
      (out / (".rendezvous-" + std::to_string(::getpid()) + "-" + std::to_string(random())))
          .string();
  const std::string attempt_file = (out / "attempt.json").string();
  std::ofstream file(attempt_file, std::ios::trunc);
  file << encode_attempt_spec(spec_);
  file.close();
  if (!file) {
    give_up(ExitKind::kInternal, "Cannot write '" + attempt_file + "'.", Stage::kModelLoad);
  }
  ranks_ = take(RankLauncher::start({world_size, attempt_file, rendezvous_, spec_.output_dir},
                                    [this](const std::string& what) { on_rank_death(what); }),
                ExitKind::kInternal, Stage::kModelLoad);
}

void Attempt::build_engine() {
  say(Stage::kModelLoad, "loading '" + spec_.paths.base_model + "'");
  EngineArgs args;
  args.job = &spec_.job;
  args.inputs = &*inputs_;
  args.init_adapter = spec_.paths.init_adapter;
  args.rank = options_.rank;
  args.world_size = static_cast<int>(spec_.job.devices.count);
  args.rendezvous = rendezvous_;
  engine_ = take(StepEngine::create(args), ExitKind::kUserError, Stage::kModelLoad);
  say(Stage::kModelLoad, engine_->active_kernels());
  header_.job_id = spec_.job_id.str();
  header_.run_id = spec_.run_id.str();
  header_.attempt_no =
      static_cast<std::uint64_t>(reporter_ ? reporter_->attempt_no() : spec_.attempt_no);
  header_.epoch = static_cast<std::uint64_t>(spec_.epoch);
  header_.optimizer.beta1 = spec_.job.optimizer.beta1;
  header_.optimizer.beta2 = spec_.job.optimizer.beta2;
  header_.optimizer.eps = spec_.job.optimizer.eps;
  header_.optimizer.weight_decay = spec_.job.optimizer.weight_decay;
  header_.identity = inputs_->identity;
  header_.env = engine_->fingerprint();
}

void Attempt::resume() {
  HostArenas arenas(inputs_->arena.arena_size);
  Expectations expect;
  expect.kind = weights_kind(spec_.job.method);
  expect.layout = &inputs_->arena;
  if (leads()) {
    // The other ranks follow the leader's verdict and do not digest the weights again.
    expect.identity = inputs_->identity;
    expect.recipe = encode_job_spec(spec_.job);
    expect.env = header_.env;
  }
  const std::string chosen = engine_->broadcast(leads() ? choose_resume_point(expect, arenas) : "");
  if (!leads() && !chosen.empty()) {
    load_chosen(chosen, expect, arenas);
  }
  if (state_.step > 0) {
    step_.store(static_cast<std::int64_t>(state_.step));
  }
}

std::string Attempt::choose_resume_point(const Expectations& expect, HostArenas& arenas) {
  FileSystem& fs = posix_file_system();
  const auto steps = take(list_steps(fs, spec_.output_dir), ExitKind::kInternal, Stage::kModelLoad);
  if (spec_.resume.mode == ResumeMode::kNever) {
    if (!steps.empty()) {
      give_up(ExitKind::kUserError,
              "'" + spec_.output_dir + "' holds checkpoints of an earlier run (newest: step " +
                  std::to_string(steps.front()) +
                  "), and --resume never was asked for. Choose another --out, or leave out "
                  "--resume to go on from there.",
              Stage::kModelLoad);
    }
    return "";
  }
  if (spec_.resume.mode == ResumeMode::kPath) {
    load_chosen(spec_.resume.path, expect, arenas);
    const auto aside = set_aside_newer(fs, spec_.output_dir, state_.step);
    if (aside && !aside->empty()) {
      emit(WarningEvent{"checkpoints_set_aside",
                        std::to_string(aside->size()) +
                            " newer checkpoints were renamed to .aside-*; delete them when they "
                            "are no longer wanted.",
                        static_cast<std::int64_t>(state_.step)});
    }
    return spec_.resume.path;
  }
  const LoadReport report = take(load_newest(fs, spec_.output_dir, expect, arenas.targets()),
                                 ExitKind::kUserError, Stage::kModelLoad);
  for (const RejectedCheckpoint& rejected : report.rejected) {
    emit(WarningEvent{"checkpoint_rejected",
                      "Checkpoint '" + rejected.path + "' is not used (" + rejected.rung +
                          "): " + rejected.reason,
                      0});
  }
  if (!report.loaded && !report.rejected.empty()) {
    // Beginning again in silence would cost the user everything that these folders may still hold.
    give_up(ExitKind::kUserError,
            "None of the " + std::to_string(report.rejected.size()) + " checkpoints in '" +
                spec_.output_dir + "/ckpt' is valid; the newest fails at " +
                report.rejected.front().rung + ": " + report.rejected.front().reason +
                " Restore one from a copy, or begin again in another --out.",
            Stage::kModelLoad);
  }
  if (!report.loaded) {
    return "";
  }
  adopt(*report.loaded, arenas, report.rejected);
  return report.loaded->checkpoint.path;
}

void Attempt::load_chosen(const std::string& path, const Expectations& expect, HostArenas& arenas) {
  const auto loaded = take(load_checkpoint(posix_file_system(), path, expect, arenas.targets()),
                           ExitKind::kUserError, Stage::kModelLoad);
  adopt(loaded, arenas, {});
}

void Attempt::adopt(const LoadedCheckpoint& loaded, const HostArenas& arenas,
                    std::vector<RejectedCheckpoint> rejected) {
  const VerifiedCheckpoint& checkpoint = loaded.checkpoint;
  state_ = checkpoint.state;
  engine_->restore_arenas(arenas.views());
  if (engine_->device_digest(state_.step) != checkpoint.manifest.tensors_digest) {
    give_up(ExitKind::kGpuFault,
            "V7: what was copied to the device differs from checkpoint '" + checkpoint.path +
                "'. The device's memory cannot be trusted; use another one.",
            Stage::kModelLoad);
  }
  parent_manifest_ = checkpoint.manifest_sha256;
  resumed_from_ = checkpoint.path;
  header_.exactness = combine(checkpoint.manifest.header.exactness, loaded.resume);
  if (!leads()) {
    return;
  }
  if (auto records = read_witness(posix_file_system(), spec_.output_dir, state_.step,
                                  env_digest(header_.env))) {
    witness_ = *records;
  }
  ResumeEvent event;
  event.step = static_cast<std::int64_t>(state_.step);
  event.path = checkpoint.path;
  event.resume_class = loaded.resume.cls;
  event.reasons = loaded.resume.reasons;
  event.reasons.insert(event.reasons.end(), loaded.allowed_changes.begin(),
                       loaded.allowed_changes.end());
  event.rejected = std::move(rejected);
  event.replay_steps = std::max<std::int64_t>(0, reporter_->last_step_before() - event.step);
  emit(event);
  static_cast<void>(append_journal(posix_file_system(), spec_.output_dir,
                                   {"resumed", state_.step, {{"path", checkpoint.path}}}));
}

void Attempt::start_saver() {
  if (!leads()) {
    return;
  }
  AsyncSaverOptions saving;
  saving.fs = &posix_file_system();
  saving.job_dir = spec_.output_dir;
  saving.kind = weights_kind(spec_.job.method);
  saving.layout = &inputs_->arena;
  if (inputs_->lora) {
    saving.adapter_config = adapter_config_json(
        adapter_config_for(*inputs_->lora, spec_.paths.base_model, spec_.job.lora.dropout));
  }
  saving.retention.keep = static_cast<std::uint64_t>(spec_.job.checkpoint.keep);
  saving.parent_manifest = parent_manifest_;
  saving.copy = [this](const ArenaTargets& snapshot) { return engine_->copy_arenas(snapshot); };
  saving.on_result = [this](const SaveResult& result) {
    CheckpointEvent event;
    event.step = static_cast<std::int64_t>(result.step);
    event.reason = result.reason;
    event.copy_ms = static_cast<double>(result.copy.count()) / 1e3;
    if (result.committed) {
      event.path = result.committed->path;
      event.manifest_sha256 = result.committed->manifest_sha256;
      event.size = Bytes(static_cast<std::int64_t>(result.committed->bytes));
      event.write_ms = static_cast<double>(result.committed->write.count()) / 1e3;
    } else {
      event.skipped = result.error ? result.error->message : "unknown";
    }
    emit(event);
    if (!result.warning.empty()) {
      emit(WarningEvent{"checkpoint", result.warning, event.step});
    }
  };
  auto saver = std::make_shared<AsyncSaver>(std::move(saving));
  const std::lock_guard lock(saver_mutex_);
  saver_ = std::move(saver);
}

ExitRecord Attempt::train() {
  LoopArgs args;
  args.spec = &spec_;
  args.inputs = &*inputs_;
  args.engine = engine_.get();
  args.saver = saver_.get();
  args.rank = options_.rank;
  args.world_size = static_cast<int>(spec_.job.devices.count);
  args.emit = [this](const EventBody& body) { emit(body); };
  args.now_s = steady_seconds;
  args.parked = &ending_;
  args.replay_until = reporter_ ? reporter_->last_step_before() : 0;
  args.header = header_;
  args.witness = witness_;
  say(Stage::kTraining, resumed_from_ ? "from step " + std::to_string(state_.step) : "from step 0");
  TrainLoop loop(std::move(args), *schedule_, state_);
  LoopEnd end = loop.run();
  if (!claim_end()) {
    park();  // an emergency got there first and ends the process
  }
  if (end.finished && leads()) {
    write_result();
    end.record.evidence["result"] = result_folder(spec_);
  }
  return end.record;
}

void Attempt::write_result() {
  say(Stage::kExport, "writing the result");
  HostArenas arenas(inputs_->arena.arena_size);
  Status written = engine_->copy_arenas(arenas.targets());
  if (written) {
    written = export_result(spec_, *inputs_, arenas.params);
  }
  if (!written) {
    give_up(ExitKind::kInternal,
            "The last checkpoint is safe, but the result could not be written: " +
                written.error().message + " Run the same command again to write it.",
            Stage::kExport);
  }
}

void Attempt::leave(ExitRecord record) {
  emit(record);
  if (record.kind == ExitKind::kPreempted && record.resumable && !options_.resume_command.empty()) {
    std::fprintf(stderr, "Go on with:  %s\n", options_.resume_command.c_str());
  }
  std::fflush(nullptr);
  // The training thread may be anywhere in LibTorch: no destructor is safe to run.
  ::_exit(exit_code(record.kind));
}

void Attempt::on_stop(const StopRequest& request) {
  if (!claim_end()) {
    return;  // the attempt is ending by itself
  }
  ExitRecord record;
  record.kind = ExitKind::kPreempted;
  record.stage = to_word(stage_.load());
  record.evidence["reason"] = request.reason;
  std::shared_ptr<AsyncSaver> saver;
  {
    const std::lock_guard lock(saver_mutex_);
    saver = saver_;
  }
  if (!saver || stage_.load() != Stage::kTraining) {
    record.message = request.reason + " before training began; there was nothing new to save.";
    record.resumable = resumed_from_.has_value();
    leave(std::move(record));
  }
  const auto committed = saver->commit_now(CheckpointReason::kSignal, request.deadline);
  if (committed) {
    record.step = static_cast<std::int64_t>(committed->step);
    record.evidence["checkpoint"] = committed->path;
    record.message = request.reason + ": step " + std::to_string(committed->step) +
                     " is saved in '" + committed->path + "'.";
    record.resumable = true;
  } else {
    const auto last = saver->last_committed();
    record.step = step_.load();
    record.resumable = last.has_value() || resumed_from_.has_value();
    record.message = request.reason + ": the last step could not be saved in time (" +
                     committed.error().message + ") The newest checkpoint is " +
                     (last ? "step " + std::to_string(last->step) : "the one resumed from") + ".";
  }
  leave(std::move(record));
}

void Attempt::on_rank_death(const std::string& what) {
  if (!claim_end()) {
    return;
  }
  ExitRecord record;
  record.kind = ExitKind::kInternal;
  record.stage = to_word(stage_.load());
  record.message = what + " The attempt ends; run the same command again to go on.";
  record.step = step_.load();
  std::shared_ptr<AsyncSaver> saver;
  {
    const std::lock_guard lock(saver_mutex_);
    saver = saver_;
  }
  if (saver && stage_.load() == Stage::kTraining) {
    const auto committed = saver->commit_now(
        CheckpointReason::kStop, std::chrono::steady_clock::now() + std::chrono::seconds(15));
    record.resumable = committed.has_value() || resumed_from_.has_value();
  }
  leave(std::move(record));
}

std::string Attempt::on_request(const std::string& line) {
  ControlResponse response;
  response.job_id = spec_.job_id;
  response.stage = stage_.load();
  response.step = step_.load();
  response.total_steps = total_steps_.load();
  const auto request = decode_control_request(line);
  if (!request) {
    response.error = request.error().message;
    return encode_control_response(response);
  }
  response.verb = request->verb;
  std::shared_ptr<AsyncSaver> saver;
  {
    const std::lock_guard lock(saver_mutex_);
    saver = saver_;
  }
  const auto now = std::chrono::steady_clock::now();
  const auto deadline = now + request->deadline.value_or(options_.sigterm_deadline);
  if (request->verb == ControlVerb::kStop) {
    on_stop({"stop request", deadline});
    response.error = "The attempt is ending already.";
    return encode_control_response(response);
  }
  std::optional<CommittedCheckpoint> newest = saver ? saver->last_committed() : std::nullopt;
  response.ok = true;
  if (request->verb == ControlVerb::kCheckpoint) {
    if (!saver || stage_.load() != Stage::kTraining) {
      response.ok = false;
      response.error = "Training has not begun; there is nothing to save yet.";
    } else if (auto committed = saver->commit_now(CheckpointReason::kRequest, deadline)) {
      newest = *committed;
    } else {
      response.ok = false;
      response.error = committed.error().message;
    }
  }
  if (newest) {
    response.checkpoint = ControlCheckpoint{static_cast<std::int64_t>(newest->step), newest->path,
                                            newest->manifest_sha256};
  }
  return encode_control_response(response);
}

ExitRecord Attempt::run() {
  ExitRecord record;
  try {
    if (leads()) {
      set_up_output();
      start_watcher();
    }
    load_inputs();
    start_ranks();
    build_engine();
    resume();
    start_saver();
    record = train();
    if (ranks_) {
      ranks_->join();
    }
  } catch (const AttemptOver& over) {
    record = over.record;
  } catch (...) {
    const Failure failure = describe_failure();
    // A peer's death reaches this thread as a failed collective; give the watching thread a moment
    // to name the real cause and end the process.
    std::this_thread::sleep_for(std::chrono::milliseconds(ranks_ ? 1000 : 0));
    record.kind = failure.kind;
    record.message = failure.message;
    record.stage = to_word(stage_.load());
    record.step = step_.load();
    record.resumable = resumed_from_.has_value() || (saver_ && saver_->last_committed());
    if (!claim_end()) {
      park();
    }
    if (saver_ && stage_.load() == Stage::kTraining) {
      // Parameters do not change during a forward or backward pass: the last step is intact.
      const auto committed = saver_->commit_now(
          CheckpointReason::kStop, std::chrono::steady_clock::now() + std::chrono::seconds(30));
      record.resumable = record.resumable || committed.has_value();
    }
  }
  ending_.store(true);
  watcher_.reset();
  ranks_.reset();
  if (!rendezvous_.empty() && leads()) {
    std::error_code removed;
    std::filesystem::remove(rendezvous_, removed);
  }
  emit(record);
  if (record.resumable && !options_.resume_command.empty()) {
    std::fprintf(stderr, "Go on with:  %s\n", options_.resume_command.c_str());
  }
  return record;
}

}  // namespace

ExitRecord run_attempt(const AttemptSpec& spec, const RunOptions& options) {
  Watcher::block_signals();
  return Attempt(spec, options).run();
}

}  // namespace ratchet::trainer
