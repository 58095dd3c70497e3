#include "trainer/checkpoint/layout.h"

#include <charconv>

namespace ratchet::trainer {

std::string_view weights_file_name(WeightsKind kind) {
  return kind == WeightsKind::kAdapter ? kAdapterWeightsName : kFullModelName;
}

std::string step_folder_name(std::uint64_t step) {
  std::string digits = std::to_string(step);
  if (digits.size() < 8) digits.insert(0, 8 - digits.size(), '0');
  return "step-" + digits;
}

std::optional<std::uint64_t> step_of_folder_name(std::string_view name) {
  constexpr std::string_view kPrefix = "step-";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const std::string_view digits = name.substr(kPrefix.size());
  std::uint64_t step = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  if (step_folder_name(step) != name) return std::nullopt;
  return step;
}

std::string join_path(std::string_view folder, std::string_view name) {
  std::string path(folder);
  if (!path.empty() && path.back() != '/') path += '/';
  path += name;
  return path;
}

std::string checkpoint_root(std::string_view job_dir) {
  return join_path(job_dir, kCheckpointsFolder);
}

}  // namespace ratchet::trainer
