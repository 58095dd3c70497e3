#include "trainer/checkpoint/verify.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "trainer/checkpoint/hashed_file.h"
#include "trainer/checkpoint/layout.h"

namespace ratchet::trainer {
namespace {

Fault fault_at(Rung rung, std::string reason) { return {rung, std::move(reason)}; }

std::string name_of_path(const std::string& path) {
  std::string_view view = path;
  while (view.size() > 1 && view.back() == '/') view.remove_suffix(1);
  const std::size_t slash = view.rfind('/');
  return std::string(slash == std::string_view::npos ? view : view.substr(slash + 1));
}

// The files that a checkpoint of each kind has, sorted.
std::vector<std::string_view> file_names(WeightsKind kind) {
  if (kind == WeightsKind::kFull) return {kFullModelName, kOptimizerName, kTrainerStateName};
  return {kAdapterConfigName, kAdapterWeightsName, kOptimizerName, kTrainerStateName};
}

// What a trainable tensor's header must say besides the general rules: fp32, and aligned, so that
// values never straddle two chunks.
std::string weights_rule(const SafetensorsHeader& header) {
  if (header.data_start % 4096 != 0) return "its data does not start at a multiple of 4096 bytes";
  for (const StoredTensor& t : header.tensors) {
    if (t.dtype == DType::kF32) continue;
    return "tensor '" + t.name + "' is " + dtype_name(t.dtype) + ", not F32";
  }
  return {};
}

std::string optimizer_rule(const SafetensorsHeader& header) {
  if (header.data_start % 4096 != 0) return "its data does not start at a multiple of 4096 bytes";
  const StoredTensor* step = header.find(kStepTensorName);
  const StoredTensor* avg = header.find(kExpAvgName);
  const StoredTensor* avg_sq = header.find(kExpAvgSqName);
  if (header.tensors.size() != 3 || step == nullptr || avg == nullptr || avg_sq == nullptr) {
    return "it does not hold exactly adamw.step, adamw.exp_avg and adamw.exp_avg_sq";
  }
  if (step->dtype != DType::kI64 || step->shape != std::vector<std::int64_t>{1}) {
    return "adamw.step is not I64 [1]";
  }
  for (const StoredTensor* t : {avg, avg_sq}) {
    if (t->dtype != DType::kF32) return t->name + " is " + dtype_name(t->dtype) + ", not F32";
  }
  if (avg->shape.size() != 1 || avg->shape != avg_sq->shape) {
    return "adamw.exp_avg and adamw.exp_avg_sq are not flat and of one size";
  }
  return {};
}

class Inspector {
 public:
  Inspector(FileSystem& fs, const std::string& path,
            const std::map<std::uint64_t, std::string>& known_manifests)
      : fs_(fs), path_(path), known_manifests_(known_manifests) {}

  std::variant<CheckedFolder, Fault> run() {
    result_.checkpoint.path = path_;
    read_manifest();
    if (!fault_) check_files();
    if (!fault_) read_files();
    // Content faults of V3 and V4 wait until every file's hash has been compared.
    if (!fault_) fault_ = std::move(later_);
    if (!fault_) check_counters();
    if (fault_) return *std::move(fault_);
    return std::move(result_);
  }

 private:
  void fail(Rung rung, std::string reason) {
    if (!fault_) fault_ = fault_at(rung, std::move(reason));
  }
  void fail_later(Rung rung, std::string reason) {
    if (!later_ || rung < later_->rung) later_ = fault_at(rung, std::move(reason));
  }

  void read_manifest();
  void check_files();
  void read_files();
  void read_tensors(const FileRecord& record, SafetensorsHeader& header);
  void read_text_file(const FileRecord& record, std::uint64_t max_bytes, std::string& text);
  void check_counters();

  FileSystem& fs_;
  const std::string& path_;
  const std::map<std::uint64_t, std::string>& known_manifests_;
  std::optional<Fault> fault_;
  std::optional<Fault> later_;
  std::vector<std::byte> buffer_;
  TensorsDigest digest_;
  std::int64_t optimizer_step_ = -1;
  CheckedFolder result_;
};

void Inspector::read_manifest() {
  auto text = read_text(fs_, join_path(path_, kManifestName), kMaxManifestBytes);
  if (!text && text.error().code == Code::kNotFound) {
    return fail(Rung::kV0,
                "It has no MANIFEST.json: it is no checkpoint, or its deletion was "
                "interrupted.");
  }
  if (!text) return fail(Rung::kV0, text.error().message);
  auto manifest = decode_manifest(*text);
  if (!manifest) return fail(Rung::kV0, manifest.error().message);
  VerifiedCheckpoint& c = result_.checkpoint;
  c.manifest_sha256 = to_hex(sha256(std::string_view(*text)));
  c.bytes = text->size();
  c.manifest = *std::move(manifest);
  const auto known = known_manifests_.find(c.manifest.step);
  if (known != known_manifests_.end() && known->second != c.manifest_sha256) {
    return fail(Rung::kV0, "Its manifest has SHA-256 " + c.manifest_sha256 +
                               ", but the recorded one is " + known->second + ".");
  }
  const auto named = step_of_folder_name(name_of_path(path_));
  if (named && *named != c.manifest.step) {
    fail(Rung::kV0, "Its manifest is of step " + std::to_string(c.manifest.step) +
                        ", not of the step in the folder's name.");
  }
}

void Inspector::check_files() {
  auto entries = list_folder(fs_, path_);
  if (!entries) return fail(Rung::kV1, entries.error().message);
  std::map<std::string_view, const FileSystem::Entry*> present;
  for (const auto& entry : *entries) {
    if (entry.name != kManifestName) present[entry.name] = &entry;
  }
  const auto& records = result_.checkpoint.manifest.files;
  std::vector<std::string_view> listed;
  for (const FileRecord& record : records) {
    listed.push_back(record.name);
    const auto it = present.find(record.name);
    if (it == present.end()) return fail(Rung::kV1, "File " + record.name + " is missing.");
    if (it->second->kind != FileSystem::Kind::kFile) {
      return fail(Rung::kV1, record.name + " is not a regular file.");
    }
    if (it->second->bytes != record.bytes) {
      return fail(Rung::kV1, record.name + " has " + std::to_string(it->second->bytes) +
                                 " bytes instead of " + std::to_string(record.bytes) + ".");
    }
    present.erase(it);
    result_.checkpoint.bytes += record.bytes;
  }
  if (!present.empty()) {
    return fail(Rung::kV1, "'" + std::string(present.begin()->first) +
                               "' is in the folder but not in the manifest.");
  }
  result_.checkpoint.kind = WeightsKind::kAdapter;
  if (listed == file_names(WeightsKind::kAdapter)) return;
  result_.checkpoint.kind = WeightsKind::kFull;
  if (listed == file_names(WeightsKind::kFull)) return;
  fail(Rung::kV1, "Its manifest does not list the files of a checkpoint.");
}

void Inspector::read_files() {
  for (const FileRecord& record : result_.checkpoint.manifest.files) {
    if (record.name == kOptimizerName) {
      read_tensors(record, result_.optimizer);
    } else if (record.name == kTrainerStateName) {
      std::string text;
      read_text_file(record, kMaxTrainerStateBytes, text);
      if (fault_) return;
      auto state = decode_trainer_state(text);
      if (state) {
        result_.checkpoint.state = *std::move(state);
      } else {
        fail_later(Rung::kV4, state.error().message);
      }
    } else if (record.name == kAdapterConfigName) {
      read_text_file(record, kMaxAdapterConfigBytes, result_.checkpoint.adapter_config);
    } else {
      read_tensors(record, result_.weights);
    }
    if (fault_) return;
  }
  if (!later_ && digest_.finish() != result_.checkpoint.manifest.tensors_digest) {
    fail_later(Rung::kV3, "The digest of its tensors is not the manifest's.");
  }
}

void Inspector::read_tensors(const FileRecord& record, SafetensorsHeader& header) {
  auto file = open_file(fs_, join_path(path_, record.name), FileSystem::Open::kRead);
  if (!file) return fail(Rung::kV2, file.error().message);
  // The header is parsed first because the scan needs it, and judged after the hashes.
  auto parsed = read_tensor_header(*file, record.bytes);
  std::string rule = parsed ? "" : parsed.error().message;
  while (rule.ends_with('.')) rule.pop_back();
  if (parsed) {
    header = *std::move(parsed);
    rule = record.name == kOptimizerName ? optimizer_rule(header) : weights_rule(header);
  }
  TensorScan scan(header);
  const auto look = [&](std::span<const std::byte> chunk, std::uint64_t offset) {
    if (rule.empty()) scan.take(chunk, offset);
  };
  if (auto status = verify_hashed_file(*file, record, buffer_, look); !status) {
    return fail(Rung::kV2, status.error().message);
  }
  if (!rule.empty()) return fail_later(Rung::kV3, record.name + ": " + rule + ".");
  scan.finish(digest_);
  if (!scan.fault().empty()) fail_later(Rung::kV4, record.name + ": " + scan.fault() + ".");
  if (record.name == kOptimizerName) optimizer_step_ = scan.step();
}

void Inspector::read_text_file(const FileRecord& record, std::uint64_t max_bytes,
                               std::string& text) {
  if (record.bytes > max_bytes) {
    return fail(Rung::kV1,
                record.name + " is longer than " + std::to_string(max_bytes) + " bytes.");
  }
  auto file = open_file(fs_, join_path(path_, record.name), FileSystem::Open::kRead);
  if (!file) return fail(Rung::kV2, file.error().message);
  text.clear();
  const auto keep = [&](std::span<const std::byte> chunk, std::uint64_t) {
    text.append(reinterpret_cast<const char*>(chunk.data()), chunk.size());
  };
  if (auto status = verify_hashed_file(*file, record, buffer_, keep); !status) {
    fail(Rung::kV2, status.error().message);
  }
}

void Inspector::check_counters() {
  const Manifest& m = result_.checkpoint.manifest;
  const TrainerState& s = result_.checkpoint.state;
  const auto disagree = [&](const std::string& what) {
    fail(Rung::kV4, what + " disagrees with the manifest.");
  };
  if (s.step != m.step) return disagree("The step in trainer_state.json");
  if (optimizer_step_ < 0 || static_cast<std::uint64_t>(optimizer_step_) != m.step) {
    return disagree("The step in optimizer.safetensors");
  }
  if (s.samples_seen != m.samples_seen || s.tokens_seen != m.tokens_seen) {
    return disagree("A count of samples or tokens in trainer_state.json");
  }
}

}  // namespace

std::variant<CheckedFolder, Fault> inspect_folder(
    FileSystem& fs, const std::string& path,
    const std::map<std::uint64_t, std::string>& known_manifests) {
  return Inspector(fs, path, known_manifests).run();
}

std::optional<Fault> compare_layout(const CheckedFolder& inspection, WeightsKind kind,
                                    const ArenaLayout& layout) {
  if (inspection.checkpoint.kind != kind) {
    return fault_at(Rung::kV3, kind == WeightsKind::kAdapter
                                   ? "It holds a whole model, and the job trains an adapter."
                                   : "It holds an adapter, and the job trains a whole model.");
  }
  for (const ArenaTensor& want : layout.tensors) {
    const StoredTensor* have = inspection.weights.find(want.name);
    if (have == nullptr) {
      return fault_at(Rung::kV3, "Tensor '" + want.name + "' of the job is missing.");
    }
    if (have->shape != want.shape) {
      return fault_at(Rung::kV3, "Tensor '" + want.name + "' has shape " + shape_text(have->shape) +
                                     " instead of " + shape_text(want.shape) + ".");
    }
  }
  // Names are unique on both sides, so equal counts leave no tensor that the job has not.
  if (inspection.weights.tensors.size() != layout.tensors.size()) {
    return fault_at(Rung::kV3, "It holds " + std::to_string(inspection.weights.tensors.size()) +
                                   " tensors, and the job has " +
                                   std::to_string(layout.tensors.size()) + ".");
  }
  const std::int64_t moments = inspection.optimizer.find(kExpAvgName)->shape[0];
  if (moments != layout.arena_size) {
    return fault_at(Rung::kV3, "Its moments have " + std::to_string(moments) +
                                   " elements instead of " + std::to_string(layout.arena_size) +
                                   ".");
  }
  return std::nullopt;
}

}  // namespace ratchet::trainer
