// Events from JSON lines. Unknown fields are tolerated; what is known must be right.

#include "proto/document.h"
#include "proto/events.h"
#include "proto/exit_record_json.h"

namespace ratchet {

namespace {

constexpr std::size_t kMaxListed = 1000;
constexpr DocumentLimits kEventLimits{.max_bytes = kMaxEventBytes, .max_depth = 8};

// The bits field is the exact one; the readable number stands in when a peer did not send bits.
void get_exact(ObjectReader& in, std::string_view key, std::string_view bits_key, double& out) {
  in.number_or_nan(key, out);
  std::string hex;
  if (!in.text(bits_key, hex)) return;
  if (const auto value = double_from_bits(hex)) {
    out = *value;
  } else {
    in.add_finding(bits_key, "must be the 16 hex digits of a double.");
  }
}

void get(ObjectReader& in, StageEvent& event) {
  in.require("stage", list_words<Stage>());
  in.word("stage", event.stage);
  in.text("detail", event.detail, kLongText);
}

void get(ObjectReader& in, StepEvent& event) {
  in.require("step", "the number of complete steps");
  in.integer("step", event.step, kCount);
  in.integer("total_steps", event.total_steps, kCount);
  in.number("data_epoch", event.data_epoch);
  get_exact(in, "loss", "loss_bits", event.loss);
  get_exact(in, "grad_norm", "grad_norm_bits", event.grad_norm);
  in.number("lr", event.lr);
  in.integer("tokens", event.tokens, kCount);
  in.integer("trained_tokens", event.trained_tokens, kCount);
  in.number("tokens_per_s", event.tokens_per_s);
  if (auto times = in.object("times")) {
    times->number("total_ms", event.times.total_ms);
    times->number("data_ms", event.times.data_ms);
    times->number("forward_ms", event.times.forward_ms);
    times->number("backward_ms", event.times.backward_ms);
    times->number("optimizer_ms", event.times.optimizer_ms);
    times->number("checkpoint_stall_ms", event.times.checkpoint_stall_ms);
  }
  in.number("eta_s", event.eta_s);
  in.boolean("replayed", event.replayed);
  if (auto vram = in.object("vram")) {
    VramUse& use = event.vram.emplace();
    get_bytes(*vram, "allocated_bytes", use.allocated);
    get_bytes(*vram, "reserved_bytes", use.reserved);
    get_bytes(*vram, "peak_bytes", use.peak);
    get_bytes(*vram, "device_used_bytes", use.device_used);
  }
}

void get(ObjectReader& in, EvaluationEvent& event) {
  in.require("step", "the number of complete steps");
  in.integer("step", event.step, kCount);
  get_exact(in, "loss", "loss_bits", event.loss);
  in.integer("trained_tokens", event.trained_tokens, kCount);
  in.number("duration_ms", event.duration_ms);
  in.boolean("best", event.best);
}

void get(ObjectReader& in, CheckpointEvent& event) {
  in.require("step", "the number of complete steps");
  in.integer("step", event.step, kCount);
  in.word("reason", event.reason);
  in.text("path", event.path, kLongText);
  in.text("manifest_sha256", event.manifest_sha256, kLongText);
  get_bytes(in, "bytes", event.size);
  in.integer("stall_us", event.stall_us, kCount);
  in.number("copy_ms", event.copy_ms);
  in.number("write_ms", event.write_ms);
  in.text("skipped", event.skipped, kLongText);
}

void get(ObjectReader& in, ResumeEvent& event) {
  in.require("step", "the checkpoint's step");
  in.integer("step", event.step, kCount);
  in.text("path", event.path, kLongText);
  in.require("class", list_words<ResumeClass>());
  in.word("class", event.resume_class);
  in.texts("reasons", event.reasons, kMaxListed, kLongText);
  in.integer("replay_steps", event.replay_steps, kCount);
  for (ObjectReader& entry : in.objects("rejected", kMaxListed)) {
    RejectedCheckpoint rejected;
    entry.text("path", rejected.path, kLongText);
    entry.text("rung", rejected.rung, kLongText);
    entry.text("reason", rejected.reason, kLongText);
    event.rejected.push_back(std::move(rejected));
  }
}

void get(ObjectReader& in, WarningEvent& event) {
  in.require("kind", "the kind of warning");
  in.text("kind", event.kind, kLongText);
  in.text("message", event.message, kLongText);
  in.integer("step", event.step, kCount);
}

void get(ObjectReader& in, ExitRecord& record) { get_exit_record(in, record); }

void get_header(ObjectReader& in, EventHeader& header) {
  std::int64_t seq = 0;
  in.require("seq", "the event's number");
  if (in.integer("seq", seq, kCount)) header.seq = static_cast<std::uint64_t>(seq);
  std::int64_t time_ms = 0;
  in.require("time_ms", "milliseconds since 1970");
  if (in.integer("time_ms", time_ms)) header.time = UnixMillis(time_ms);
  std::string id;
  in.require("job_id", "the job's id");
  if (in.id("job_id", id)) header.job_id = JobId(id);
  in.integer("attempt_no", header.attempt_no, kCount);
  in.integer("epoch", header.epoch, kCount);
}

template <class Body>
bool decode_as(std::string_view name, std::string_view type, ObjectReader& in, EventBody& body) {
  if (name != type) return false;
  Body decoded;
  get(in, decoded);
  body = std::move(decoded);
  return true;
}

bool get_body(std::string_view type, ObjectReader& in, EventBody& body) {
  return decode_as<StageEvent>("stage", type, in, body) ||
         decode_as<StepEvent>("step", type, in, body) ||
         decode_as<EvaluationEvent>("evaluation", type, in, body) ||
         decode_as<CheckpointEvent>("checkpoint", type, in, body) ||
         decode_as<ResumeEvent>("resume", type, in, body) ||
         decode_as<WarningEvent>("warning", type, in, body) ||
         decode_as<ExitRecord>("exit", type, in, body);
}

}  // namespace

Result<Event> decode_event(std::string_view line) {
  FindingList findings;
  const auto document = Document::parse(line, kEventLimits, findings);
  if (!document) return findings_error("The event", findings.take());
  Event event;
  {
    ObjectReader in = document->root(findings, UnknownKeys::kTolerate);
    std::string schema;
    std::string type;
    in.require("schema", "\"event/1\"");
    in.require("type", "the event's type");
    in.text("schema", schema);
    in.text("type", type);
    if (!findings.empty()) return findings_error("The event", findings.take());
    if (schema != kEventSchema) {
      return Error{Code::kUnsupported,
                   "The event has the schema \"" + schema + "\"; this build reads \"event/1\"."};
    }
    get_header(in, event.header);
    if (!get_body(type, in, event.body)) {
      return Error{Code::kUnsupported, "The event has the unknown type \"" + type + "\"."};
    }
  }
  if (!findings.empty()) return findings_error("The event", findings.take());
  return event;
}

}  // namespace ratchet
