#include "trainer/train/train_loop.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>
#include <utility>

#include "trainer/train/adamw.h"
#include "trainer/train/stop_rules.h"

namespace ratchet::trainer {
namespace {

// Rows [begin, end) of a step that fall to one rank: contiguous shares, so that every world size
// trains on the same samples in a step.
std::pair<std::uint64_t, std::uint64_t> share_of(const StepRows& rows, int rank, int world_size) {
  const std::uint64_t count = rows.end - rows.begin;
  const auto cut = [&](int r) {
    return rows.begin +
           count * static_cast<std::uint64_t>(r) / static_cast<std::uint64_t>(world_size);
  };
  return {cut(rank), cut(rank + 1)};
}

std::vector<Segment> gather(const EpochPlan& plan, std::uint64_t begin, std::uint64_t end) {
  std::vector<Segment> segments;
  for (std::uint64_t row = begin; row < end; ++row) {
    const auto part = plan.row(row);
    segments.insert(segments.end(), part.begin(), part.end());
  }
  return segments;
}

double milliseconds(double seconds) { return seconds * 1e3; }

}  // namespace

LrSchedule make_lr_schedule(const TrainingSpec& training, std::int64_t total_steps) {
  LrSchedule schedule;
  schedule.kind = training.schedule;
  schedule.peak = training.learning_rate;
  schedule.total_steps = training.schedule_end_step.value_or(total_steps);
  schedule.warmup_steps =
      training.warmup_steps
          ? *training.warmup_steps
          : static_cast<std::int64_t>(std::ceil(training.warmup_ratio.value_or(0.0) *
                                                static_cast<double>(schedule.total_steps)));
  return schedule;
}

TrainLoop::TrainLoop(LoopArgs args, StepSchedule& schedule, TrainerState state)
    : args_(std::move(args)),
      job_(args_.spec->job),
      schedule_(schedule),
      state_(std::move(state)),
      witness_base_(state_.step) {
  state_.total_steps = schedule_.total_steps();
  state_.seed = job_.training.seed;
  state_.recipe = encode_job_spec(job_);
  lr_ = make_lr_schedule(job_.training, static_cast<std::int64_t>(state_.total_steps));
  state_.schedule = {std::string(to_word(lr_.kind)), lr_.peak,
                     static_cast<std::uint64_t>(lr_.warmup_steps),
                     static_cast<std::uint64_t>(lr_.total_steps), state_.schedule.lr};
  wall_before_s_ = state_.wall_s_trained;
}

LoopEnd TrainLoop::run() {
  started_s_ = args_.now_s();
  if (args_.saver != nullptr) {
    args_.saver->publish(published());
  }
  return run_steps();
}

LoopEnd TrainLoop::run_steps() {
  // A run that was stopped between a step and its evaluation owes that evaluation.
  if (auto end = evaluate_if_due()) {
    return *end;
  }
  while (state_.step < state_.total_steps) {
    park_if_told();
    const double begun_s = args_.now_s();
    const StepRows rows = schedule_.rows_of(state_.step);
    const EpochPlan& plan = schedule_.plan(rows.data_epoch);
    StepTimes times;
    times.data_ms = milliseconds(args_.now_s() - begun_s);

    const StepOutcome outcome = compute(rows, plan);
    const double loss = outcome.loss.nll / static_cast<double>(outcome.step_trained_tokens);
    if (!std::isfinite(loss) || !std::isfinite(outcome.grad_norm)) {
      return stop_non_finite(rows, plan, outcome, loss);
    }

    if (args_.saver != nullptr) {
      times.checkpoint_stall_ms = static_cast<double>(args_.saver->begin_update().count()) / 1e3;
      if (is_told_to_park()) {
        // The emergency saves the step before this one: this one never was.
        args_.saver->end_update(published());
        park_if_told();
      }
    }
    const double update_s = args_.now_s();
    const double lr = learning_rate_at(lr_, static_cast<std::int64_t>(state_.step) + 1);
    args_.engine->update({static_cast<std::int64_t>(state_.step) + 1, lr,
                          clip_factor(outcome.grad_norm, job_.training.max_grad_norm)});
    advance(rows, plan, outcome, lr);
    if (args_.saver != nullptr) {
      args_.saver->end_update(published());
    }
    const PhaseTimes phases = args_.engine->take_times();
    times.forward_ms = phases.forward_ms;
    times.backward_ms = phases.backward_ms;
    times.optimizer_ms = milliseconds(args_.now_s() - update_s);
    times.total_ms = milliseconds(args_.now_s() - begun_s);
    report(rows, plan, outcome, times);
    witness_step(outcome);

    if (auto end = evaluate_if_due()) {
      return *end;
    }
    save_if_due();
    if (auto end = check_rules()) {
      return *end;
    }
  }
  return finish(ExitKind::kCompleted, CheckpointReason::kEnd,
                "All " + std::to_string(state_.total_steps) + " steps are done.");
}

TrainLoop::StepOutcome TrainLoop::compute(const StepRows& rows, const EpochPlan& plan) {
  StepOutcome outcome;
  for (const Segment& segment : gather(plan, rows.begin, rows.end)) {
    outcome.tokens += segment.length;
    outcome.step_trained_tokens +=
        static_cast<std::int64_t>(args_.inputs->train.trained_in(segment.sample));
  }
  // Every gradient is that of the mean over the whole step's tokens, whatever the cut into
  // micro-batches and ranks.
  const double scale = 1.0 / static_cast<double>(outcome.step_trained_tokens);
  args_.engine->clear_gradients();
  const auto [begin, end] = share_of(rows, args_.rank, args_.world_size);
  const auto micro_batch = static_cast<std::uint64_t>(job_.training.micro_batch);
  for (std::uint64_t row = begin; row < end; row += micro_batch) {
    const auto segments = gather(plan, row, std::min(end, row + micro_batch));
    const LossSum part =
        args_.engine->accumulate(args_.inputs->train, segments, rows.data_epoch, scale);
    if (!std::isfinite(part.nll) && outcome.bad_samples.empty()) {
      for (const Segment& segment : segments) {
        outcome.bad_samples.push_back(segment.sample);
      }
    }
    outcome.loss.nll += part.nll;
    outcome.loss.trained_tokens += part.trained_tokens;
  }
  args_.engine->reduce(outcome.loss);
  outcome.grad_norm = args_.engine->gradient_norm();
  return outcome;
}

void TrainLoop::advance(const StepRows& rows, const EpochPlan& plan, const StepOutcome& outcome,
                        double lr) {
  const double loss = outcome.loss.nll / static_cast<double>(outcome.step_trained_tokens);
  state_.step += 1;
  state_.data_epoch = rows.data_epoch;
  state_.next_row = rows.end;
  for (const Segment& segment : gather(plan, rows.begin, rows.end)) {
    state_.consumed.add(segment.sample);
    state_.samples_seen += 1;
  }
  state_.tokens_seen += static_cast<std::uint64_t>(outcome.tokens);
  state_.trained_tokens_seen += static_cast<std::uint64_t>(outcome.step_trained_tokens);
  state_.loss_ema = next_loss_ema(state_, loss);
  state_.last_loss = loss;
  state_.last_grad_norm = outcome.grad_norm;
  state_.packing_plan_digest = plan.digest();
  state_.schedule.lr = lr;
  state_.wall_s_trained = wall_before_s_ + (args_.now_s() - started_s_);
  if (job_.training.loss_plateau) {
    note_loss(state_, *job_.training.loss_plateau, loss);
  }
}

void TrainLoop::report(const StepRows& rows, const EpochPlan& plan, const StepOutcome& outcome,
                       const StepTimes& times) {
  constexpr double kWeight = 0.1;
  const double seconds = times.total_ms / 1e3;
  step_seconds_ =
      step_seconds_ == 0.0 ? seconds : step_seconds_ + kWeight * (seconds - step_seconds_);
  StepEvent event;
  event.step = static_cast<std::int64_t>(state_.step);
  event.total_steps = static_cast<std::int64_t>(state_.total_steps);
  event.data_epoch = static_cast<double>(rows.data_epoch) +
                     static_cast<double>(rows.end) / static_cast<double>(plan.rows());
  event.loss = state_.last_loss;
  event.grad_norm = outcome.grad_norm;
  event.lr = state_.schedule.lr;
  event.tokens = outcome.tokens;
  event.trained_tokens = outcome.step_trained_tokens;
  event.tokens_per_s = seconds > 0 ? static_cast<double>(outcome.tokens) / seconds : 0.0;
  event.times = times;
  event.eta_s = step_seconds_ * static_cast<double>(state_.total_steps - state_.step);
  event.vram = args_.engine->vram();
  event.replayed = event.step <= args_.replay_until;
  args_.emit(event);
}

void TrainLoop::witness_step(const StepOutcome& outcome) {
  const std::uint64_t distance = state_.step - witness_base_;
  if (args_.saver == nullptr || distance < 1 || distance > 2) {
    return;
  }
  WitnessRecord record;
  record.checkpoint_step = witness_base_;
  record.step = state_.step;
  record.loss = state_.last_loss;
  record.grad_norm = outcome.grad_norm;
  record.env_digest = env_digest(args_.header.env);
  if (const auto mismatch = compare_witness(args_.witness, record)) {
    args_.emit(WarningEvent{"witness_mismatch", mismatch->explanation,
                            static_cast<std::int64_t>(state_.step)});
  }
  if (auto written = append_witness(posix_file_system(), args_.spec->output_dir, record);
      !written) {
    args_.emit(WarningEvent{"witness_not_written", written.error().message,
                            static_cast<std::int64_t>(state_.step)});
  }
}

void TrainLoop::save_if_due() {
  const auto interval = static_cast<std::uint64_t>(job_.checkpoint.interval_steps);
  if (args_.saver == nullptr || state_.step % interval != 0 || state_.step == state_.total_steps) {
    return;
  }
  if (args_.saver->begin_save(CheckpointReason::kInterval)) {
    witness_base_ = state_.step;
    return;
  }
  CheckpointEvent event;
  event.step = static_cast<std::int64_t>(state_.step);
  event.skipped = "the checkpoint before it is still being written";
  args_.emit(event);
}

std::optional<LoopEnd> TrainLoop::evaluate_if_due() {
  const auto every = static_cast<std::uint64_t>(job_.data.evaluate_every);
  const bool due = state_.step > 0 && state_.evaluated_step != state_.step &&
                   (state_.step % every == 0 || state_.step == state_.total_steps);
  if (!args_.inputs->validation || !due) {
    return std::nullopt;
  }
  const double begun_s = args_.now_s();
  const LossSum sum = evaluate();
  EvaluationEvent event;
  event.step = static_cast<std::int64_t>(state_.step);
  event.loss = sum.nll / static_cast<double>(sum.trained_tokens);
  event.trained_tokens = sum.trained_tokens;
  event.duration_ms = milliseconds(args_.now_s() - begun_s);
  const auto verdict = note_evaluation(state_, job_.training, event.loss);
  state_.evaluated_step = state_.step;
  event.best = verdict.best;
  args_.emit(event);
  if (args_.saver != nullptr) {
    // The arenas did not change; this only publishes what the evaluation added to the state.
    args_.saver->begin_update();
    args_.saver->end_update(published());
    if (verdict.best) {
      args_.saver->wait_idle();
      args_.saver->begin_save(CheckpointReason::kBest);
      args_.saver->wait_idle();
      witness_base_ = state_.step;
    }
  }
  if (verdict.stop_early) {
    return finish(ExitKind::kCompleted, CheckpointReason::kEnd,
                  "Early stop at step " + std::to_string(state_.step) +
                      ": the validation loss no longer falls.");
  }
  return std::nullopt;
}

LossSum TrainLoop::evaluate() {
  const TokenizedDataset& data = *args_.inputs->validation;
  const auto micro_batch = static_cast<std::uint64_t>(job_.training.micro_batch);
  LossSum sum;
  std::vector<Segment> segments;
  const auto world = static_cast<std::uint64_t>(args_.world_size);
  for (std::uint64_t sample = static_cast<std::uint64_t>(args_.rank); sample < data.samples();
       sample += world) {
    segments.push_back({static_cast<std::uint32_t>(sample), data.lengths()[sample]});
    if (segments.size() == micro_batch || sample + world >= data.samples()) {
      const LossSum part = args_.engine->evaluate(data, segments);
      sum.nll += part.nll;
      sum.trained_tokens += part.trained_tokens;
      segments.clear();
    }
  }
  args_.engine->clear_gradients();
  args_.engine->reduce(sum);
  return sum;
}

std::optional<LoopEnd> TrainLoop::check_rules() {
  if (state_.step == state_.total_steps) {
    return std::nullopt;
  }
  const auto step_text = std::to_string(state_.step);
  if (args_.spec->stop_at_step &&
      static_cast<std::int64_t>(state_.step) >= *args_.spec->stop_at_step) {
    return finish(ExitKind::kPreempted, CheckpointReason::kStop,
                  "Stopped after step " + step_text + ", as asked with --stop-at-step.");
  }
  if (job_.training.loss_plateau && is_on_plateau(state_, *job_.training.loss_plateau)) {
    return finish(ExitKind::kLossPlateau, CheckpointReason::kStop,
                  "The loss no longer falls: the mean of the last " +
                      std::to_string(job_.training.loss_plateau->window_steps) +
                      " steps is not below that of the window before. Raise the learning rate, "
                      "add data, or remove training.loss_plateau.");
  }
  if (args_.world_size == 1 || args_.rank == 0) {
    const double trained_s = args_.now_s() - started_s_;
    if (job_.training.timeout_s > 0 && trained_s >= static_cast<double>(job_.training.timeout_s)) {
      return finish(ExitKind::kTimeout, CheckpointReason::kStop,
                    "training.timeout_s (" + std::to_string(job_.training.timeout_s) +
                        " s) has passed at step " + step_text +
                        ". The state is saved; raise the limit and run the same command again.");
    }
  }
  return std::nullopt;
}

LoopEnd TrainLoop::finish(ExitKind kind, CheckpointReason reason, std::string message) {
  LoopEnd end;
  end.finished = kind == ExitKind::kCompleted;
  end.record.kind = kind;
  end.record.message = std::move(message);
  end.record.step = static_cast<std::int64_t>(state_.step);
  end.record.stage = to_word(end.finished ? Stage::kExport : Stage::kTraining);
  if (args_.saver != nullptr) {
    args_.emit(StageEvent{Stage::kCheckpointing, "saving step " + std::to_string(state_.step)});
    const auto committed = args_.saver->commit_now(reason);
    if (committed) {
      end.record.evidence["checkpoint"] = committed->path;
      end.record.resumable = !end.finished;
    } else {
      end.finished = false;
      end.record.kind = ExitKind::kInternal;
      end.record.message +=
          " But the final checkpoint could not be written: " + committed.error().message;
    }
  }
  end.record.evidence["loss"] = state_.last_loss;
  if (state_.best) {
    end.record.evidence["best_validation_loss"] = state_.best->value;
    end.record.evidence["best_step"] = static_cast<std::int64_t>(state_.best->step);
  }
  return end;
}

LoopEnd TrainLoop::stop_non_finite(const StepRows& rows, const EpochPlan& plan,
                                   const StepOutcome& outcome, double mean_loss) {
  std::vector<std::uint32_t> samples = outcome.bad_samples;
  if (samples.empty()) {
    for (const Segment& segment : gather(plan, rows.begin, rows.end)) {
      samples.push_back(segment.sample);
    }
  }
  std::vector<std::string> lines;
  lines.reserve(samples.size());
  for (const std::uint32_t sample : samples) {
    lines.push_back("line " + std::to_string(args_.inputs->train.origin(sample).line));
  }
  const bool loss_is_bad = !std::isfinite(mean_loss);
  LoopEnd end = finish(
      ExitKind::kNonFinite, CheckpointReason::kStop,
      std::string(loss_is_bad ? "The loss" : "The gradient norm") + " of step " +
          std::to_string(state_.step + 1) +
          " is not finite. The state before it is saved. Look at "
          "the rows named in the evidence; a lower learning rate or precision fp32 often helps.");
  end.record.evidence["failed_step"] = static_cast<std::int64_t>(state_.step) + 1;
  end.record.evidence["quantity"] = std::string(loss_is_bad ? "loss" : "grad_norm");
  end.record.evidence["sample_ids"] = lines;
  return end;
}

bool TrainLoop::is_told_to_park() const { return args_.parked != nullptr && args_.parked->load(); }

void TrainLoop::park_if_told() const {
  // An emergency on another thread ends the process; until then nothing here may change the state.
  while (is_told_to_park()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace ratchet::trainer
