#include "tests/checkpoint/small_job.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "proto/job_spec.h"
#include "trainer/checkpoint/layout.h"
#include "trainer/model/digest.h"
#include "trainer/model/safetensors.h"

namespace ratchet::trainer {
namespace {

std::string hex_of(std::string_view text) { return to_hex(sha256(text)); }

JobSpec small_spec() {
  JobSpec spec;
  spec.name = "small";
  spec.base_model = "model";
  spec.data.train = "train.jsonl";
  return spec;
}

// Distinct finite values; `salt` tells arenas and steps apart.
float value_at(std::uint64_t step, std::uint64_t salt, std::size_t i) {
  const std::uint64_t words[] = {step, salt, i};
  const std::uint64_t bits = xxh3_64(std::as_bytes(std::span(words)));
  return static_cast<float>(static_cast<double>(bits % 2000003) / 1e6 - 1.0);
}

// The digest of the tensors as they are in the files; empty when a header does not parse.
std::optional<std::string> digest_of_files(const std::string& folder, const Manifest& manifest) {
  TensorsDigest digest;
  for (const FileRecord& record : manifest.files) {
    if (!record.name.ends_with(".safetensors")) continue;
    const std::string bytes = read_whole(join_path(folder, record.name));
    const auto data = std::as_bytes(std::span(bytes));
    const auto header = parse_safetensors_header(data, bytes.size());
    if (!header) return std::nullopt;
    for (const StoredTensor& t : header->tensors) {
      const auto content = data.subspan(header->data_start + t.begin, t.bytes());
      digest.add(t.name, dtype_name(t.dtype), t.shape, to_hex(xxh3_128(content)));
    }
  }
  return digest.finish();
}

}  // namespace

Arenas::Arenas(const ArenaLayout& layout)
    : params(static_cast<std::size_t>(layout.arena_size)),
      exp_avg(params.size()),
      exp_avg_sq(params.size()) {}

SmallJob::SmallJob(std::int64_t scale) {
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape) {
    shape[0] *= scale;
    ArenaTensor tensor;
    tensor.name = name;
    tensor.offset = layout_.arena_size;
    tensor.size = shape[0] * shape[1];
    tensor.shape = std::move(shape);
    layout_.arena_size += (tensor.size + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
    layout_.tensors.push_back(std::move(tensor));
  };
  const std::string prefix = "base_model.model.model.layers.0.self_attn.";
  add(prefix + "q_proj.lora_A.weight", {2, 5});
  add(prefix + "q_proj.lora_B.weight", {4, 3});
  add(prefix + "v_proj.lora_A.weight", {3, 7});
}

Arenas SmallJob::arenas_at(std::uint64_t step) const {
  Arenas arenas(layout_);
  for (const ArenaTensor& t : layout_.tensors) {
    for (std::int64_t i = t.offset; i < t.offset + t.size; ++i) {
      const auto at = static_cast<std::size_t>(i);
      arenas.params[at] = value_at(step, 1, at);
      arenas.exp_avg[at] = value_at(step, 2, at);
      arenas.exp_avg_sq[at] = std::abs(value_at(step, 3, at));
    }
  }
  return arenas;
}

TrainerState SmallJob::state_at(std::uint64_t step) const {
  TrainerState s;
  s.step = step;
  s.total_steps = 1000;
  s.data_epoch = step / 100;
  s.next_row = step * 4 % 400;
  s.samples_seen = step * 8;
  s.tokens_seen = step * 1024;
  s.trained_tokens_seen = step * 300;
  s.seed = 0xfedcba9876543210U;
  s.loss_ema = 2.0 / (1.0 + static_cast<double>(step));
  s.last_loss = value_at(step, 4, 0);
  s.last_grad_norm = value_at(step, 5, 0);
  s.recent_losses = {0.1, 1.0 / 3.0, s.last_loss};
  s.consumed.add(step);
  s.packing_plan_digest = hex_of("plan");
  s.schedule = {"cosine", 2e-4, 10, 1000, 1.5e-4};
  s.recipe = encode_job_spec(small_spec());
  s.wall_s_trained = 12.5;
  return s;
}

ManifestHeader SmallJob::header() const {
  ManifestHeader h;
  h.job_id = "small";
  h.run_id = "small";
  h.created_at = "2026-01-31T12:00:00Z";
  h.optimizer.beta1 = 0.9;
  h.optimizer.beta2 = 0.999;
  h.optimizer.eps = 1e-8;
  h.optimizer.lr = 1.5e-4;
  h.identity = {hex_of("base"), hex_of("tokenizer"), hex_of("data"),
                hex_of(encode_job_spec(small_spec())), ""};
  h.env.trainer_build = "test";
  h.env.cpu_isa = "avx2";
  h.env.threads = 2;
  h.env.device = "cpu";
  h.env.flags = {"fp32"};
  return h;
}

CheckpointContent SmallJob::content(std::uint64_t step, const Arenas& arenas) const {
  CheckpointContent content;
  content.layout = &layout_;
  content.arenas = arenas.views();
  content.adapter_config = "{\"peft_type\": \"LORA\"}";
  content.state = state_at(step);
  content.header = header();
  return content;
}

Expectations SmallJob::expectations() const {
  Expectations expect;
  expect.layout = &layout_;
  expect.identity = header().identity;
  expect.recipe = encode_job_spec(small_spec());
  expect.env = header().env;
  return expect;
}

Result<CommittedCheckpoint> SmallJob::save(FileSystem& fs, const std::string& job_dir,
                                           std::uint64_t step, const WriteOptions& options) const {
  const Arenas arenas = arenas_at(step);
  return write_checkpoint(fs, job_dir, content(step, arenas), options);
}

LoadReport SmallJob::load(FileSystem& fs, const std::string& job_dir) const {
  Arenas arenas(layout_);
  // Values that no step has: what is not read shows.
  std::fill(arenas.params.begin(), arenas.params.end(), 77.0F);
  arenas.exp_avg = arenas.exp_avg_sq = arenas.params;
  auto report = load_newest(fs, job_dir, expectations(), arenas.targets());
  if (!report) {
    ADD_FAILURE() << report.error().message;
    return {};
  }
  if (report->loaded) {
    const VerifiedCheckpoint& c = report->loaded->checkpoint;
    EXPECT_EQ(arenas, arenas_at(c.manifest.step)) << "step " << c.manifest.step;
    EXPECT_EQ(c.state, state_at(c.manifest.step));
  }
  return *std::move(report);
}

std::string step_path(const std::string& job_dir, std::uint64_t step) {
  return join_path(checkpoint_root(job_dir), step_folder_name(step));
}

TempFolder::TempFolder(On where) {
  const bool memory = where == On::kMemory && access("/dev/shm", W_OK) == 0;
  std::string pattern = (memory ? "/dev/shm/" : testing::TempDir()) + "ratchet_ckpt_XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  path_ = pattern;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string read_whole(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

void write_whole(const std::string& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

void reseal(const std::string& folder, const std::function<void(Manifest&)>& edit) {
  const std::string path = join_path(folder, kManifestName);
  auto manifest = decode_manifest(read_whole(path));
  ASSERT_TRUE(manifest) << manifest.error().message;
  for (FileRecord& file : manifest->files) {
    const std::string bytes = read_whole(join_path(folder, file.name));
    ASSERT_LE(bytes.size(), kChunkBytes);
    const std::string xxh = to_hex(xxh3_128(std::as_bytes(std::span(bytes))));
    file.bytes = bytes.size();
    file.sha256 = to_hex(sha256(std::string_view(bytes)));
    file.xxh3_128 = xxh;
    file.chunk_xxh3 = {xxh};
  }
  const auto digest = digest_of_files(folder, *manifest);
  if (digest) manifest->tensors_digest = *digest;
  if (edit) edit(*manifest);
  write_whole(path, encode_manifest(*manifest));
}

}  // namespace ratchet::trainer
