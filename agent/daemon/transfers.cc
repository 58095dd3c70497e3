#include "agent/daemon/transfers.h"

#include <sys/stat.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <chrono>
#include <optional>
#include <utility>

#include "agent/daemon/files.h"
#include "agent/daemon/off_loop.h"

namespace ratchet::agent {
namespace {

namespace fs = std::filesystem;

// Beside a sealed checkpoint: the core has no more use for it, and it is only kept in case the job
// resumes here.
constexpr const char* kDropped = ".dropped";

std::string holder_of(const AttemptKey& key) {
  return key.job_id.str() + "/e" + std::to_string(key.epoch);
}

// The checkpoint at `folder` is the one that was meant. Its files are checked by the trainer.
bool is_checkpoint(const fs::path& folder, const std::string& manifest_sha256) {
  const auto digest = sha256_file(folder / "MANIFEST.json");
  return digest && *digest == manifest_sha256;
}

Result<std::string> node_path(const std::string& path) {
  std::error_code failed;
  if (fs::path(path).is_absolute() && fs::exists(path, failed)) return path;
  return Error{Code::kNotFound, "'" + path + "' is not on this node."};
}

bool is_permanent(const Error& error) {
  return error.code == Code::kNotFound || error.code == Code::kInvalidArgument ||
         error.code == Code::kCorrupt;
}

std::vector<fs::path> children(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code failed;
  for (fs::directory_iterator entry(folder, failed); !failed && entry != fs::directory_iterator();
       entry.increment(failed)) {
    if (entry->is_directory(failed)) out.push_back(entry->path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

bool is_dropped(const fs::path& sealed) {
  std::error_code failed;
  return fs::exists(sealed.string() + kDropped, failed);
}

void remove_sealed(const fs::path& sealed) {
  static_cast<void>(remove_tree(sealed));
  static_cast<void>(remove_tree(sealed.string() + kDropped));
}

Millis monotonic_now() {
  return std::chrono::duration_cast<Millis>(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace

Transfers::Transfers(asio::any_io_executor executor, asio::thread_pool& pool, net::HttpClient& http,
                     StateFolder& state, Bytes cache_limit, Report report)
    : executor_(std::move(executor)),
      pool_(pool),
      state_(state),
      report_(std::move(report)),
      client_(http, pool),
      cache_(state.cache(), cache_limit, client_),
      uploads_(std::make_shared<net::CancelSource>()),
      downloads_(std::make_shared<net::CancelSource>()) {}

void Transfers::prepare(const DesiredAttempt& desired) {
  asio::co_spawn(executor_, run_prepare(desired), asio::detached);
}

const PreparedInputs* Transfers::prepared(const AttemptKey& key) const {
  const auto found = prepared_.find(key);
  return found == prepared_.end() ? nullptr : &found->second;
}

void Transfers::hold_inputs(const DesiredAttempt& desired) {
  const std::string holder = holder_of({desired.job_id, desired.epoch});
  const JobInputs& inputs = desired.inputs;
  for (const InputRef* ref : {&inputs.base_model, &inputs.train}) {
    cache_.hold(ref->artifact_id, holder);
  }
  for (const auto* ref : {&inputs.validation, &inputs.chat_template, &inputs.init_adapter}) {
    if (*ref) cache_.hold((*ref)->artifact_id, holder);
  }
  if (desired.resume) cache_.hold(desired.resume->artifact_id, holder);
}

void Transfers::forget(const AttemptKey& key) {
  prepared_.erase(key);
  cache_.release(holder_of(key));
}

asio::awaitable<void> Transfers::run_prepare(DesiredAttempt desired) {
  const AttemptKey key{desired.job_id, desired.epoch};
  ++under_way_;
  auto inputs = co_await fetch_all(desired);
  --under_way_;
  if (inputs) {
    prepared_[key] = *std::move(inputs);
    report(InputsPrepared{key});
  } else {
    cache_.release(holder_of(key));
    report(InputsFailed{key, inputs.error().message, is_permanent(inputs.error())});
  }
}

asio::awaitable<Result<PreparedInputs>> Transfers::fetch_all(DesiredAttempt desired) {
  const std::string holder = holder_of({desired.job_id, desired.epoch});
  const JobInputs& inputs = desired.inputs;
  PreparedInputs out;
  const auto base = co_await fetch_folder(inputs.base_model, holder);
  if (!base) co_return base.error();
  out.paths.base_model = *base;
  const auto train = co_await fetch_file(inputs.train, holder);
  if (!train) co_return train.error();
  out.paths.train = *train;
  if (inputs.validation) {
    const auto file = co_await fetch_file(*inputs.validation, holder);
    if (!file) co_return file.error();
    out.paths.validation = *file;
  }
  if (inputs.chat_template) {
    const auto file = co_await fetch_file(*inputs.chat_template, holder);
    if (!file) co_return file.error();
    out.paths.chat_template = *file;
  }
  if (inputs.init_adapter) {
    const auto folder = co_await fetch_folder(*inputs.init_adapter, holder);
    if (!folder) co_return folder.error();
    out.paths.init_adapter = *folder;
  }
  out.resume.mode = ResumeMode::kNever;
  if (desired.resume) {
    const auto folder = co_await fetch_checkpoint(desired.job_id, *desired.resume, holder);
    if (!folder) co_return folder.error();
    out.resume = {ResumeMode::kPath, *folder};
  }
  co_return out;
}

asio::awaitable<Result<std::string>> Transfers::fetch_folder(InputRef ref, std::string holder) {
  if (ref.artifact_id.empty()) co_return node_path(ref.node_path);
  const auto folder = co_await cache_.get(ref.artifact_id, holder, downloads_.get());
  if (!folder) co_return folder.error();
  co_return folder->string();
}

asio::awaitable<Result<std::string>> Transfers::fetch_file(InputRef ref, std::string holder) {
  if (ref.artifact_id.empty()) co_return node_path(ref.node_path);
  const auto folder = co_await cache_.get(ref.artifact_id, holder, downloads_.get());
  if (!folder) co_return folder.error();
  const auto files = list_files(*folder);
  if (!files) co_return files.error();
  if (files->size() != 1) {
    co_return Error{Code::kInvalidArgument, "The artifact '" + ref.artifact_id + "' holds " +
                                                std::to_string(files->size()) +
                                                " files where one is needed."};
  }
  co_return (*folder / files->front().path).string();
}

asio::awaitable<Result<std::string>> Transfers::fetch_checkpoint(JobId job, ResumeFrom resume,
                                                                 std::string holder) {
  const fs::path kept = state_.sealed(job, resume.step, resume.manifest_sha256);
  const std::string digest = resume.manifest_sha256;
  const auto is_kept = [kept, digest] { return is_checkpoint(kept, digest); };
  const bool here = co_await off_loop(pool_, is_kept);
  if (here) co_return kept.string();
  const auto folder = co_await cache_.get(resume.artifact_id, holder, downloads_.get());
  if (!folder) co_return folder.error();
  const fs::path fetched = *folder;
  const auto is_right = [fetched, digest] { return is_checkpoint(fetched, digest); };
  const bool right = co_await off_loop(pool_, is_right);
  if (!right) {
    co_return Error{Code::kCorrupt, "The checkpoint of step " + std::to_string(resume.step) +
                                        " does not have the digest that the control plane names."};
  }
  co_return fetched.string();
}

void Transfers::upload(const UploadCheckpoint& order) {
  asio::co_spawn(executor_, run_upload(order), asio::detached);
}

void Transfers::upload(const UploadResult& order) {
  asio::co_spawn(executor_, run_upload_result(order), asio::detached);
}

asio::awaitable<void> Transfers::run_upload(UploadCheckpoint order) {
  const std::shared_ptr<net::CancelSource> cancel = uploads_;
  const std::string digest = order.checkpoint.manifest_sha256;
  fs::path folder = state_.sealed(order.key.job_id, order.checkpoint.step, digest);
  ++under_way_;
  const auto is_sealed = [folder, digest] { return is_checkpoint(folder, digest); };
  bool here = co_await off_loop(pool_, is_sealed);
  if (!here) {
    folder = order.path;
    const auto is_there = [folder, digest] { return is_checkpoint(folder, digest); };
    here = co_await off_loop(pool_, is_there);
  }
  const Millis began = monotonic_now();
  Result<Uploaded> done =
      Error{Code::kNotFound, "The checkpoint of step " + std::to_string(order.checkpoint.step) +
                                 " is not on this node any more."};
  if (here) {
    UploadArgs args{"checkpoint", folder, cancel.get()};
    done = co_await client_.upload(std::move(args));
  }
  --under_way_;
  if (done) {
    report(CheckpointUploaded{order.key, digest, done->artifact_id, done->sent,
                              monotonic_now() - began});
  } else if (!cancel->cancelled()) {
    report(UploadFailed{order.key, digest, done.error().message, is_permanent(done.error())});
  }
}

asio::awaitable<void> Transfers::run_upload_result(UploadResult order) {
  const std::shared_ptr<net::CancelSource> cancel = uploads_;
  std::error_code failed;
  const fs::path output = state_.output(order.key);
  const bool adapter = fs::is_directory(output / "adapter", failed);
  const fs::path folder = output / (adapter ? "adapter" : "model");
  ++under_way_;
  UploadArgs args{adapter ? "adapter" : "model", folder, cancel.get()};
  const auto done = co_await client_.upload(std::move(args));
  --under_way_;
  if (done) {
    report(ResultUploaded{order.key, done->artifact_id});
  } else if (!cancel->cancelled()) {
    report(UploadFailed{order.key, "", done.error().message, is_permanent(done.error())});
  }
}

void Transfers::cancel_uploads() {
  uploads_->cancel();
  uploads_ = std::make_shared<net::CancelSource>();
}

void Transfers::drop(const DropCheckpoint& order) {
  // The newest of a job stays until there is a newer one: a resume on this node needs no download.
  const auto sealed = children(state_.sealed_root() / order.key.job_id.str());
  for (const fs::path& folder : sealed) {
    const std::string prefix = state_.sealed(order.key.job_id, order.step, "").filename().string();
    if (folder.filename().string().rfind(prefix, 0) == 0) {
      static_cast<void>(write_atomically(folder.string() + kDropped, ""));
    }
  }
  for (const fs::path& folder : sealed) {
    if (folder != sealed.back() && is_dropped(folder)) remove_sealed(folder);
  }
}

Bytes Transfers::make_room(Bytes wanted) {
  Bytes gone = cache_.evict(wanted);
  for (const fs::path& job : children(state_.sealed_root())) {
    for (const fs::path& sealed : children(job)) {
      if (gone >= wanted) return gone;
      const bool in_use = std::any_of(prepared_.begin(), prepared_.end(), [&](const auto& entry) {
        return entry.second.resume.path == sealed.string();
      });
      if (in_use || !is_dropped(sealed)) continue;
      gone = gone + disk_use(sealed);
      remove_sealed(sealed);
    }
  }
  return gone;
}

void Transfers::close() {
  closed_ = true;
  uploads_->cancel();
  downloads_->cancel();
}

}  // namespace ratchet::agent
