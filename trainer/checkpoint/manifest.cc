#include "trainer/checkpoint/manifest.h"

#include <chrono>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "trainer/checkpoint/json_reader.h"
#include "trainer/checkpoint/layout.h"
#include "trainer/model/digest.h"

namespace ratchet::trainer {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;
using Empty = ObjectReader::Empty;

constexpr std::size_t kMaxFiles = 16;
constexpr std::size_t kMaxText = 4096;
constexpr std::size_t kMaxListed = 256;
constexpr std::uint64_t kMaxStep = std::uint64_t{1} << 53;
constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 50;
// Joins the body to its own hash: the hash covers every byte before this text.
constexpr std::string_view kSealStart = ",\n \"sha256_above\": \"";
constexpr std::string_view kSealEnd = "\"\n}\n";

std::uint64_t chunk_count(std::uint64_t bytes) { return (bytes + kChunkBytes - 1) / kChunkBytes; }

ordered_json encode_optimizer(const OptimizerRecord& o) {
  return {{"format", o.format},
          {"version", o.version},
          {"beta1_bits", float_bits(o.beta1)},
          {"beta2_bits", float_bits(o.beta2)},
          {"eps_bits", float_bits(o.eps)},
          {"weight_decay_bits", float_bits(o.weight_decay)},
          {"lr_bits", float_bits(o.lr)},
          {"step", o.step}};
}

ordered_json encode_env(const EnvFingerprint& e) {
  return {{"trainer_build", e.trainer_build},
          {"cpu_isa", e.cpu_isa},
          {"threads", e.threads},
          {"device", e.device},
          {"gpu_name", e.gpu_name},
          {"sm_count", e.sm_count},
          {"driver", e.driver},
          {"cuda", e.cuda},
          {"cublas", e.cublas},
          {"cudnn", e.cudnn},
          {"libtorch", e.libtorch},
          {"attention", e.attention},
          {"flags", e.flags},
          {"deterministic", e.deterministic},
          {"world_size", e.world_size},
          {"micro_batch", e.micro_batch}};
}

ordered_json encode_files(const std::vector<FileRecord>& files) {
  ordered_json list = ordered_json::array();
  for (const FileRecord& f : files) {
    list.push_back({{"name", f.name},
                    {"bytes", f.bytes},
                    {"sha256", f.sha256},
                    {"xxh3_128", f.xxh3_128},
                    {"chunk_bytes", kChunkBytes},
                    {"chunk_xxh3", f.chunk_xxh3}});
  }
  return list;
}

std::string encode_body(const Manifest& m) {
  const ManifestHeader& h = m.header;
  const ordered_json doc = {
      {"schema", kManifestSchema},
      {"job_id", h.job_id},
      {"run_id", h.run_id},
      {"attempt_no", h.attempt_no},
      {"epoch", h.epoch},
      {"step", m.step},
      {"micro_step", m.micro_step},
      {"samples_seen", m.samples_seen},
      {"tokens_seen", m.tokens_seen},
      {"parent_manifest_sha256", h.parent_manifest},
      {"created_at", h.created_at},
      {"files", encode_files(m.files)},
      {"tensors_digest", m.tensors_digest},
      {"optimizer", encode_optimizer(h.optimizer)},
      {"identity",
       {{"base_model", h.identity.base_model},
        {"tokenizer", h.identity.tokenizer},
        {"dataset", h.identity.dataset},
        {"recipe", h.identity.recipe},
        {"chat_template", h.identity.chat_template}}},
      {"env", encode_env(h.env)},
      {"exactness",
       {{"class", std::string(1, resume_class_letter(h.exactness.cls))},
        {"reasons", h.exactness.reasons}}},
      {"witness", {{"steps", m.witness_steps}}},
  };
  std::string text = doc.dump(1, ' ', false, ordered_json::error_handler_t::replace);
  text.resize(text.size() - std::string_view("\n}").size());
  return text;
}

OptimizerRecord decode_optimizer(ObjectReader reader) {
  OptimizerRecord o;
  o.format = reader.text("format", 64);
  o.version = reader.u32("version");
  o.beta1 = reader.bits("beta1_bits");
  o.beta2 = reader.bits("beta2_bits");
  o.eps = reader.bits("eps_bits");
  o.weight_decay = reader.bits("weight_decay_bits");
  o.lr = reader.bits("lr_bits");
  o.step = reader.u64("step", kMaxStep);
  reader.finish();
  return o;
}

Identity decode_identity(ObjectReader reader) {
  Identity i;
  i.base_model = reader.hex("base_model", 64, Empty::kAllowed);
  i.tokenizer = reader.hex("tokenizer", 64, Empty::kAllowed);
  i.dataset = reader.hex("dataset", 64, Empty::kAllowed);
  i.recipe = reader.hex("recipe", 64, Empty::kAllowed);
  i.chat_template = reader.hex("chat_template", 64, Empty::kAllowed);
  reader.finish();
  return i;
}

EnvFingerprint decode_env(ObjectReader reader) {
  EnvFingerprint e;
  e.trainer_build = reader.text("trainer_build", kMaxText);
  e.cpu_isa = reader.text("cpu_isa", kMaxText);
  e.threads = reader.u32("threads");
  e.device = reader.text("device", kMaxText);
  e.gpu_name = reader.text("gpu_name", kMaxText);
  e.sm_count = reader.u32("sm_count");
  e.driver = reader.text("driver", kMaxText);
  e.cuda = reader.text("cuda", kMaxText);
  e.cublas = reader.text("cublas", kMaxText);
  e.cudnn = reader.text("cudnn", kMaxText);
  e.libtorch = reader.text("libtorch", kMaxText);
  e.attention = reader.text("attention", kMaxText);
  e.flags = reader.texts("flags", kMaxListed, kMaxText);
  e.deterministic = reader.boolean("deterministic");
  e.world_size = reader.u32("world_size");
  e.micro_batch = reader.u32("micro_batch");
  reader.finish();
  return e;
}

Exactness decode_exactness(ObjectReader reader) {
  Exactness e;
  const std::string letter = reader.text("class", 1);
  if (letter == "B") {
    e.cls = ResumeClass::kSameData;
  } else if (letter == "C") {
    e.cls = ResumeClass::kDegraded;
  } else if (letter != "A") {
    reader.fail("class", "is not \"A\", \"B\" or \"C\"");
  }
  e.reasons = reader.texts("reasons", kMaxReasons, kMaxText);
  reader.finish();
  return e;
}

// A name that stays inside its folder and is no name of ours for something else.
bool is_plain_name(std::string_view name) {
  if (name.empty() || name.front() == '.' || name == kManifestName || name == kManifestTmpName) {
    return false;
  }
  return name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

FileRecord decode_file(const json& item, const std::string& path, std::string& error) {
  static const json kEmpty = json::object();
  ObjectReader reader(item.is_object() ? item : kEmpty, path, error);
  FileRecord f;
  f.name = reader.text("name", 255);
  if (!is_plain_name(f.name)) reader.fail("name", "is not a plain file name");
  f.bytes = reader.u64("bytes", kMaxFileBytes);
  f.sha256 = reader.hex("sha256", 64);
  f.xxh3_128 = reader.hex("xxh3_128", 32);
  if (reader.u64("chunk_bytes") != kChunkBytes) {
    reader.fail("chunk_bytes", "is not " + std::to_string(kChunkBytes));
  }
  f.chunk_xxh3 = reader.texts("chunk_xxh3", kMaxManifestBytes / 32, 32);
  if (f.chunk_xxh3.size() != chunk_count(f.bytes)) {
    reader.fail("chunk_xxh3", "has not one hash for each chunk of the file");
  }
  for (const std::string& hash : f.chunk_xxh3) {
    if (hash.size() != 32) reader.fail("chunk_xxh3", "holds a hash that has not 32 hex digits");
  }
  reader.finish();
  return f;
}

std::vector<FileRecord> decode_files(ObjectReader& reader, std::string& error) {
  std::vector<FileRecord> files;
  const json* items = reader.array("files", kMaxFiles);
  if (items == nullptr) return files;
  for (const json& item : *items) {
    const std::string path = reader.path_of("files") + "[" + std::to_string(files.size()) + "]";
    files.push_back(decode_file(item, path, error));
    if (files.size() > 1 && files[files.size() - 2].name >= files.back().name) {
      reader.fail("files", "is not sorted by name, each name once");
    }
  }
  return files;
}

Manifest decode_fields(const json& doc, std::string& error) {
  ObjectReader reader(doc, "$", error);
  Manifest m;
  ManifestHeader& h = m.header;
  if (reader.text("schema", 64) != kManifestSchema) {
    reader.fail("schema", "is not \"" + std::string(kManifestSchema) +
                              "\": another version of the trainer wrote this checkpoint");
  }
  h.job_id = reader.text("job_id", kMaxText);
  h.run_id = reader.text("run_id", kMaxText);
  h.attempt_no = reader.u64("attempt_no");
  h.epoch = reader.u64("epoch");
  m.step = reader.u64("step", kMaxStep);
  m.micro_step = reader.u64("micro_step");
  if (m.micro_step != 0) reader.fail("micro_step", "is not 0");
  m.samples_seen = reader.u64("samples_seen");
  m.tokens_seen = reader.u64("tokens_seen");
  h.parent_manifest = reader.hex("parent_manifest_sha256", 64, Empty::kAllowed);
  h.created_at = reader.text("created_at", 64);
  m.files = decode_files(reader, error);
  m.tensors_digest = reader.hex("tensors_digest", 64);
  h.optimizer = decode_optimizer(reader.object("optimizer"));
  h.identity = decode_identity(reader.object("identity"));
  h.env = decode_env(reader.object("env"));
  h.exactness = decode_exactness(reader.object("exactness"));
  ObjectReader witness = reader.object("witness");
  m.witness_steps = witness.u64_list("steps", 8);
  witness.finish();
  reader.hex("sha256_above", 64);
  reader.finish();
  if (h.optimizer.step != m.step) reader.fail("optimizer.step", "is not the checkpoint's step");
  return m;
}

}  // namespace

char resume_class_letter(ResumeClass c) {
  switch (c) {
    case ResumeClass::kBitExact:
      return 'A';
    case ResumeClass::kSameData:
      return 'B';
    case ResumeClass::kDegraded:
      break;
  }
  return 'C';
}

std::string encode_manifest(const Manifest& manifest) {
  std::string text = encode_body(manifest);
  const std::string seal = to_hex(sha256(std::string_view(text)));
  text += kSealStart;
  text += seal;
  text += kSealEnd;
  return text;
}

Result<Manifest> decode_manifest(std::string_view text) {
  auto doc = parse_object(text, kMaxManifestBytes, kManifestName);
  if (!doc) return doc.error();
  std::string error;
  Manifest manifest = decode_fields(*doc, error);
  // One comparison covers the seal, the order of keys, the spelling of numbers and white space.
  if (error.empty() && encode_manifest(manifest) != text) {
    error = "its own SHA-256 does not fit its text";
  }
  if (!error.empty()) {
    return Error{Code::kCorrupt, std::string(kManifestName) + ": " + error + "."};
  }
  return manifest;
}

std::string utc_now() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace ratchet::trainer
