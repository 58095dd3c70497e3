#pragma once

// Saves beside training: one writer thread, one checkpoint in flight, one host snapshot.
//
//   loop thread                                   writer thread
//   publish(state of step 0)
//   forward, backward                             copy arenas -> snapshot   (arenas are only read)
//   stall = begin_update()   waits for the copy   hash, write, commit, retention
//   optimizer step
//   end_update(state of step N)
//   begin_save(reason)       never waits
//
// Parameters and moments change only between begin_update() and end_update(), so the last complete
// step can be copied at any other time, in particular in the middle of a forward pass: an emergency
// needs no help of the loop. Memory: one snapshot of three arenas, allocated by the constructor.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "proto/events.h"
#include "proto/result.h"
#include "trainer/checkpoint/checkpoint_writer.h"
#include "trainer/checkpoint/content.h"
#include "trainer/checkpoint/file_system.h"

namespace ratchet::trainer {

struct SaveResult {
  std::uint64_t step = 0;
  CheckpointReason reason = CheckpointReason::kInterval;
  std::optional<CommittedCheckpoint> committed;  // or
  std::optional<Error> error;                    // kUnavailable: gave up at the deadline
  std::chrono::microseconds copy{0};
  std::vector<std::uint64_t> deleted;  // by retention
  std::string warning;                 // journal or retention trouble; empty when none
};

struct AsyncSaverOptions {
  FileSystem* fs = nullptr;
  std::string job_dir;
  WeightsKind kind = WeightsKind::kAdapter;
  const ArenaLayout* layout = nullptr;  // outlives the saver
  std::string adapter_config;
  RetentionPolicy retention;    // best_step is taken from each state
  std::string parent_manifest;  // of the checkpoint that was resumed; empty at the start

  // Copies the three arenas into host memory and returns when the copy is complete. Called on any
  // thread that saves, never twice at a time, never between begin_update() and end_update(). On a
  // GPU: device-to-host copies on a stream of its own, then wait for it.
  std::function<Status(const ArenaTargets& snapshot)> copy;
  // Host memory of that many floats (pinned on a GPU machine). Empty: ordinary memory.
  std::function<std::shared_ptr<float>(std::size_t floats)> allocate;
  // After every save, good or bad, on the thread that saved. Must not call the saver.
  std::function<void(const SaveResult&)> on_result;
  std::function<void(std::string_view point)> at_point;  // see WriteOptions
};

// A copy function for arenas in host memory.
std::function<Status(const ArenaTargets&)> copy_from_host(ArenaViews arenas);

// What a save of the last complete step will hold besides the arenas.
struct PublishedState {
  TrainerState state;
  ManifestHeader header;  // parent_manifest and created_at are filled in by the saver
};

// publish, begin_update, end_update and begin_save belong to the loop thread; commit_now,
// wait_idle, skipped and last_committed may be called on any thread.
class AsyncSaver {
 public:
  explicit AsyncSaver(AsyncSaverOptions options);
  ~AsyncSaver();  // waits for the checkpoint in flight
  AsyncSaver(const AsyncSaver&) = delete;
  AsyncSaver& operator=(const AsyncSaver&) = delete;

  // The state that the arenas hold now. Before the first begin_update().
  void publish(PublishedState state);

  // From the return of begin_update() to end_update() no copy is running and none starts. Returns
  // how long it waited.
  std::chrono::microseconds begin_update();
  void end_update(PublishedState state);

  // Starts a checkpoint of the published state. False, and counted in skipped(), when one is still
  // in flight. Nothing is written when the newest checkpoint holds that state already.
  bool begin_save(CheckpointReason reason);

  // Saves the published state on the calling thread and returns when it is committed, or when the
  // deadline has passed and all is cleaned up (kUnavailable). A checkpoint in flight is waited for
  // when it is of the same step; else it is stopped after a third of the time. When the published
  // state has been committed already, that checkpoint is returned at once; a state of the same step
  // that has changed since (an evaluation) replaces it. Without a deadline: takes
  // its time. on_result is called too.
  Result<CommittedCheckpoint> commit_now(
      CheckpointReason reason,
      std::optional<std::chrono::steady_clock::time_point> deadline = std::nullopt);

  // Until no checkpoint is in flight.
  void wait_idle();

  [[nodiscard]] std::uint64_t skipped() const;
  [[nodiscard]] std::optional<CommittedCheckpoint> last_committed() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ratchet::trainer
