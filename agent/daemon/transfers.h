#pragma once

// What goes between this node's disk and the control plane: inputs come, checkpoints and results
// go. Loop thread only; what is done becomes inputs for the core.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "agent/core/agent_core.h"
#include "agent/daemon/artifact_client.h"
#include "agent/daemon/input_cache.h"
#include "agent/daemon/state_folder.h"
#include "agent/daemon/trainers.h"

namespace ratchet::agent {

class Transfers {
 public:
  using Report = std::function<void(Input)>;
  // All borrowed.
  Transfers(asio::any_io_executor executor, asio::thread_pool& pool, net::HttpClient& http,
            StateFolder& state, Bytes cache_limit, Report report);

  void prepare(const DesiredAttempt& desired);
  // What prepare() made; null when it has not.
  [[nodiscard]] const PreparedInputs* prepared(const AttemptKey& key) const;
  // A trainer of an earlier agent process uses these.
  void hold_inputs(const DesiredAttempt& desired);
  void forget(const AttemptKey& key);

  void upload(const UploadCheckpoint& order);
  void upload(const UploadResult& order);
  void cancel_uploads();
  void drop(const DropCheckpoint& order);
  // Gives disk space back: unused inputs and checkpoints that nobody needs, oldest first. Returns
  // what went.
  Bytes make_room(Bytes wanted);
  // Ends everything; nothing is reported any more.
  void close();

  [[nodiscard]] const InputCache& cache() const { return cache_; }
  [[nodiscard]] std::size_t under_way() const { return under_way_; }

 private:
  asio::awaitable<void> run_prepare(DesiredAttempt desired);
  asio::awaitable<Result<PreparedInputs>> fetch_all(DesiredAttempt desired);
  asio::awaitable<Result<std::string>> fetch_folder(InputRef ref, std::string holder);
  asio::awaitable<Result<std::string>> fetch_file(InputRef ref, std::string holder);
  asio::awaitable<Result<std::string>> fetch_checkpoint(JobId job, ResumeFrom resume,
                                                        std::string holder);
  asio::awaitable<void> run_upload(UploadCheckpoint order);
  asio::awaitable<void> run_upload_result(UploadResult order);
  void report(Input input) {
    if (!closed_) report_(std::move(input));
  }

  asio::any_io_executor executor_;
  asio::thread_pool& pool_;
  StateFolder& state_;
  Report report_;
  ArtifactClient client_;
  InputCache cache_;
  std::map<AttemptKey, PreparedInputs> prepared_;
  std::shared_ptr<net::CancelSource> uploads_;
  std::shared_ptr<net::CancelSource> downloads_;
  std::size_t under_way_ = 0;
  bool closed_ = false;
};

}  // namespace ratchet::agent
