#include "trainer/checkpoint/witness.h"

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>

#include "trainer/checkpoint/json_reader.h"
#include "trainer/checkpoint/layout.h"
#include "trainer/model/digest.h"

namespace ratchet::trainer {
namespace {

using nlohmann::ordered_json;

constexpr std::uint64_t kMaxWitnessBytes = std::uint64_t{256} << 20;
constexpr std::size_t kMaxLineBytes = 1024;

std::optional<WitnessRecord> decode_line(std::string_view line) {
  auto doc = parse_object(line, kMaxLineBytes, "witness");
  if (!doc) return std::nullopt;
  std::string error;
  ObjectReader reader(*doc, "$", error);
  WitnessRecord record;
  record.checkpoint_step = reader.u64("checkpoint_step");
  record.step = reader.u64("step");
  record.loss = reader.bits("loss_bits");
  record.grad_norm = reader.bits("grad_norm_bits");
  record.env_digest = reader.hex("env_digest", 64);
  reader.finish();
  if (!error.empty()) return std::nullopt;
  return record;
}

bool same_bits(double a, double b) {
  return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

std::string cause(std::uint64_t steps_after, bool is_loss) {
  if (steps_after > 1) return "the optimizer's moments or update differ";
  return is_loss ? "weights or data differ" : "the backward pass differs";
}

WitnessMismatch mismatch(const WitnessRecord& now, bool is_loss, double was, double is) {
  const std::string quantity = is_loss ? "loss" : "grad_norm";
  return {now.step, quantity,
          "The resume is not bit-exact: the " + std::string(is_loss ? "loss" : "gradient norm") +
              " of step " + std::to_string(now.step) + " is " + std::to_string(is) + " (bits " +
              float_bits(is) + ") and was " + std::to_string(was) + " (bits " + float_bits(was) +
              ") before the interruption; " + cause(now.step - now.checkpoint_step, is_loss) + "."};
}

}  // namespace

std::string env_digest(const EnvFingerprint& env) {
  Manifest manifest;
  manifest.header.env = env;
  return to_hex(sha256(std::string_view(encode_manifest(manifest))));
}

Status append_witness(FileSystem& fs, const std::string& job_dir, const WitnessRecord& record) {
  const ordered_json doc = {{"checkpoint_step", record.checkpoint_step},
                            {"step", record.step},
                            {"loss_bits", float_bits(record.loss)},
                            {"grad_norm_bits", float_bits(record.grad_norm)},
                            {"env_digest", record.env_digest}};
  return append_line(fs, join_path(job_dir, kWitnessName), doc.dump(), Sync::kNo);
}

Result<std::vector<WitnessRecord>> read_witness(FileSystem& fs, const std::string& job_dir,
                                                std::uint64_t checkpoint_step,
                                                std::string_view env_digest) {
  std::vector<WitnessRecord> found;
  auto text = read_text(fs, join_path(job_dir, kWitnessName), kMaxWitnessBytes);
  if (!text && text.error().code == Code::kNotFound) return found;
  if (!text) return text.error();
  std::string_view rest = *text;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const auto record = decode_line(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (!record || record->checkpoint_step != checkpoint_step) continue;
    if (record->env_digest != env_digest || record->step <= checkpoint_step) continue;
    std::erase_if(found, [&](const WitnessRecord& older) { return older.step == record->step; });
    found.push_back(*record);
  }
  return found;
}

std::optional<WitnessMismatch> compare_witness(const std::vector<WitnessRecord>& recorded,
                                               const WitnessRecord& now) {
  for (const WitnessRecord& was : recorded) {
    if (was.step != now.step) continue;
    if (!same_bits(was.loss, now.loss)) return mismatch(now, true, was.loss, now.loss);
    if (!same_bits(was.grad_norm, now.grad_norm)) {
      return mismatch(now, false, was.grad_norm, now.grad_norm);
    }
  }
  return std::nullopt;
}

}  // namespace ratchet::trainer
