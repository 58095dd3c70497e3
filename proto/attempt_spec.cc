#include "proto/attempt_spec.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "proto/job_spec_json.h"

namespace ratchet {

using nlohmann::json;

namespace {

constexpr IntegerRange kCounter{0, 9'007'199'254'740'991};
constexpr IntegerRange kCounterFromOne{1, 9'007'199'254'740'991};
// A job's own limit plus what is around it.
constexpr DocumentLimits kAttemptLimits{.max_bytes = (1 << 20) + (1 << 16), .max_depth = 33};
constexpr std::size_t kMaxIdFromName = 64;

// Absolute and without "." and "..", without looking at the disk.
std::string resolve(const std::string& base, const std::string& path) {
  std::filesystem::path full =
      (std::filesystem::path(base) / std::filesystem::path(path)).lexically_normal();
  if (!full.has_filename() && full.has_parent_path() && full != full.root_path()) {
    full = full.parent_path();  // "/a/b/" and "/a/b" are one folder
  }
  return full.string();
}

std::optional<std::string> resolve(const std::string& base,
                                   const std::optional<std::string>& path) {
  if (!path) return std::nullopt;
  return resolve(base, *path);
}

bool is_absolute(std::string_view path) { return path.starts_with('/'); }

void read_path(ObjectReader& reader, std::string_view key, std::string& out) {
  if (reader.text(key, out, kPathRule) && !is_absolute(out)) {
    reader.add_finding(key, "must be an absolute path.");
  }
}

void read_path(ObjectReader& reader, std::string_view key, std::optional<std::string>& out) {
  std::string path;
  if (!reader.has(key)) return;
  read_path(reader, key, path);
  out = std::move(path);
}

void read_paths(ObjectReader& root, AttemptSpec& spec) {
  root.require("paths", "an object with the absolute paths of base_model and train");
  auto reader = root.object("paths");
  if (!reader) return;
  reader->require("base_model", "the absolute path of the model folder");
  read_path(*reader, "base_model", spec.paths.base_model);
  reader->require("train", "the absolute path of the training file");
  read_path(*reader, "train", spec.paths.train);
  read_path(*reader, "validation", spec.paths.validation);
  read_path(*reader, "chat_template", spec.paths.chat_template);
  read_path(*reader, "init_adapter", spec.paths.init_adapter);
  const auto agree = [&reader](std::string_view key, bool path, bool job) {
    if (path == job) return;
    reader->add_finding(key, job ? "is missing: the job names this file."
                                 : "is written, but the job does not name such a file.");
  };
  agree("validation", spec.paths.validation.has_value(), spec.job.data.validation.has_value());
  agree("chat_template", spec.paths.chat_template.has_value(),
        spec.job.data.chat_template.has_value());
  agree("init_adapter", spec.paths.init_adapter.has_value(),
        spec.job.lora.init_adapter.has_value());
}

void read_resume(ObjectReader& root, ResumePoint& resume) {
  std::string text = "auto";
  if (!root.text("resume", text, kPathRule)) return;
  if (text == "auto" || text == "never") {
    resume.mode = text == "auto" ? ResumeMode::kAuto : ResumeMode::kNever;
  } else if (is_absolute(text)) {
    resume = {.mode = ResumeMode::kPath, .path = text};
  } else {
    root.add_finding("resume", "must be auto, never or the absolute path of a checkpoint.");
  }
}

AttemptSpec read_attempt_spec(const Document& document, FindingList& findings) {
  AttemptSpec spec;
  ObjectReader root = document.root(findings, UnknownKeys::kTolerate);
  std::string schema;
  root.require("schema", "\"attempt/1\"");
  if (root.text("schema", schema) && schema != kAttemptSchema) {
    root.add_finding("schema", "must be \"attempt/1\", the version that this build reads.");
  }
  root.require("job", "the job's specification");
  if (const json* job = root.raw("job")) {
    ObjectReader reader(*job, "$.job", findings, UnknownKeys::kReject, job_spec_hints());
    spec.job = read_job_spec(reader);
  }
  std::string id;
  root.require("job_id", "the job's id");
  if (root.id("job_id", id)) spec.job_id = JobId(id);
  root.require("run_id", "the run's id");
  if (root.id("run_id", id)) spec.run_id = RunId(id);
  root.integer("attempt_no", spec.attempt_no, kCounterFromOne);
  root.integer("epoch", spec.epoch, kCounter);
  read_paths(root, spec);
  root.require("output_dir", "the absolute path of the output folder");
  read_path(root, "output_dir", spec.output_dir);
  read_resume(root, spec.resume);
  root.integer("stop_at_step", spec.stop_at_step, kCounterFromOne);
  return spec;
}

}  // namespace

Decoded<AttemptSpec> decode_attempt_spec(std::string_view text) {
  FindingList findings;
  Decoded<AttemptSpec> decoded;
  if (const auto document = Document::parse(text, kAttemptLimits, findings)) {
    decoded.value = read_attempt_spec(*document, findings);
  }
  decoded.findings = findings.take();
  if (!decoded.findings.empty()) decoded.value.reset();
  return decoded;
}

std::string encode_attempt_spec(const AttemptSpec& spec) {
  json paths = {{"base_model", spec.paths.base_model}, {"train", spec.paths.train}};
  if (spec.paths.validation) paths["validation"] = *spec.paths.validation;
  if (spec.paths.chat_template) paths["chat_template"] = *spec.paths.chat_template;
  if (spec.paths.init_adapter) paths["init_adapter"] = *spec.paths.init_adapter;
  json out = {{"schema", kAttemptSchema},      {"job", job_spec_to_json(spec.job)},
              {"job_id", spec.job_id.str()},   {"run_id", spec.run_id.str()},
              {"attempt_no", spec.attempt_no}, {"epoch", spec.epoch},
              {"paths", std::move(paths)},     {"output_dir", spec.output_dir}};
  switch (spec.resume.mode) {
    case ResumeMode::kAuto:
      out["resume"] = "auto";
      break;
    case ResumeMode::kNever:
      out["resume"] = "never";
      break;
    case ResumeMode::kPath:
      out["resume"] = spec.resume.path;
      break;
  }
  if (spec.stop_at_step) out["stop_at_step"] = *spec.stop_at_step;
  return out.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<AttemptSpec> make_attempt_spec(const JobSpec& job, const AttemptArgs& args) {
  if (!is_absolute(args.base_dir)) {
    return Error{Code::kInvalidArgument, "Paths of the job cannot be resolved from \"" +
                                             args.base_dir + "\": it is not an absolute path."};
  }
  if (args.output_dir.empty()) {
    return Error{Code::kInvalidArgument, "No output folder is named; give one with --out DIR."};
  }
  AttemptSpec spec;
  spec.job = job;
  spec.job_id = args.job_id.empty() ? JobId(id_from_name(job.name)) : args.job_id;
  spec.run_id = args.run_id.empty() ? RunId(spec.job_id.str()) : args.run_id;
  spec.attempt_no = args.attempt_no;
  spec.epoch = args.epoch;
  spec.paths = {.base_model = resolve(args.base_dir, job.base_model),
                .train = resolve(args.base_dir, job.data.train),
                .validation = resolve(args.base_dir, job.data.validation),
                .chat_template = resolve(args.base_dir, job.data.chat_template),
                .init_adapter = resolve(args.base_dir, job.lora.init_adapter)};
  spec.output_dir = resolve(args.base_dir, args.output_dir);
  spec.resume = args.resume;
  if (spec.resume.mode == ResumeMode::kPath) {
    spec.resume.path = resolve(args.base_dir, spec.resume.path);
  }
  spec.stop_at_step = args.stop_at_step;
  // One set of rules for specs that arrive and specs that leave.
  const Decoded<AttemptSpec> read_back = decode_attempt_spec(encode_attempt_spec(spec));
  if (!read_back.ok()) return findings_error("The attempt's specification", read_back.findings);
  if (*read_back.value != spec) {
    return Error{Code::kInvalidArgument,
                 "The attempt's specification cannot be written as JSON: a path or text in it is "
                 "not UTF-8, or the job holds settings that exclude each other."};
  }
  return spec;
}

bool is_attempt_spec(std::string_view text) {
  FindingList findings;
  const auto document = Document::parse(text, kAttemptLimits, findings);
  if (!document || !document->value().is_object()) return false;
  const auto schema = document->value().find("schema");
  return schema != document->value().end() && schema->is_string() &&
         schema->get_ref<const std::string&>().starts_with("attempt/");
}

std::string id_from_name(std::string_view name) {
  std::string id;
  for (char c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    const bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    if (word) {
      id += c;
    } else if (!id.empty() && id.back() != '-') {
      id += '-';
    }
    if (id.size() == kMaxIdFromName) break;
  }
  while (!id.empty() && id.back() == '-') id.pop_back();
  return id.empty() ? "job" : id;
}

}  // namespace ratchet
