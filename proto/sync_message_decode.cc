// Sync messages from JSON: bounded, every known field checked, unknown fields tolerated.

#include <nlohmann/json.hpp>

#include "proto/document.h"
#include "proto/events.h"
#include "proto/exit_record_json.h"
#include "proto/sync_message.h"

namespace ratchet {

using nlohmann::json;

namespace {

constexpr DocumentLimits kSyncLimits{.max_bytes = kMaxSyncBytes, .max_depth = 12};
constexpr IntegerRange kFromOne{1, std::numeric_limits<std::int64_t>::max()};
constexpr TextRule kFreeText{.max_length = 16'384, .kind = TextKind::kAny};
constexpr TextRule kShortText{.max_length = 512, .kind = TextKind::kAny};
constexpr TextRule kSpecText{.max_length = 1 << 20, .kind = TextKind::kAny};
constexpr TextRule kLineText{.max_length = kMaxEventBytes, .kind = TextKind::kAny};
constexpr NumberRange kNotNegative{.min = 0};

// Leaf values -------------------------------------------------------------------------------------

void get_millis(ObjectReader& in, std::string_view key, Millis& out, std::int64_t least = 0) {
  std::int64_t count = 0;
  if (in.integer(key, count, {least, kMaxSyncMillis.count()})) out = Millis(count);
}

void get_seq(ObjectReader& in, std::string_view key, std::uint64_t& out) {
  std::int64_t count = 0;
  if (in.integer(key, count, kCount)) out = static_cast<std::uint64_t>(count);
}

void need_id(ObjectReader& in, std::string_view key, std::string& out) {
  in.require(key, "an id");
  in.id(key, out);
}

template <class IdType>
void need_id(ObjectReader& in, std::string_view key, IdType& out) {
  std::string text;
  need_id(in, key, text);
  out = IdType(std::move(text));
}

// An id, or an empty text where there is none yet.
void get_id(ObjectReader& in, std::string_view key, std::string& out) {
  std::string text;
  if (in.text(key, text) && !text.empty()) in.id(key, out);
}

// The attempt that something belongs to.
void get_epoch(ObjectReader& in, std::int64_t& epoch) {
  in.require("epoch", "the attempt's epoch");
  in.integer("epoch", epoch, kCount);
}

void get_attempt_no(ObjectReader& in, std::int64_t& attempt_no) {
  in.require("attempt_no", "the attempt's number");
  in.integer("attempt_no", attempt_no, kFromOne);
}

bool is_digest(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  return text.size() == 64 && text.find_first_not_of(kHex) == std::string_view::npos;
}

void get_digest(ObjectReader& in, std::string_view key, std::string& out) {
  std::string text;
  if (!in.text(key, text)) return;
  if (!text.empty() && !is_digest(text)) {
    in.add_finding(key, "must be a SHA-256: 64 lower-case hex digits, or empty.");
    return;
  }
  out = std::move(text);
}

// A word of a newer peer that this build does not know reads as `fallback`.
template <class E>
void get_lenient_word(ObjectReader& in, std::string_view key, E& out, E fallback) {
  std::string text;
  if (in.text(key, text, kShortText)) out = from_word<E>(text).value_or(fallback);
}

// Parts -------------------------------------------------------------------------------------------

void get(ObjectReader& in, GpuFacts& gpu) {
  in.text("uuid", gpu.uuid, kShortText);
  in.text("name", gpu.name, kShortText);
  get_bytes(in, "memory_total_bytes", gpu.memory_total);
  get_bytes(in, "memory_used_bytes", gpu.memory_used);
  const json* xids = in.raw("xids");
  if (!xids) return;
  bool good = xids->is_array() && xids->size() <= kMaxGpuXids;
  for (std::size_t i = 0; good && i < xids->size(); ++i) {
    const json& xid = (*xids)[i];
    good = xid.is_number_unsigned() && xid.get<std::uint64_t>() <= 0xFFFFFFFF;
    if (good) gpu.xids.push_back(static_cast<std::int64_t>(xid.get<std::uint64_t>()));
  }
  if (!good) in.add_finding("xids", "must be an array of at most 256 Xid numbers.");
}

void get(ObjectReader& in, NodeFacts& facts) {
  in.text("name", facts.name, kShortText);
  in.text("provider", facts.provider, kShortText);
  in.word("price", facts.price);
  in.number("usd_per_hour", facts.usd_per_hour, {.min = 0, .max = 1e6});
  for (ObjectReader& entry : in.objects("gpus", kMaxNodeGpus))
    get(entry, facts.gpus.emplace_back());
  in.integer("slots", facts.slots, {0, std::int64_t{kMaxNodeGpus}});
  in.integer("cpu_cores", facts.cpu_cores, kCount);
  get_bytes(in, "memory_total_bytes", facts.memory_total);
  get_bytes(in, "disk_free_bytes", facts.disk_free);
  get_bytes(in, "cache_used_bytes", facts.cache_used);
  in.boolean("disk_full", facts.disk_full);
  if (auto preflight = in.object("preflight")) {
    preflight->boolean("done", facts.preflight.done);
    preflight->boolean("passed", facts.preflight.passed);
    preflight->number("kernel_ms", facts.preflight.kernel_ms, kNotNegative);
    preflight->text("message", facts.preflight.message, kFreeText);
  }
  in.text("agent_version", facts.agent_version, kShortText);
  in.text("trainer_version", facts.trainer_version, kShortText);
}

void get(ObjectReader& in, SealedCheckpoint& sealed) {
  in.require("step", "the checkpoint's step");
  in.integer("step", sealed.step, kCount);
  in.require("manifest_sha256", "the SHA-256 of its manifest");
  get_digest(in, "manifest_sha256", sealed.manifest_sha256);
  get_digest(in, "parent_manifest_sha256", sealed.parent_manifest_sha256);
  get_bytes(in, "bytes", sealed.size);
  get_id(in, "artifact_id", sealed.artifact_id);
}

void get(ObjectReader& in, AttemptExit& exit) {
  in.require("cause", list_words<EndCause>());
  get_lenient_word(in, "cause", exit.cause, EndCause::kUnknown);
  in.require("record", "the exit record");
  if (auto record = in.object("record")) get_exit_record(*record, exit.record);
  get_id(in, "result_artifact", exit.result_artifact);
}

void get(ObjectReader& in, AttemptReport& report) {
  need_id(in, "job_id", report.job_id);
  get_attempt_no(in, report.attempt_no);
  get_epoch(in, report.epoch);
  in.require("state", list_words<AttemptState>());
  in.word("state", report.state);
  in.text("stage", report.stage, kShortText);
  in.integer("step", report.step, kCount);
  in.integer("total_steps", report.total_steps, kCount);
  in.integer("resumed_from_step", report.resumed_from_step, {-1, kCount.max});
  in.integer("replayed_steps", report.replayed_steps, kCount);
  get_millis(in, "step_age_ms", report.step_age);
  for (ObjectReader& entry : in.objects("sealed", kMaxReportedSealed)) {
    get(entry, report.sealed.emplace_back());
  }
  if (auto exit = in.object("exit")) get(*exit, report.exit.emplace());
  if (report.exit.has_value() != (report.state == AttemptState::kEnded)) {
    in.add_finding("state", "must be ended when there is an \"exit\", and only then.");
  }
}

void get(ObjectReader& in, TrainerLine& line) {
  need_id(in, "job_id", line.job_id);
  get_attempt_no(in, line.attempt_no);
  get_epoch(in, line.epoch);
  in.require("seq", "the line's number");
  get_seq(in, "seq", line.seq);
  in.require("line", "the line");
  in.text("line", line.line, kLineText);
}

void get(ObjectReader& in, ReclaimNotice& notice) {
  in.text("source", notice.source, kShortText);
  in.require("kind", list_words<NoticeKind>());
  in.word("kind", notice.kind);
  in.text("action", notice.action, kShortText);
  in.text("event_id", notice.event_id, kShortText);
  get_millis(in, "lead_ms", notice.lead, -kMaxSyncMillis.count());
}

void get(ObjectReader& in, InputRef& input) {
  get_id(in, "artifact_id", input.artifact_id);
  in.text("node_path", input.node_path);
  if (input.artifact_id.empty() == input.node_path.empty()) {
    in.add_finding("artifact_id", "or \"node_path\" must be written, and only one of them.");
  }
}

void get_optional(ObjectReader& in, std::string_view key, std::optional<InputRef>& out) {
  if (auto input = in.object(key)) get(*input, out.emplace());
}

void get(ObjectReader& in, JobInputs& inputs) {
  in.require("base_model", "where the base model comes from");
  if (auto input = in.object("base_model")) get(*input, inputs.base_model);
  in.require("train", "where the training file comes from");
  if (auto input = in.object("train")) get(*input, inputs.train);
  get_optional(in, "validation", inputs.validation);
  get_optional(in, "chat_template", inputs.chat_template);
  get_optional(in, "init_adapter", inputs.init_adapter);
}

void get(ObjectReader& in, DesiredAttempt& desired) {
  need_id(in, "job_id", desired.job_id);
  need_id(in, "run_id", desired.run_id);
  get_attempt_no(in, desired.attempt_no);
  get_epoch(in, desired.epoch);
  get_lenient_word(in, "want", desired.want, Want::kRun);
  get_millis(in, "deadline_ms", desired.deadline);
  get_lenient_word(in, "stop_cause", desired.stop_cause, EndCause::kCancelled);
  in.require("job_spec", "the JobSpec as a text");
  in.text("job_spec", desired.job_spec, kSpecText);
  in.require("inputs", "where the job's inputs come from");
  if (auto inputs = in.object("inputs")) get(*inputs, desired.inputs);
  if (auto resume = in.object("resume")) {
    ResumeFrom& from = desired.resume.emplace();
    resume->require("step", "the checkpoint's step");
    resume->integer("step", from.step, kCount);
    get_digest(*resume, "manifest_sha256", from.manifest_sha256);
    need_id(*resume, "artifact_id", from.artifact_id);
  }
}

void get(ObjectReader& in, CheckpointVerdict& verdict) {
  need_id(in, "job_id", verdict.job_id);
  get_epoch(in, verdict.epoch);
  in.require("step", "the checkpoint's step");
  in.integer("step", verdict.step, kCount);
  get_digest(in, "manifest_sha256", verdict.manifest_sha256);
  in.require("verdict", list_words<PublishVerdict>());
  in.word("verdict", verdict.verdict);
  in.text("reason", verdict.reason, kFreeText);
}

void get(ObjectReader& in, LineCursor& cursor) {
  need_id(in, "job_id", cursor.job_id);
  get_attempt_no(in, cursor.attempt_no);
  get_seq(in, "seq", cursor.seq);
}

template <class T>
void get_list(ObjectReader& in, std::string_view key, std::vector<T>& out, std::size_t max_count) {
  for (ObjectReader& entry : in.objects(key, max_count)) get(entry, out.emplace_back());
}

void get_sender(ObjectReader& in, std::string& node_id, std::string& incarnation) {
  need_id(in, "node_id", node_id);
  need_id(in, "incarnation", incarnation);
}

void get_facts(ObjectReader& in, NodeFacts& facts) {
  in.require("facts", "the node's facts");
  if (auto object = in.object("facts")) get(*object, facts);
}

// Messages ----------------------------------------------------------------------------------------

void get(ObjectReader& in, HelloRequest& message) {
  get_id(in, "node_id", message.node_id);
  need_id(in, "incarnation", message.incarnation);
  get_id(in, "intent", message.intent);
  get_facts(in, message.facts);
  get_list(in, "attempts", message.attempts, kMaxNodeAttempts);
}

void get(ObjectReader& in, HelloResponse& message) {
  need_id(in, "node_id", message.node_id);
  in.text("node_token", message.node_token);
  need_id(in, "boot_id", message.boot_id);
  get_millis(in, "heartbeat_ms", message.heartbeat, 1);
  get_millis(in, "contact_ttl_ms", message.contact_ttl, 1);
  get_millis(in, "authority_ttl_ms", message.authority_ttl, 1);
  get_millis(in, "sync_wait_ms", message.sync_wait);
}

void get(ObjectReader& in, HeartbeatRequest& message) {
  get_sender(in, message.node_id, message.incarnation);
  get_seq(in, "seq", message.seq);
}

void get(ObjectReader& in, HeartbeatResponse& message) {
  need_id(in, "boot_id", message.boot_id);
  in.integer("desired_rev", message.desired_rev, kCount);
  get_millis(in, "contact_ttl_ms", message.contact_ttl);
  get_millis(in, "authority_ttl_ms", message.authority_ttl);
}

void get(ObjectReader& in, SyncRequest& message) {
  get_sender(in, message.node_id, message.incarnation);
  in.require("seq", "the request's number");
  get_seq(in, "seq", message.seq);
  get_id(in, "boot_id", message.boot_id);
  in.integer("desired_rev", message.desired_rev, kCount);
  get_millis(in, "wait_ms", message.wait);
  get_facts(in, message.facts);
  in.require("attempts", "every attempt of the node");
  get_list(in, "attempts", message.attempts, kMaxNodeAttempts);
  get_list(in, "lines", message.lines, kMaxSyncLines);
  if (auto notice = in.object("notice")) get(*notice, message.notice.emplace());
}

void get(ObjectReader& in, SyncResponse& message) {
  need_id(in, "boot_id", message.boot_id);
  in.require("desired_rev", "the revision of \"desired\"");
  in.integer("desired_rev", message.desired_rev, kCount);
  get_millis(in, "contact_ttl_ms", message.contact_ttl);
  get_millis(in, "authority_ttl_ms", message.authority_ttl);
  in.boolean("inventory_open", message.inventory_open);
  in.require("desired", "all that the node is to run");
  get_list(in, "desired", message.desired, kMaxNodeAttempts);
  get_list(in, "verdicts", message.verdicts, kMaxSyncVerdicts);
  get_list(in, "acked_lines", message.acked_lines, kMaxSyncVerdicts);
  get_list(in, "acked_ends", message.acked_ends, kMaxSyncVerdicts);
  get_lenient_word(in, "node_want", message.node_want, NodeWant::kKeep);
  get_millis(in, "node_deadline_ms", message.node_deadline);
  if (auto notice = in.object("simulate")) get(*notice, message.simulate.emplace());
}

void get(ObjectReader& in, NoticeRequest& message) {
  get_sender(in, message.node_id, message.incarnation);
  in.require("notice", "the notice");
  if (auto notice = in.object("notice")) get(*notice, message.notice);
}

// Whole messages name their schema; parts of them, which others store, need not.
enum class Schema { kRequired, kOptional };

// Parses a message of the schema sync/1; findings become one error that names `what`.
template <class T>
Result<T> decode(std::string_view what, std::string_view text, Schema rule = Schema::kRequired) {
  FindingList findings;
  const auto document = Document::parse(text, kSyncLimits, findings);
  if (!document) return findings_error(what, findings.take());
  T message;
  {
    ObjectReader in = document->root(findings, UnknownKeys::kTolerate);
    std::string schema(rule == Schema::kOptional ? kSyncSchema : "");
    if (rule == Schema::kRequired) in.require("schema", "\"sync/1\"");
    in.text("schema", schema, kShortText);
    if (!findings.empty()) return findings_error(what, findings.take());
    if (schema != kSyncSchema) {
      return Error{Code::kUnsupported,
                   std::string(what) + " has the schema \"" + clip_text(schema, 60) +
                       "\"; this build reads \"sync/1\". Install the same version on both sides."};
    }
    get(in, message);
  }
  if (!findings.empty()) return findings_error(what, findings.take());
  return message;
}

}  // namespace

Result<HelloRequest> decode_hello_request(std::string_view text) {
  return decode<HelloRequest>("The hello request", text);
}

Result<HelloResponse> decode_hello_response(std::string_view text) {
  return decode<HelloResponse>("The hello response", text);
}

Result<HeartbeatRequest> decode_heartbeat_request(std::string_view text) {
  return decode<HeartbeatRequest>("The heartbeat request", text);
}

Result<HeartbeatResponse> decode_heartbeat_response(std::string_view text) {
  return decode<HeartbeatResponse>("The heartbeat response", text);
}

Result<SyncRequest> decode_sync_request(std::string_view text) {
  return decode<SyncRequest>("The sync request", text);
}

Result<SyncResponse> decode_sync_response(std::string_view text) {
  return decode<SyncResponse>("The sync response", text);
}

Result<NoticeRequest> decode_notice_request(std::string_view text) {
  return decode<NoticeRequest>("The notice request", text);
}

Result<DesiredAttempt> decode_desired_attempt(std::string_view text) {
  return decode<DesiredAttempt>("The desired attempt", text, Schema::kOptional);
}

Result<JobInputs> decode_job_inputs(std::string_view text) {
  return decode<JobInputs>("The job's inputs", text, Schema::kOptional);
}

Result<AttemptReport> decode_attempt_report(std::string_view text) {
  return decode<AttemptReport>("The attempt's report", text, Schema::kOptional);
}

}  // namespace ratchet
