#include "trainer/checkpoint/checkpoint_reader.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "trainer/checkpoint/layout.h"
#include "trainer/checkpoint/resume_check.h"
#include "trainer/checkpoint/verify.h"

namespace ratchet::trainer {
namespace {

RejectedCheckpoint rejected(const std::string& path, const Fault& fault) {
  return {path, std::string(rung_name(fault.rung)), fault.reason};
}

// Reads one tensor's bytes into `dst`, which has its size.
Status read_tensor(File& file, const SafetensorsHeader& header, std::string_view name,
                   std::span<std::byte> dst) {
  const StoredTensor* tensor = header.find(name);
  if (tensor == nullptr || tensor->bytes() != dst.size()) {
    return Error{Code::kCorrupt, "Tensor '" + std::string(name) + "' changed while it was read."};
  }
  return file.read_exact(dst, header.data_start + tensor->begin);
}

Status read_arenas(FileSystem& fs, const CheckedFolder& inspection, const ArenaLayout& layout,
                   const ArenaTargets& targets) {
  const std::string& folder = inspection.checkpoint.path;
  const std::string_view weights_name = weights_file_name(inspection.checkpoint.kind);
  auto weights = open_file(fs, join_path(folder, weights_name), FileSystem::Open::kRead);
  if (!weights) return weights.error();
  std::int64_t filled = 0;
  std::vector<const ArenaTensor*> in_order;
  for (const ArenaTensor& t : layout.tensors) in_order.push_back(&t);
  std::sort(in_order.begin(), in_order.end(),
            [](const auto* a, const auto* b) { return a->offset < b->offset; });
  const auto zero_to = [&](std::int64_t end) {
    const auto gap = targets.params.subspan(static_cast<std::size_t>(filled),
                                            static_cast<std::size_t>(end - filled));
    std::fill(gap.begin(), gap.end(), 0.0F);
  };
  for (const ArenaTensor* t : in_order) {
    zero_to(t->offset);
    const auto dst = targets.params.subspan(static_cast<std::size_t>(t->offset),
                                            static_cast<std::size_t>(t->size));
    if (auto status =
            read_tensor(*weights, inspection.weights, t->name, std::as_writable_bytes(dst));
        !status) {
      return status;
    }
    filled = t->offset + t->size;
  }
  zero_to(layout.arena_size);
  auto moments = open_file(fs, join_path(folder, kOptimizerName), FileSystem::Open::kRead);
  if (!moments) return moments.error();
  const SafetensorsHeader& table = inspection.optimizer;
  if (auto status =
          read_tensor(*moments, table, kExpAvgName, std::as_writable_bytes(targets.exp_avg));
      !status) {
    return status;
  }
  return read_tensor(*moments, table, kExpAvgSqName, std::as_writable_bytes(targets.exp_avg_sq));
}

// Fills the arenas from a folder that has passed V0-V6, and proves that what arrived in memory is
// what was verified.
std::optional<Fault> fill(FileSystem& fs, const CheckedFolder& inspection,
                          const ArenaLayout& layout, const ArenaTargets& targets) {
  if (auto status = read_arenas(fs, inspection, layout, targets); !status) {
    return Fault{Rung::kV2, status.error().message};
  }
  const ArenaViews views = {targets.params, targets.exp_avg, targets.exp_avg_sq};
  const Manifest& manifest = inspection.checkpoint.manifest;
  if (tensors_digest(layout, views, manifest.step) == manifest.tensors_digest) return std::nullopt;
  return Fault{Rung::kV2, "What was read into memory is not what was verified before."};
}

Status check_targets(const Expectations& expect, const ArenaTargets& targets) {
  if (expect.layout == nullptr) {
    return Error{Code::kInvalidArgument, "A checkpoint cannot be loaded without a layout."};
  }
  const auto size = static_cast<std::size_t>(expect.layout->arena_size);
  if (targets.params.size() == size && targets.exp_avg.size() == size &&
      targets.exp_avg_sq.size() == size) {
    return ok();
  }
  return Error{Code::kInvalidArgument,
               "A checkpoint cannot be loaded: an arena does not have the " + std::to_string(size) +
                   " elements of the layout."};
}

using Attempt = std::variant<LoadedCheckpoint, RejectedCheckpoint>;

// All rungs on one folder. An error is a refusal (V5).
Result<Attempt> try_load(FileSystem& fs, const std::string& path, const Expectations& expect,
                         const ArenaTargets& targets) {
  auto inspected = inspect_folder(fs, path, expect.known_manifests);
  if (const auto* fault = std::get_if<Fault>(&inspected)) return Attempt(rejected(path, *fault));
  CheckedFolder& inspection = std::get<CheckedFolder>(inspected);
  LoadedCheckpoint loaded;
  const VerifiedCheckpoint& checkpoint = inspection.checkpoint;
  const ManifestHeader& header = checkpoint.manifest.header;
  if (expect.identity) {
    auto status =
        check_identity(header.identity, checkpoint.state.recipe, *expect.identity, expect.recipe);
    if (!status) {
      return Error{status.error().code, "The checkpoint '" + path + "' cannot be resumed (V5). " +
                                            status.error().message};
    }
    loaded.allowed_changes = allowed_recipe_changes(checkpoint.state.recipe, expect.recipe);
  }
  if (auto fault = compare_layout(inspection, expect.kind, *expect.layout)) {
    return Attempt(rejected(path, *fault));
  }
  if (expect.env) loaded.resume = classify_resume(header.env, *expect.env);
  if (auto fault = fill(fs, inspection, *expect.layout, targets)) {
    return Attempt(rejected(path, *fault));
  }
  loaded.checkpoint = std::move(inspection.checkpoint);
  return Attempt(std::move(loaded));
}

}  // namespace

std::string_view rung_name(Rung rung) {
  static constexpr std::string_view kNames[] = {"V0", "V1", "V2", "V3", "V4",
                                                "V5", "V6", "V7", "V8"};
  return kNames[static_cast<std::size_t>(rung)];
}

VerifyResult verify_checkpoint(FileSystem& fs, const std::string& path,
                               const Expectations& expect) {
  VerifyResult result;
  auto inspected = inspect_folder(fs, path, expect.known_manifests);
  if (const auto* fault = std::get_if<Fault>(&inspected)) {
    result.rejected = rejected(path, *fault);
    return result;
  }
  CheckedFolder& inspection = std::get<CheckedFolder>(inspected);
  if (expect.layout != nullptr) {
    if (auto fault = compare_layout(inspection, expect.kind, *expect.layout)) {
      result.rejected = rejected(path, *fault);
      return result;
    }
  }
  result.checkpoint = std::move(inspection.checkpoint);
  return result;
}

Result<LoadReport> load_newest(FileSystem& fs, const std::string& job_dir,
                               const Expectations& expect, const ArenaTargets& targets) {
  if (auto status = check_targets(expect, targets); !status) return status.error();
  auto steps = list_steps(fs, job_dir);
  if (!steps) return steps.error();
  LoadReport report;
  for (const std::uint64_t step : *steps) {
    if (step > expect.newest_step) continue;
    const std::string path = join_path(checkpoint_root(job_dir), step_folder_name(step));
    auto attempt = try_load(fs, path, expect, targets);
    if (!attempt) return attempt.error();
    if (auto* loaded = std::get_if<LoadedCheckpoint>(&*attempt)) {
      report.loaded = std::move(*loaded);
      return report;
    }
    report.rejected.push_back(std::get<RejectedCheckpoint>(*attempt));
  }
  return report;
}

Result<LoadedCheckpoint> load_checkpoint(FileSystem& fs, const std::string& path,
                                         const Expectations& expect, const ArenaTargets& targets) {
  if (auto status = check_targets(expect, targets); !status) return status.error();
  std::vector<FileSystem::Entry> entries;
  if (const int rc = fs.list(path, entries); rc < 0) {
    return file_error("Could not open the checkpoint", path, -rc);
  }
  auto attempt = try_load(fs, path, expect, targets);
  if (!attempt) return attempt.error();
  if (auto* loaded = std::get_if<LoadedCheckpoint>(&*attempt)) return std::move(*loaded);
  const auto& why = std::get<RejectedCheckpoint>(*attempt);
  return Error{Code::kCorrupt,
               "The checkpoint '" + path + "' was rejected at " + why.rung + ". " + why.reason};
}

}  // namespace ratchet::trainer
