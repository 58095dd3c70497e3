#include "trainer/checkpoint/checkpoint_writer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "trainer/checkpoint/hashed_file.h"
#include "trainer/checkpoint/journal.h"
#include "trainer/checkpoint/layout.h"
#include "trainer/checkpoint/names.h"
#include "trainer/model/digest.h"
#include "trainer/model/safetensors.h"

namespace ratchet::trainer {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kDataAlignment = 4096;  // lets a reader map or read the data directly

std::chrono::microseconds since(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start);
}

std::span<const std::byte> text_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Status check_content(const CheckpointContent& content) {
  const auto invalid = [](std::string text) {
    return Error{Code::kInvalidArgument, "A checkpoint cannot be written: " + std::move(text)};
  };
  if (content.layout == nullptr) return invalid("it has no layout.");
  const auto size = static_cast<std::size_t>(content.layout->arena_size);
  const ArenaViews& a = content.arenas;
  if (a.params.size() != size || a.exp_avg.size() != size || a.exp_avg_sq.size() != size) {
    return invalid("an arena does not have the " + std::to_string(size) +
                   " elements of the layout.");
  }
  for (const ArenaTensor& t : content.layout->tensors) {
    if (t.offset < 0 || t.size < 0 || t.offset > content.layout->arena_size - t.size) {
      return invalid("tensor '" + t.name + "' lies outside the arena.");
    }
  }
  if (content.adapter_config.empty() != (content.kind == WeightsKind::kFull)) {
    return invalid("adapter_config.json belongs to adapters, and to all of them.");
  }
  return ok();
}

// One attempt to write one checkpoint. The folder goes with it unless it was committed.
class Commit {
 public:
  Commit(FileSystem& fs, const std::string& job_dir, const CheckpointContent& content,
         const WriteOptions& options)
      : fs_(fs),
        job_dir_(job_dir),
        root_(checkpoint_root(job_dir)),
        content_(content),
        options_(options),
        clock_(options) {}

  Result<CommittedCheckpoint> run() {
    const auto start = Clock::now();
    Status status = write_folder();
    if (status) status = name_folder();
    if (!status) {
      if (made_) {
        // Best effort: what cannot be removed now is removed at the next start.
        static_cast<void>(remove_tree(fs_, tmp_).has_value());
        note("failed", Sync::kNo, {{"error", status.error().message}});
      }
      return status.error();
    }
    result_.write = since(start);
    result_.sync = clock_.sync_time();
    announce();
    return std::move(result_);
  }

 private:
  Status write_folder();
  Status write_manifest();
  Status name_folder();
  Status replace_existing(const std::string& target);
  void announce();
  void note(std::string event, Sync sync, std::vector<std::pair<std::string, std::string>> details);

  Status add_safetensors(
      std::string_view name, std::vector<TensorSpec> tensors, TensorOrder order,
      const std::function<std::span<const std::byte>(const StoredTensor&)>& data);
  Status add_text(std::string_view name, std::string_view text);
  Status add_weights();
  Status add_optimizer();
  Result<HashedFileWriter> start_file(std::string_view name, std::uint64_t bytes);
  Status end_file(HashedFileWriter& writer, std::string_view name);

  FileSystem& fs_;
  const std::string& job_dir_;
  const std::string root_;
  const CheckpointContent& content_;
  const WriteOptions& options_;
  CommitClock clock_;
  std::string tmp_;
  bool made_ = false;
  std::vector<std::byte> buffer_;
  std::vector<FileRecord> files_;
  CommittedCheckpoint result_;
};

Result<HashedFileWriter> Commit::start_file(std::string_view name, std::uint64_t bytes) {
  auto file = open_file(fs_, join_path(tmp_, name), FileSystem::Open::kCreateNew);
  if (!file) return file.error();
  if (auto status = file->allocate(bytes); !status) return status.error();
  clock_.point("space_reserved");
  const auto needed = static_cast<std::size_t>(std::min(bytes, kChunkBytes));
  if (buffer_.size() < needed) buffer_.resize(needed);
  return HashedFileWriter(*std::move(file), clock_, buffer_);
}

Status Commit::end_file(HashedFileWriter& writer, std::string_view name) {
  auto record = writer.finish(std::string(name));
  if (!record) return record.error();
  result_.bytes += record->bytes;
  files_.push_back(*std::move(record));
  return ok();
}

Status Commit::add_safetensors(
    std::string_view name, std::vector<TensorSpec> tensors, TensorOrder order,
    const std::function<std::span<const std::byte>(const StoredTensor&)>& data) {
  SafetensorsLayoutOptions options;
  options.order = order;
  options.data_alignment = kDataAlignment;
  auto layout = layout_safetensors(std::move(tensors), options);
  if (!layout) return layout.error();
  auto writer = start_file(name, layout->header.file_bytes);
  if (!writer) return writer.error();
  if (auto status = writer->append(text_bytes(layout->prefix)); !status) return status;
  for (const StoredTensor& tensor : layout->header.tensors) {
    if (auto status = writer->append(data(tensor)); !status) return status;
  }
  return end_file(*writer, name);
}

Status Commit::add_text(std::string_view name, std::string_view text) {
  auto writer = start_file(name, text.size());
  if (!writer) return writer.error();
  if (auto status = writer->append(text_bytes(text)); !status) return status;
  return end_file(*writer, name);
}

Status Commit::add_weights() {
  std::vector<TensorSpec> specs;
  specs.reserve(content_.layout->tensors.size());
  for (const ArenaTensor& t : content_.layout->tensors) {
    specs.push_back({t.name, DType::kF32, t.shape});
  }
  // The arena's order is kept, so the n-th tensor asked for is the n-th of the layout.
  std::size_t next = 0;
  return add_safetensors(
      weights_file_name(content_.kind), std::move(specs), TensorOrder::kAsGiven,
      [&](const StoredTensor&) {
        const ArenaTensor& t = content_.layout->tensors[next++];
        return std::as_bytes(content_.arenas.params.subspan(static_cast<std::size_t>(t.offset),
                                                            static_cast<std::size_t>(t.size)));
      });
}

Status Commit::add_optimizer() {
  const std::int64_t size = content_.layout->arena_size;
  const std::array<std::int64_t, 1> step = {static_cast<std::int64_t>(content_.state.step)};
  const auto data = [&](const StoredTensor& t) -> std::span<const std::byte> {
    if (t.name == kExpAvgName) return std::as_bytes(content_.arenas.exp_avg);
    if (t.name == kExpAvgSqName) return std::as_bytes(content_.arenas.exp_avg_sq);
    return std::as_bytes(std::span(step));
  };
  return add_safetensors(kOptimizerName,
                         {{std::string(kStepTensorName), DType::kI64, {1}},
                          {std::string(kExpAvgName), DType::kF32, {size}},
                          {std::string(kExpAvgSqName), DType::kF32, {size}}},
                         TensorOrder::kAsGiven, data);
}

Status Commit::write_folder() {
  if (auto status = check_content(content_); !status) return status;
  if (auto status = clock_.check(); !status) return status;
  clock_.point("begin");
  if (auto status = make_folder(fs_, root_); !status) return status;
  // Every time, as a start that died may have made the folder without syncing its name.
  if (auto status = clock_.timed_sync([&] { return sync_folder(fs_, job_dir_); }); !status) {
    return status;
  }
  tmp_ = join_path(root_, std::string(kTmpPrefix) + step_folder_name(content_.state.step) + "." +
                              std::to_string(content_.header.epoch) + "." + random_name());
  if (const int rc = fs_.make_folder(tmp_); rc < 0) {
    return file_error("Could not make folder", tmp_, -rc);
  }
  made_ = true;
  note("begin", Sync::kNo, {{"folder", tmp_}});
  clock_.point("folder_made");
  // In order of name, as the manifest lists them.
  if (content_.kind == WeightsKind::kAdapter) {
    if (auto status = add_text(kAdapterConfigName, content_.adapter_config); !status) return status;
  }
  if (auto status = add_weights(); !status) return status;
  if (auto status = add_optimizer(); !status) return status;
  const std::string state = encode_trainer_state(content_.state);
  if (auto status = add_text(kTrainerStateName, state); !status) return status;
  return write_manifest();
}

Status Commit::write_manifest() {
  Manifest manifest;
  manifest.header = content_.header;
  manifest.header.optimizer.step = content_.state.step;
  if (manifest.header.created_at.empty()) manifest.header.created_at = utc_now();
  manifest.step = content_.state.step;
  manifest.samples_seen = content_.state.samples_seen;
  manifest.tokens_seen = content_.state.tokens_seen;
  manifest.files = files_;
  manifest.tensors_digest = tensors_digest(*content_.layout, content_.arenas, content_.state.step);
  manifest.witness_steps = {manifest.step + 1, manifest.step + 2};
  const std::string text = encode_manifest(manifest);
  result_.step = manifest.step;
  result_.tensors_digest = manifest.tensors_digest;
  result_.manifest_sha256 = to_hex(sha256(std::string_view(text)));
  result_.bytes += text.size();

  if (auto status = clock_.check(); !status) return status;
  const std::string unnamed = join_path(tmp_, kManifestTmpName);
  auto file = open_file(fs_, unnamed, FileSystem::Open::kCreateNew);
  if (!file) return file.error();
  if (auto status = file->write_all(text_bytes(text), 0); !status) return status;
  clock_.point("manifest_written");
  if (auto status = clock_.timed_sync([&] { return file->sync(); }); !status) return status;
  clock_.point("manifest_synced");
  if (auto status = file->close(); !status) return status;
  if (auto status =
          rename_path(fs_, unnamed, join_path(tmp_, kManifestName), FileSystem::Rename::kNoReplace);
      !status) {
    return status;
  }
  clock_.point("manifest_named");
  if (auto status = clock_.timed_sync([&] { return sync_folder(fs_, tmp_); }); !status) {
    return status;
  }
  clock_.point("folder_synced");
  return ok();
}

// The step was saved before: by this run before a fall-back, or by a node that has been replaced.
// The exchange leaves no moment without a checkpoint of that step.
Status Commit::replace_existing(const std::string& target) {
  auto text = read_text(fs_, join_path(target, kManifestName), kMaxManifestBytes);
  if (text) {
    auto existing = decode_manifest(*text);
    if (existing && existing->header.epoch > content_.header.epoch) {
      return Error{Code::kFailedPrecondition,
                   "The checkpoint '" + target + "' was written under epoch " +
                       std::to_string(existing->header.epoch) + ", ours is " +
                       std::to_string(content_.header.epoch) +
                       ": another trainer has taken over this job, and this one must stop."};
    }
  }
  return rename_path(fs_, tmp_, target, FileSystem::Rename::kExchange);
}

Status Commit::name_folder() {
  if (auto status = clock_.check(); !status) return status;
  const std::string target = join_path(root_, step_folder_name(content_.state.step));
  Status named = rename_path(fs_, tmp_, target, FileSystem::Rename::kNoReplace);
  const bool exists = !named && named.error().code == Code::kAlreadyExists;
  if (exists) named = replace_existing(target);
  if (!named) return named;
  clock_.point("step_named");
  // Past this line the name is there but may not be durable: after a failed sync the checkpoint is
  // taken back, as nobody may rely on it.
  if (auto status = clock_.timed_sync([&] { return sync_folder(fs_, root_); }); !status) {
    const auto back = exists ? FileSystem::Rename::kExchange : FileSystem::Rename::kNoReplace;
    static_cast<void>(rename_path(fs_, target, tmp_, back).has_value());
    return status;
  }
  clock_.point("parent_synced");
  result_.path = target;
  if (exists) static_cast<void>(remove_tree(fs_, tmp_).has_value());
  return ok();
}

// The journal is a record, not state: trouble with it is reported, and the commit goes on.
void Commit::note(std::string event, Sync sync,
                  std::vector<std::pair<std::string, std::string>> details) {
  const JournalLine line = {std::move(event), content_.state.step, std::move(details)};
  if (auto status = append_journal(fs_, job_dir_, line, sync); !status) {
    result_.warning += (result_.warning.empty() ? "" : " ") + status.error().message;
  }
}

void Commit::announce() {
  note("committed_local", Sync::kYes,
       {{"manifest_sha256", result_.manifest_sha256},
        {"tensors_digest", result_.tensors_digest},
        {"bytes", std::to_string(result_.bytes)},
        {"epoch", std::to_string(content_.header.epoch)},
        {"reason", options_.journal_reason}});
  clock_.point("journal_written");
  const std::string hint = step_folder_name(result_.step) + "\n";
  if (auto status = write_hint(fs_, join_path(job_dir_, kLatestName), hint); !status) {
    result_.warning += (result_.warning.empty() ? "" : " ") + status.error().message;
  }
  clock_.point("latest_written");
}

}  // namespace

std::string random_name() {
  std::random_device source;
  std::string text;
  for (int i = 0; i < 2; ++i) {
    const std::uint64_t bits = (std::uint64_t{source()} << 32) | source();
    text += to_hex(std::as_bytes(std::span(&bits, 1)));
  }
  return text;
}

Result<CommittedCheckpoint> write_checkpoint(FileSystem& fs, const std::string& job_dir,
                                             const CheckpointContent& content,
                                             const WriteOptions& options) {
  return Commit(fs, job_dir, content, options).run();
}

}  // namespace ratchet::trainer
