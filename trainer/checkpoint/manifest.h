#pragma once

// MANIFEST.json: what a checkpoint is made of and where it came from. Written last; a folder
// without a valid manifest is not a checkpoint. The fields and their order are in README.md.
//
// The encoding is canonical and ends with a SHA-256 of all that precedes it, so one changed byte
// anywhere is found without a second source. The SHA-256 of the whole text is the checkpoint's name
// for the journal, for the next manifest (parent) and for a control plane.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proto/events.h"
#include "proto/result.h"

namespace ratchet::trainer {

constexpr std::string_view kManifestSchema = "ratchet-checkpoint/1";

// What a checkpoint belongs to: hex SHA-256 digests. All must be equal for a resume, recipe apart:
// there the settings themselves are compared (resume_check.h). Empty where a job has no such thing.
struct Identity {
  std::string base_model;
  std::string tokenizer;
  std::string dataset;
  std::string recipe;  // of the canonical JobSpec text
  std::string chat_template;
  bool operator==(const Identity&) const = default;
};

// What the bits of a result depend on besides the job. Versions are free text, compared as such;
// empty where it does not apply (no GPU).
struct EnvFingerprint {
  std::string trainer_build;  // version and commit of this program
  std::string cpu_isa;        // instruction set that the kernels chose: "avx2", "avx512"
  std::uint32_t threads = 0;  // of one process's intra-op pool
  std::string device;         // "cpu" or "cuda"
  std::string gpu_name;
  std::uint32_t sm_count = 0;
  std::string driver, cuda, cublas, cudnn, libtorch;
  std::string attention;           // backend
  std::vector<std::string> flags;  // arithmetic switches that are on, sorted: "bf16", "tf32"
  bool deterministic = true;       // no operation may depend on the order of threads
  std::uint32_t world_size = 1;
  std::uint32_t micro_batch = 0;  // rows a forward pass: decides shapes, hence order of sums
  bool operator==(const EnvFingerprint&) const = default;
};

char resume_class_letter(ResumeClass c);  // 'A', 'B', 'C'; the classes are in proto/events.h

inline constexpr std::size_t kMaxReasons = 64;

struct Exactness {
  ResumeClass cls = ResumeClass::kBitExact;  // of the chain of resumes up to this checkpoint
  std::vector<std::string> reasons;
  bool operator==(const Exactness&) const = default;
};

struct OptimizerRecord {
  std::string format = "adamw-flat-f32";
  std::uint32_t version = 1;
  double beta1 = 0, beta2 = 0, eps = 0, weight_decay = 0;
  double lr = 0;           // used in the step of the checkpoint
  std::uint64_t step = 0;  // set by the writer: equals the manifest's
  bool operator==(const OptimizerRecord&) const = default;
};

struct FileRecord {
  std::string name;
  std::uint64_t bytes = 0;
  std::string sha256;                   // 64 hex digits
  std::string xxh3_128;                 // 32 hex digits
  std::vector<std::string> chunk_xxh3;  // XXH3-128 of each 16 MiB; the last may be shorter
  bool operator==(const FileRecord&) const = default;
};

// The part that the training loop knows.
struct ManifestHeader {
  std::string job_id;
  std::string run_id;
  std::uint64_t attempt_no = 1;
  std::uint64_t epoch = 0;      // fencing number; 0 when the trainer runs alone
  std::string parent_manifest;  // SHA-256 of the checkpoint before; empty for the first
  std::string created_at;       // "2026-01-31T12:00:00Z"
  OptimizerRecord optimizer;
  Identity identity;
  EnvFingerprint env;
  Exactness exactness;
  bool operator==(const ManifestHeader&) const = default;
};

struct Manifest {
  ManifestHeader header;
  std::uint64_t step = 0;
  std::uint64_t micro_step = 0;  // always 0: checkpoints lie between steps
  std::uint64_t samples_seen = 0;
  std::uint64_t tokens_seen = 0;
  std::vector<FileRecord> files;             // sorted by name
  std::string tensors_digest;                // content.h
  std::vector<std::uint64_t> witness_steps;  // steps whose bits prove a resume: step + 1, step + 2
  bool operator==(const Manifest&) const = default;
};

std::string encode_manifest(const Manifest& manifest);

// Strict and bounded; kCorrupt says what is wrong and where. `text` is untrusted.
Result<Manifest> decode_manifest(std::string_view text);

// Now, in UTC, as created_at wants it.
std::string utc_now();

}  // namespace ratchet::trainer
