#include "trainer/checkpoint/describe.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "trainer/checkpoint/layout.h"
#include "trainer/checkpoint/verify.h"
#include "trainer/model/safetensors.h"

namespace ratchet::trainer {
namespace {

using nlohmann::ordered_json;

std::string size_text(std::uint64_t bytes) {
  if (bytes < 10'000'000) return std::to_string((bytes + 500) / 1000) + " kB";
  return std::to_string((bytes + 500'000) / 1'000'000) + " MB";
}

std::string env_text(const EnvFingerprint& e) {
  std::string text = e.device + ", " + std::to_string(e.threads) + " threads";
  if (!e.cpu_isa.empty()) text += ", " + e.cpu_isa;
  if (!e.gpu_name.empty()) text += ", " + e.gpu_name;
  if (!e.libtorch.empty()) text += ", LibTorch " + e.libtorch;
  return text;
}

void list_tensors(FileSystem& fs, const std::string& path, std::string_view name,
                  std::vector<CheckpointDescription::Tensor>& tensors) {
  auto entries = list_folder(fs, path);
  if (!entries) return;
  for (const auto& entry : *entries) {
    if (entry.name != name || entry.kind != FileSystem::Kind::kFile) continue;
    auto file = open_file(fs, join_path(path, name), FileSystem::Open::kRead);
    if (!file) return;
    auto header = read_tensor_header(*file, entry.bytes);
    if (!header) return;
    for (const StoredTensor& t : header->tensors) {
      tensors.push_back({std::string(name), t.name, dtype_name(t.dtype), t.shape});
    }
  }
}

ordered_json verdict_json(const VerifyResult& verdict) {
  if (verdict.checkpoint) return {{"valid", true}};
  return {{"valid", false}, {"rung", verdict.rejected.rung}, {"reason", verdict.rejected.reason}};
}

ordered_json valid_json(const VerifiedCheckpoint& c) {
  const ManifestHeader& h = c.manifest.header;
  const TrainerState& s = c.state;
  ordered_json files = ordered_json::array();
  for (const FileRecord& f : c.manifest.files) {
    files.push_back({{"name", f.name}, {"bytes", f.bytes}, {"sha256", f.sha256}});
  }
  return {{"weights", c.kind == WeightsKind::kAdapter ? "adapter" : "model"},
          {"job_id", h.job_id},
          {"run_id", h.run_id},
          {"attempt_no", h.attempt_no},
          {"epoch", h.epoch},
          {"created_at", h.created_at},
          {"step", s.step},
          {"total_steps", s.total_steps},
          {"data_epoch", s.data_epoch},
          {"samples_seen", s.samples_seen},
          {"tokens_seen", s.tokens_seen},
          {"loss", s.last_loss},
          {"seed", s.seed},
          {"total_bytes", c.bytes},
          {"manifest_sha256", c.manifest_sha256},
          {"tensors_digest", c.manifest.tensors_digest},
          {"parent_manifest_sha256", h.parent_manifest},
          {"class", std::string(1, resume_class_letter(h.exactness.cls))},
          {"reasons", h.exactness.reasons},
          {"environment", env_text(h.env)},
          {"files", files}};
}

}  // namespace

bool looks_like_checkpoint(FileSystem& fs, const std::string& path) {
  auto entries = list_folder(fs, path);
  if (!entries) return false;
  for (const auto& entry : *entries) {
    if (entry.name == kManifestName || entry.name == kTrainerStateName) return true;
  }
  return false;
}

CheckpointDescription describe_checkpoint(FileSystem& fs, const std::string& path) {
  CheckpointDescription description;
  description.verdict = verify_checkpoint(fs, path, {});
  for (const auto name : {kAdapterWeightsName, kFullModelName, kOptimizerName}) {
    list_tensors(fs, path, name, description.tensors);
  }
  return description;
}

std::string checkpoint_text(const CheckpointDescription& description) {
  std::ostringstream out;
  const VerifyResult& verdict = description.verdict;
  if (!verdict.checkpoint) {
    out << "Checkpoint " << verdict.rejected.path << "\n  NOT VALID (" << verdict.rejected.rung
        << "): " << verdict.rejected.reason << "\n";
  } else {
    const VerifiedCheckpoint& c = *verdict.checkpoint;
    const ManifestHeader& h = c.manifest.header;
    const TrainerState& s = c.state;
    out << "Checkpoint " << c.path << "\n  valid: manifest, files, hashes, tensors and values\n"
        << "  job            " << h.job_id << ", attempt " << h.attempt_no << ", epoch " << h.epoch
        << "\n  written        " << h.created_at << " on " << env_text(h.env)
        << "\n  step           " << s.step << " of " << s.total_steps << ", data epoch "
        << s.data_epoch << ", " << s.samples_seen << " samples, " << s.tokens_seen << " tokens"
        << "\n  loss           " << s.last_loss << " (gradient norm " << s.last_grad_norm << ")"
        << "\n  exactness      class " << resume_class_letter(h.exactness.cls)
        << "\n  manifest       sha256 " << c.manifest_sha256 << "\n  tensors digest "
        << c.manifest.tensors_digest << "\n";
    for (const std::string& reason : h.exactness.reasons) out << "      " << reason << "\n";
    for (const FileRecord& f : c.manifest.files) {
      out << "  " << f.name << "  " << size_text(f.bytes) << "  sha256 " << f.sha256 << "\n";
    }
  }
  for (const auto& t : description.tensors) {
    out << "  " << t.file << "  " << t.name << "  " << t.dtype << " " << shape_text(t.shape)
        << "\n";
  }
  return out.str();
}

std::string checkpoint_json(const CheckpointDescription& description) {
  const VerifyResult& verdict = description.verdict;
  ordered_json doc = {
      {"kind", "checkpoint"},
      {"path", verdict.checkpoint ? verdict.checkpoint->path : verdict.rejected.path},
      {"verdict", verdict_json(verdict)}};
  if (verdict.checkpoint) doc.update(valid_json(*verdict.checkpoint));
  ordered_json tensors = ordered_json::array();
  for (const auto& t : description.tensors) {
    tensors.push_back({{"file", t.file}, {"name", t.name}, {"dtype", t.dtype}, {"shape", t.shape}});
  }
  doc["tensors"] = std::move(tensors);
  return doc.dump(2, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace ratchet::trainer
