#include "trainer/train/reporter.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>

#include "proto/words.h"
#include "trainer/telemetry/event_log.h"
#include "trainer/telemetry/format.h"
#include "trainer/telemetry/progress_bar.h"
#include "trainer/telemetry/tensorboard_writer.h"

namespace ratchet::trainer {
namespace {

struct History {
  std::int64_t attempt_no = 0;
  std::int64_t step = 0;
};

// What earlier attempts left in the event file; lines that do not decode are passed over.
History read_history(const std::filesystem::path& path) {
  History history;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.size() > kMaxEventBytes) {
      continue;
    }
    const auto event = decode_event(line);
    if (!event) {
      continue;
    }
    history.attempt_no = std::max(history.attempt_no, event->header.attempt_no);
    if (const auto* step = std::get_if<StepEvent>(&event->body)) {
      history.step = std::max(history.step, step->step);
    }
  }
  return history;
}

std::string checkpoint_line(const CheckpointEvent& event) {
  if (!event.skipped.empty()) {
    return "checkpoint of step " + std::to_string(event.step) + " skipped: " + event.skipped;
  }
  return "checkpoint of step " + std::to_string(event.step) + " saved (" +
         format_bytes(event.size) + " in " + format_duration(event.write_ms / 1e3) +
         "): " + event.path;
}

std::string resume_line(const ResumeEvent& event) {
  const char* names[] = {"A: bit-exact", "B: same data and random numbers", "C: degraded"};
  std::string line = "resuming from step " + std::to_string(event.step) + " (class " +
                     names[static_cast<int>(event.resume_class)] + ")";
  if (event.replay_steps > 0) {
    line += ", " + std::to_string(event.replay_steps) + " steps will be replayed";
  }
  for (const std::string& reason : event.reasons) {
    line += "\n  - " + reason;
  }
  return line;
}

std::string evaluation_line(const EvaluationEvent& event) {
  return "validation loss after step " + std::to_string(event.step) + ": " +
         std::to_string(event.loss) + (event.best ? " (best so far)" : "");
}

}  // namespace

struct Reporter::Impl {
  std::mutex mutex;  // guards all below
  std::unique_ptr<EventLog> log;
  std::unique_ptr<TensorBoardWriter> tensorboard;
  std::unique_ptr<ProgressBar> progress;  // null when quiet
  std::string tensorboard_folder;
  History before;
  std::int64_t attempt_no = 1;

  void say(const std::string& line) {
    if (progress) {
      progress->message(line);
    }
  }
  void draw(const EventBody& body);
  void draw_step(const StepEvent& step);
};

void Reporter::Impl::draw_step(const StepEvent& step) {
  if (!tensorboard) {
    auto writer = TensorBoardWriter::create({tensorboard_folder, step.step, {}});
    if (writer) {
      tensorboard = std::move(*writer);
    }
  }
  if (tensorboard) {
    // A failure has been said by the event log already when the disk is full; curves are not state.
    static_cast<void>(tensorboard->add_scalar("train/loss", step.step, step.loss));
    static_cast<void>(tensorboard->add_scalar("train/grad_norm", step.step, step.grad_norm));
    static_cast<void>(tensorboard->add_scalar("train/lr", step.step, step.lr));
    static_cast<void>(tensorboard->add_scalar("train/tokens_per_s", step.step, step.tokens_per_s));
    static_cast<void>(tensorboard->flush());
  }
  if (progress) {
    progress->update({step.step, step.total_steps, step.data_epoch, step.loss, step.tokens_per_s,
                      step.eta_s, step.replayed});
  }
}

void Reporter::Impl::draw(const EventBody& body) {
  if (const auto* stage = std::get_if<StageEvent>(&body)) {
    say(std::string(to_word(stage->stage)) + ": " + stage->detail);
  } else if (const auto* step = std::get_if<StepEvent>(&body)) {
    draw_step(*step);
  } else if (const auto* evaluation = std::get_if<EvaluationEvent>(&body)) {
    if (tensorboard) {
      static_cast<void>(
          tensorboard->add_scalar("validation/loss", evaluation->step, evaluation->loss));
    }
    say(evaluation_line(*evaluation));
  } else if (const auto* checkpoint = std::get_if<CheckpointEvent>(&body)) {
    say(checkpoint_line(*checkpoint));
  } else if (const auto* resume = std::get_if<ResumeEvent>(&body)) {
    say(resume_line(*resume));
  } else if (const auto* warning = std::get_if<WarningEvent>(&body)) {
    say("warning: " + warning->message);
  } else if (const auto* exit = std::get_if<ExitRecord>(&body)) {
    if (progress) {
      progress->finish();
    }
    // A failure is said once, by the command, on stderr and whatever --quiet says.
    if (exit->kind == ExitKind::kCompleted || exit->kind == ExitKind::kPreempted) {
      say(std::string(to_word(exit->kind)) + ": " + exit->message);
    }
    if (tensorboard) {
      static_cast<void>(tensorboard->flush());
    }
  }
}

Reporter::Reporter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Reporter::~Reporter() = default;

Result<std::unique_ptr<Reporter>> Reporter::open(const ReporterOptions& options) {
  const std::filesystem::path out = options.output_dir;
  auto impl = std::make_unique<Impl>();
  impl->before = read_history(out / "events.jsonl");
  impl->attempt_no = options.attempt_no > 0 ? options.attempt_no : impl->before.attempt_no + 1;
  if (!options.quiet) {
    impl->progress = std::make_unique<ProgressBar>(ProgressBar::for_stderr());
  }
  EventLog::Options logging;
  logging.path = (out / "events.jsonl").string();
  logging.job_id = options.job_id;
  logging.attempt_no = impl->attempt_no;
  logging.epoch = options.epoch;
  if (options.events_fd >= 0) {
    logging.descriptor = options.events_fd;
  }
  ProgressBar* progress = impl->progress.get();
  logging.on_problem = [progress](const std::string& problem) {
    if (progress != nullptr) {
      progress->message("warning: " + problem);
    }
  };
  auto log = EventLog::open(std::move(logging));
  if (!log) {
    return log.error();
  }
  impl->log = std::move(*log);
  impl->tensorboard_folder = (out / "tensorboard").string();
  std::error_code made;
  std::filesystem::create_directories(impl->tensorboard_folder, made);
  return std::unique_ptr<Reporter>(new Reporter(std::move(impl)));
}

void Reporter::emit(const EventBody& body) {
  const std::lock_guard lock(impl_->mutex);
  impl_->log->emit(body);
  impl_->draw(body);
  if (std::holds_alternative<ExitRecord>(body)) {
    impl_->log->flush(std::chrono::milliseconds(200));
  }
}

std::int64_t Reporter::attempt_no() const { return impl_->attempt_no; }

std::int64_t Reporter::last_step_before() const { return impl_->before.step; }

}  // namespace ratchet::trainer
