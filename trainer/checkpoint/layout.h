#pragma once

// Names and bounds of what lies on the disk. README.md has the whole layout.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ratchet::trainer {

inline constexpr std::string_view kCheckpointsFolder = "ckpt";
inline constexpr std::string_view kJournalName = "journal.jsonl";
inline constexpr std::string_view kWitnessName = "witness.jsonl";
inline constexpr std::string_view kLatestName = "LATEST";

inline constexpr std::string_view kManifestName = "MANIFEST.json";
inline constexpr std::string_view kManifestTmpName = "MANIFEST.tmp";
inline constexpr std::string_view kAdapterWeightsName = "adapter_model.safetensors";
inline constexpr std::string_view kAdapterConfigName = "adapter_config.json";
inline constexpr std::string_view kFullModelName = "model.safetensors";
inline constexpr std::string_view kOptimizerName = "optimizer.safetensors";
inline constexpr std::string_view kTrainerStateName = "trainer_state.json";

// Tensors of optimizer.safetensors.
inline constexpr std::string_view kExpAvgName = "adamw.exp_avg";       // F32 [arena_size]
inline constexpr std::string_view kExpAvgSqName = "adamw.exp_avg_sq";  // F32 [arena_size]
inline constexpr std::string_view kStepTensorName = "adamw.step";      // I64 [1]

inline constexpr std::string_view kTmpPrefix = ".tmp-";
inline constexpr std::string_view kAsidePrefix = ".aside-";

inline constexpr std::uint64_t kChunkBytes = std::uint64_t{16} << 20;
inline constexpr std::uint64_t kMaxManifestBytes = std::uint64_t{16} << 20;
inline constexpr std::uint64_t kMaxTrainerStateBytes = std::uint64_t{64} << 20;
inline constexpr std::uint64_t kMaxAdapterConfigBytes = std::uint64_t{1} << 20;

// What is trained: the tensors of a LoRA adapter, or those of a small model (method full).
enum class WeightsKind { kAdapter, kFull };
std::string_view weights_file_name(WeightsKind kind);

// "step-00000300"; eight digits, more when the step needs them.
std::string step_folder_name(std::uint64_t step);
// Only what step_folder_name() makes.
std::optional<std::uint64_t> step_of_folder_name(std::string_view name);

std::string join_path(std::string_view folder, std::string_view name);
std::string checkpoint_root(std::string_view job_dir);  // <job_dir>/ckpt

}  // namespace ratchet::trainer
