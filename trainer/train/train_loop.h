#pragma once

// The training loop: from the state it is given to the last step, one page, no LibTorch.
//
// Each step: take the rows that (seed, data_epoch, step) name, accumulate micro-batches, sum over
// ranks, check, wait for a snapshot in flight, update, publish, save and evaluate where it is due.

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "proto/attempt_spec.h"
#include "proto/events.h"
#include "proto/exit_record.h"
#include "trainer/checkpoint/async_saver.h"
#include "trainer/checkpoint/witness.h"
#include "trainer/train/job_inputs.h"
#include "trainer/train/lr_schedule.h"
#include "trainer/train/step_engine.h"

namespace ratchet::trainer {

struct LoopArgs {
  const AttemptSpec* spec = nullptr;
  const JobInputs* inputs = nullptr;
  StepEngine* engine = nullptr;
  AsyncSaver* saver = nullptr;  // null on ranks other than 0: they save nothing
  int rank = 0;
  int world_size = 1;
  std::function<void(EventBody)> emit;        // any thread
  std::function<double()> now_s;              // steady seconds
  const std::atomic<bool>* parked = nullptr;  // true: an emergency has taken over, stop computing
  std::int64_t replay_until = 0;              // steps that an earlier attempt had done
  ManifestHeader header;                      // of the checkpoints to come
  std::vector<WitnessRecord> witness;         // of the checkpoint that was resumed
};

struct LoopEnd {
  ExitRecord record;
  bool finished = false;  // the job is complete: export the result
};

class TrainLoop {
 public:
  // `state` is the state to go on from: of a checkpoint, or a fresh one (step 0).
  TrainLoop(LoopArgs args, StepSchedule& schedule, TrainerState state);

  // Throws what the engine throws.
  LoopEnd run();

  [[nodiscard]] const TrainerState& state() const { return state_; }

 private:
  struct StepOutcome {
    LossSum loss;
    double grad_norm = 0.0;
    std::int64_t tokens = 0;
    std::int64_t step_trained_tokens = 0;
    std::vector<std::uint32_t> bad_samples;  // of the micro-batch with a loss that is not finite
  };

  LoopEnd run_steps();
  StepOutcome compute(const StepRows& rows, const EpochPlan& plan);
  void advance(const StepRows& rows, const EpochPlan& plan, const StepOutcome& outcome, double lr);
  void report(const StepRows& rows, const EpochPlan& plan, const StepOutcome& outcome,
              const StepTimes& times);
  void witness_step(const StepOutcome& outcome);
  void save_if_due();
  // Evaluates when due; the record when early stopping ends the run.
  std::optional<LoopEnd> evaluate_if_due();
  LossSum evaluate();
  std::optional<LoopEnd> check_rules();
  LoopEnd finish(ExitKind kind, CheckpointReason reason, std::string message);
  LoopEnd stop_non_finite(const StepRows& rows, const EpochPlan& plan, const StepOutcome& outcome,
                          double mean_loss);
  [[nodiscard]] PublishedState published() const { return {state_, args_.header}; }
  [[nodiscard]] bool is_told_to_park() const;
  void park_if_told() const;

  const LoopArgs args_;
  const JobSpec& job_;
  StepSchedule& schedule_;
  TrainerState state_;
  LrSchedule lr_;
  double started_s_ = 0.0;
  double wall_before_s_ = 0.0;
  double step_seconds_ = 0.0;  // exponential mean, for the time left
  std::uint64_t witness_base_ = 0;
};

// The learning-rate schedule of a job of `total_steps`.
LrSchedule make_lr_schedule(const TrainingSpec& training, std::int64_t total_steps);

}  // namespace ratchet::trainer
