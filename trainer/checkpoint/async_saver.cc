#include "trainer/checkpoint/async_saver.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>

namespace ratchet::trainer {
namespace {

using Clock = std::chrono::steady_clock;

std::chrono::microseconds time_since(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start);
}

}  // namespace

std::function<Status(const ArenaTargets&)> copy_from_host(ArenaViews arenas) {
  return [arenas](const ArenaTargets& snapshot) -> Status {
    std::copy(arenas.params.begin(), arenas.params.end(), snapshot.params.begin());
    std::copy(arenas.exp_avg.begin(), arenas.exp_avg.end(), snapshot.exp_avg.begin());
    std::copy(arenas.exp_avg_sq.begin(), arenas.exp_avg_sq.end(), snapshot.exp_avg_sq.begin());
    return ok();
  };
}

// One save at a time holds the claim, and with it the snapshot:
//   free -> claimed -> copying -> writing -> free
// A copy and an optimizer update exclude each other: begin_update() waits while `copying`, a copy
// starts only while not `updating`. begin_save() starts the copy in the name of the writer thread,
// so that no update can slip in before the thread wakes up.
struct AsyncSaver::Impl {
  explicit Impl(AsyncSaverOptions given) : options(std::move(given)) {
    const auto floats = static_cast<std::size_t>(options.layout->arena_size);
    memory = options.allocate
                 ? options.allocate(3 * floats)
                 : std::shared_ptr<float>(new float[3 * floats](), std::default_delete<float[]>());
    const std::span<float> all(memory.get(), 3 * floats);
    snapshot = {all.subspan(0, floats), all.subspan(floats, floats), all.subspan(2 * floats)};
    parent_manifest = options.parent_manifest;
    writer = std::thread([this] { writer_loop(); });
  }

  ~Impl() {
    {
      const std::lock_guard lock(mu);
      closing = true;
    }
    changed.notify_all();
    writer.join();
  }

  void writer_loop();
  void run_save(CheckpointReason reason, std::optional<Clock::time_point> deadline,
                SaveResult& result);
  Status copy_arenas(std::chrono::microseconds& copy_time);
  Result<CommittedCheckpoint> write(CheckpointReason reason,
                                    std::optional<Clock::time_point> deadline);
  void retain(SaveResult& result);
  void finish_save(SaveResult& result);
  bool wait(std::unique_lock<std::mutex>& lock, std::optional<Clock::time_point> until,
            const std::function<bool()>& condition);
  Status claim_for_emergency(std::unique_lock<std::mutex>& lock,
                             std::optional<Clock::time_point> deadline);
  void start_copy();
  // With mu held: whether the newest checkpoint is one of the published state.
  [[nodiscard]] bool holds_published() const { return last && last_state == published->state; }

  // Constant after construction.
  AsyncSaverOptions options;
  std::shared_ptr<float> memory;

  // Of whoever holds the claim.
  ArenaTargets snapshot;
  PublishedState saving;

  mutable std::mutex mu;
  std::condition_variable changed;
  // Guarded by mu.
  std::optional<PublishedState> published;
  bool updating = false;
  bool copying = false;
  bool claimed = false;
  std::uint64_t claimed_step = 0;
  std::optional<CheckpointReason> queued;  // claimed for the writer thread, not yet picked up
  std::stop_source stop;                   // of the save in flight
  bool closing = false;
  std::uint64_t skipped = 0;
  std::optional<CommittedCheckpoint> last;
  TrainerState last_state;  // that `last` holds
  std::string parent_manifest;

  std::thread writer;
};

void AsyncSaver::Impl::writer_loop() {
  for (;;) {
    CheckpointReason reason{};
    {
      std::unique_lock lock(mu);
      changed.wait(lock, [&] { return queued.has_value() || closing; });
      if (!queued) return;
      reason = *queued;
      queued.reset();
    }
    SaveResult result;
    run_save(reason, std::nullopt, result);
  }
}

// With mu held, the claim taken and no update running.
void AsyncSaver::Impl::start_copy() {
  saving = *published;
  saving.header.parent_manifest = parent_manifest;
  saving.header.created_at = utc_now();
  claimed_step = saving.state.step;
  copying = true;
}

// After start_copy(). Gives the claim back.
void AsyncSaver::Impl::run_save(CheckpointReason reason, std::optional<Clock::time_point> deadline,
                                SaveResult& result) {
  result.reason = reason;
  result.step = saving.state.step;
  Status copied = copy_arenas(result.copy);
  if (!copied) {
    result.error = copied.error();
  } else {
    auto committed = write(reason, deadline);
    if (committed) {
      result.warning = committed->warning;
      result.committed = *std::move(committed);
      retain(result);
    } else {
      result.error = committed.error();
    }
  }
  finish_save(result);
}

Status AsyncSaver::Impl::copy_arenas(std::chrono::microseconds& copy_time) {
  const auto start = Clock::now();
  Status status = options.copy(snapshot);
  copy_time = time_since(start);
  {
    const std::lock_guard lock(mu);
    copying = false;
  }
  changed.notify_all();
  return status;
}

Result<CommittedCheckpoint> AsyncSaver::Impl::write(CheckpointReason reason,
                                                    std::optional<Clock::time_point> deadline) {
  CheckpointContent content;
  content.kind = options.kind;
  content.layout = options.layout;
  content.arenas = {snapshot.params, snapshot.exp_avg, snapshot.exp_avg_sq};
  content.adapter_config = options.adapter_config;
  content.state = saving.state;
  content.header = saving.header;
  WriteOptions write_options;
  write_options.deadline = deadline;
  write_options.at_point = options.at_point;
  write_options.journal_reason = std::string(to_word(reason));
  {
    const std::lock_guard lock(mu);
    write_options.stop = stop.get_token();
  }
  return write_checkpoint(*options.fs, options.job_dir, content, write_options);
}

void AsyncSaver::Impl::retain(SaveResult& result) {
  RetentionPolicy policy = options.retention;
  if (saving.state.best) policy.best_step = saving.state.best->step;
  auto deleted =
      apply_retention(*options.fs, options.job_dir, result.step, policy, options.at_point);
  if (deleted) {
    result.deleted = *std::move(deleted);
  } else {
    result.warning += (result.warning.empty() ? "" : " ") + deleted.error().message;
  }
}

void AsyncSaver::Impl::finish_save(SaveResult& result) {
  if (result.committed) {
    const std::lock_guard lock(mu);
    last = result.committed;
    last_state = saving.state;
    parent_manifest = result.committed->manifest_sha256;
  }
  if (options.on_result) options.on_result(result);
  {
    const std::lock_guard lock(mu);
    claimed = false;
  }
  changed.notify_all();
}

bool AsyncSaver::Impl::wait(std::unique_lock<std::mutex>& lock,
                            std::optional<Clock::time_point> until,
                            const std::function<bool()>& condition) {
  if (until) return changed.wait_until(lock, *until, condition);
  changed.wait(lock, condition);
  return true;
}

// Takes the claim while no update is running, or fails at the deadline.
Status AsyncSaver::Impl::claim_for_emergency(std::unique_lock<std::mutex>& lock,
                                             std::optional<Clock::time_point> deadline) {
  const auto free = [this] { return !claimed; };
  if (claimed && deadline && claimed_step != published->state.step) {
    const auto now = Clock::now();
    if (!wait(lock, now + (*deadline - now) / 3, free)) stop.request_stop();
  }
  if (!wait(lock, deadline, free)) {
    // Nobody waits for it any longer, and the process is about to leave.
    stop.request_stop();
    return Error{Code::kUnavailable,
                 "The checkpoint in flight did not end before the deadline of this one."};
  }
  claimed = true;
  stop = std::stop_source();
  if (wait(lock, deadline, [this] { return !updating; })) return ok();
  claimed = false;
  return Error{Code::kUnavailable,
               "The optimizer step did not end before the deadline of the checkpoint."};
}

AsyncSaver::AsyncSaver(AsyncSaverOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}

AsyncSaver::~AsyncSaver() = default;

void AsyncSaver::publish(PublishedState state) {
  const std::lock_guard lock(impl_->mu);
  impl_->published = std::move(state);
}

std::chrono::microseconds AsyncSaver::begin_update() {
  const auto start = Clock::now();
  std::unique_lock lock(impl_->mu);
  impl_->changed.wait(lock, [&] { return !impl_->copying; });
  impl_->updating = true;
  return time_since(start);
}

void AsyncSaver::end_update(PublishedState state) {
  {
    const std::lock_guard lock(impl_->mu);
    impl_->published = std::move(state);
    impl_->updating = false;
  }
  impl_->changed.notify_all();
}

bool AsyncSaver::begin_save(CheckpointReason reason) {
  {
    const std::lock_guard lock(impl_->mu);
    if (impl_->claimed) {
      ++impl_->skipped;
      return false;
    }
    if (impl_->holds_published()) return true;
    impl_->claimed = true;
    impl_->stop = std::stop_source();
    impl_->start_copy();
    impl_->queued = reason;
  }
  impl_->changed.notify_all();
  return true;
}

Result<CommittedCheckpoint> AsyncSaver::commit_now(CheckpointReason reason,
                                                   std::optional<Clock::time_point> deadline) {
  SaveResult result;
  {
    std::unique_lock lock(impl_->mu);
    if (!impl_->published) {
      return Error{Code::kFailedPrecondition, "There is no complete step to save yet."};
    }
    Status claimed = impl_->claim_for_emergency(lock, deadline);
    result.step = impl_->published->state.step;
    if (!claimed) {
      lock.unlock();
      impl_->changed.notify_all();
      result.reason = reason;
      result.error = claimed.error();
      if (impl_->options.on_result) impl_->options.on_result(result);
      return claimed.error();
    }
    if (impl_->holds_published()) {
      impl_->claimed = false;
      CommittedCheckpoint already = *impl_->last;
      lock.unlock();
      impl_->changed.notify_all();
      return already;
    }
    impl_->start_copy();
  }
  impl_->run_save(reason, deadline, result);
  if (result.error) return *result.error;
  return *std::move(result.committed);
}

void AsyncSaver::wait_idle() {
  std::unique_lock lock(impl_->mu);
  impl_->changed.wait(lock, [&] { return !impl_->claimed; });
}

std::uint64_t AsyncSaver::skipped() const {
  const std::lock_guard lock(impl_->mu);
  return impl_->skipped;
}

std::optional<CommittedCheckpoint> AsyncSaver::last_committed() const {
  const std::lock_guard lock(impl_->mu);
  return impl_->last;
}

}  // namespace ratchet::trainer
