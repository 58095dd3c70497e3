#include "controlplane/store/row_codec.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace ratchet::control {

using nlohmann::json;

namespace {

// Each struct lists its members once, in fields(); Writer and Reader walk the list.
template <class E>
concept Worded = std::is_enum_v<E> && !std::is_same_v<E, StageState>;

template <class T>
concept Record = std::is_class_v<T> && std::is_aggregate_v<T>;

template <Record T>
json put(const T& value);
template <Record T>
void get(const json& from, T& value);

json put(const std::string& value) { return value; }
json put(bool value) { return value; }
json put(std::int64_t value) { return value; }
json put(double value) { return value; }
json put(Bytes value) { return value.count(); }
json put(UnixMillis value) { return value.count(); }
template <class Tag>
json put(const Id<Tag>& value) {
  return value.str();
}
template <Worded E>
json put(E value) {
  return to_word(value);
}
// By number: the words are the core's, and this library links proto only.
static_assert(static_cast<int>(StageState::kFailed) == 3);
json put(StageState value) { return static_cast<int>(value); }
json put(const EvidenceValue& value) {
  return std::visit([](const auto& held) { return json(held); }, value);
}
json put(const std::map<EndCause, std::int64_t>& ends) {
  json out = json::object();
  for (const auto& [cause, count] : ends) out[std::string(to_word(cause))] = count;
  return out;
}
template <class T>
json put(const std::map<std::string, T>& values) {
  json out = json::object();
  for (const auto& [key, value] : values) out[key] = put(value);
  return out;
}
template <class T>
json put(const std::vector<T>& values) {
  json out = json::array();
  for (const auto& value : values) out.push_back(put(value));
  return out;
}
template <class T, std::size_t N>
json put(const std::array<T, N>& values) {
  json out = json::array();
  for (const auto& value : values) out.push_back(put(value));
  return out;
}
template <class T>
  requires(std::is_same_v<T, std::string> || std::is_same_v<T, bool> ||
           std::is_same_v<T, std::int64_t>)
void get(const json& from, T& value) {
  value = from.get<T>();
}
void get(const json& from, double& value) {  // JSON has no NaN: it was written as null
  value = from.is_null() ? std::numeric_limits<double>::quiet_NaN() : from.get<double>();
}
void get(const json& from, Bytes& value) { value = Bytes(from.get<std::int64_t>()); }
void get(const json& from, UnixMillis& value) { value = UnixMillis(from.get<std::int64_t>()); }
template <class Tag>
void get(const json& from, Id<Tag>& value) {
  value = Id<Tag>(from.get<std::string>());
}
template <Worded E>
void get(const json& from, E& value) {
  const auto word = from.get<std::string>();
  const auto known = from_word<E>(word);
  if (!known) throw std::runtime_error("unknown word \"" + word + "\"");
  value = *known;
}
void get(const json& from, StageState& value) {
  const int number = from.get<int>();
  if (number < 0 || number > 3) throw std::runtime_error("unknown stage state");
  value = static_cast<StageState>(number);
}
void get(const json& from, EvidenceValue& value) {
  if (from.is_boolean())
    value = from.get<bool>();
  else if (from.is_number_float())
    value = from.get<double>();
  else if (from.is_number_integer())
    value = from.get<std::int64_t>();
  else if (from.is_null())
    value = std::numeric_limits<double>::quiet_NaN();
  else if (from.is_array())
    value = from.get<std::vector<std::string>>();
  else
    value = from.get<std::string>();
}
void get(const json& from, std::map<EndCause, std::int64_t>& ends) {
  for (const auto& [word, count] : from.items()) {
    const auto cause = from_word<EndCause>(word);
    if (!cause) throw std::runtime_error("unknown cause \"" + word + "\"");
    ends[*cause] = count.get<std::int64_t>();
  }
}
template <class T>
void get(const json& from, std::map<std::string, T>& values) {
  for (const auto& [key, value] : from.items()) get(value, values[key]);
}
template <class T>
void get(const json& from, std::vector<T>& values) {
  values.clear();
  for (const json& value : from) get(value, values.emplace_back());
}
template <class T, std::size_t N>
void get(const json& from, std::array<T, N>& values) {
  for (std::size_t i = 0; i < N && i < from.size(); ++i) get(from[i], values[i]);
}
class Writer {
 public:
  template <class T>
  void operator()(const char* key, const T& value) {
    out_[key] = put(value);
  }
  template <class T>
  void operator()(const char* key, const std::optional<T>& value) {
    if (value) out_[key] = put(*value);
  }
  json out_ = json::object();
};

class Reader {
 public:
  explicit Reader(const json& from) : from_(from) {
    if (!from.is_object()) throw std::runtime_error("no object");
  }
  template <class T>
  void operator()(const char* key, T& value) {
    if (const auto found = from_.find(key); found != from_.end()) get(*found, value);
  }
  template <class T>
  void operator()(const char* key, std::optional<T>& value) {
    if (const auto found = from_.find(key); found != from_.end()) get(*found, value.emplace());
  }

 private:
  const json& from_;
};

template <class A>
void fields(A& a, Requirements& r) {
  a("kind", r.kind);
  a("count", r.count);
  a("gpu_type", r.gpu_type);
  a("gpu_memory", r.gpu_memory);
  a("price", r.price);
}
template <class A>
void fields(A& a, Head& r) {
  a("step", r.step);
  a("manifest_sha256", r.manifest_sha256);
  a("artifact_id", r.artifact_id);
}
template <class A>
void fields(A& a, Failure& r) {
  a("error_type", r.error_type);
  a("message", r.message);
  a("next_step", r.next_step);
  a("step", r.step);
  a("stage", r.stage);
  a("time", r.time);
  a("evidence", r.evidence);
}
template <class A>
void fields(A& a, Ledger& r) {
  a("ends", r.ends);
  a("without_progress", r.without_progress);
  a("exogenous_without_progress", r.exogenous_without_progress);
  a("backoff_index", r.backoff_index);
}
template <class A>
void fields(A& a, InputRef& r) {
  a("artifact_id", r.artifact_id);
  a("node_path", r.node_path);
}
template <class A>
void fields(A& a, JobInputs& r) {
  a("base_model", r.base_model);
  a("train", r.train);
  a("validation", r.validation);
  a("chat_template", r.chat_template);
  a("init_adapter", r.init_adapter);
}
template <class A>
void fields(A& a, JobRow& r) {
  a("id", r.id);
  a("run_id", r.run_id);
  a("parent", r.parent);
  a("tenant", r.tenant);
  a("created_by", r.created_by);
  a("name", r.name);
  a("needs", r.needs);
  a("priority", r.priority);
  a("starts_at", r.starts_at);
  a("phase", r.phase);
  a("epoch", r.epoch);
  a("attempts", r.attempts);
  a("event_seq", r.event_seq);
  a("head", r.head);
  a("step", r.step);
  a("total_steps", r.total_steps);
  a("stage", r.stage);
  a("ledger", r.ledger);
  a("backoff_until", r.backoff_until);
  a("avoid_nodes", r.avoid_nodes);
  a("failure", r.failure);
  a("result_artifact", r.result_artifact);
  a("created_at", r.created_at);
  a("updated_at", r.updated_at);
  a("started_at", r.started_at);
  a("ended_at", r.ended_at);
}
template <class A>
void fields(A& a, ExitRecord& r) {
  a("kind", r.kind);
  a("message", r.message);
  a("evidence", r.evidence);
  a("step", r.step);
  a("stage", r.stage);
  a("resumable", r.resumable);
}
template <class A>
void fields(A& a, AttemptExit& r) {
  a("cause", r.cause);
  a("record", r.record);
  a("result_artifact", r.result_artifact);
}
template <class A>
void fields(A& a, AttemptRow& r) {
  a("job_id", r.job_id);
  a("attempt_no", r.attempt_no);
  a("epoch", r.epoch);
  a("node_id", r.node_id);
  a("state", r.state);
  a("cause", r.cause);
  a("end_message", r.end_message);
  a("exit", r.exit);
  a("resume", r.resume);
  a("step", r.step);
  a("replayed_steps", r.replayed_steps);
  a("usd_per_hour", r.usd_per_hour);
  a("offered_at", r.offered_at);
  a("accepted_at", r.accepted_at);
  a("first_step_at", r.first_step_at);
  a("ended_at", r.ended_at);
}
template <class A>
void fields(A& a, GpuFacts& r) {
  a("uuid", r.uuid);
  a("name", r.name);
  a("memory_total", r.memory_total);
  a("memory_used", r.memory_used);
  a("xids", r.xids);
}
template <class A>
void fields(A& a, PreflightFacts& r) {
  a("done", r.done);
  a("passed", r.passed);
  a("kernel_ms", r.kernel_ms);
  a("message", r.message);
}
template <class A>
void fields(A& a, NodeFacts& r) {
  a("name", r.name);
  a("provider", r.provider);
  a("price", r.price);
  a("usd_per_hour", r.usd_per_hour);
  a("gpus", r.gpus);
  a("slots", r.slots);
  a("cpu_cores", r.cpu_cores);
  a("memory_total", r.memory_total);
  a("disk_free", r.disk_free);
  a("cache_used", r.cache_used);
  a("disk_full", r.disk_full);
  a("preflight", r.preflight);
  a("agent_version", r.agent_version);
  a("trainer_version", r.trainer_version);
}
template <class A>
void fields(A& a, ReclaimNotice& r) {
  a("source", r.source);
  a("kind", r.kind);
  a("action", r.action);
  a("event_id", r.event_id);
  std::int64_t lead = r.lead.count();
  a("lead_ms", lead);
  r.lead = Millis(lead);
}
template <class A>
void fields(A& a, NodeRow& r) {
  a("id", r.id);
  a("tenant", r.tenant);
  a("incarnation", r.incarnation);
  a("intent", r.intent);
  a("facts", r.facts);
  a("provider", r.provider);
  a("schedulable", r.schedulable);
  a("schedulable_reason", r.schedulable_reason);
  a("notice", r.notice);
  a("created_at", r.created_at);
  a("last_seen", r.last_seen);
  a("gone_at", r.gone_at);
  a("gone_proof", r.gone_proof);
}
template <class A>
void fields(A& a, CheckpointRow& r) {
  a("job_id", r.job_id);
  a("step", r.step);
  a("epoch", r.epoch);
  a("attempt_no", r.attempt_no);
  a("manifest_sha256", r.manifest_sha256);
  a("parent_manifest_sha256", r.parent_manifest_sha256);
  a("artifact_id", r.artifact_id);
  a("size", r.size);
  a("state", r.state);
  a("saved_at", r.saved_at);
  a("retired_at", r.retired_at);
}
template <class A>
void fields(A& a, IntentRow& r) {
  a("key", r.key);
  a("provider", r.provider);
  a("job_id", r.job_id);
  a("state", r.state);
  a("node_id", r.node_id);
  a("message", r.message);
  a("created_at", r.created_at);
  a("updated_at", r.updated_at);
}
template <class A>
void fields(A& a, StageRow& r) {
  a("state", r.state);
  a("began", r.began);
  a("ended", r.ended);
}
template <class A>
void fields(A& a, InterruptionRow& r) {
  a("job_id", r.job_id);
  a("number", r.number);
  a("cause", r.cause);
  a("source", r.source);
  a("reason", r.reason);
  a("attempt_no", r.attempt_no);
  a("interrupted_step", r.interrupted_step);
  a("interrupted_at", r.interrupted_at);
  a("resumed_attempt_no", r.resumed_attempt_no);
  a("resumed_step", r.resumed_step);
  a("resumed_at", r.resumed_at);
  a("replayed_steps", r.replayed_steps);
  a("stages", r.stages);
}

template <Record T>
json put(const T& value) {
  Writer writer;
  T copy = value;  // fields() takes what a Reader may change
  fields(writer, copy);
  return std::move(writer.out_);
}

template <Record T>
void get(const json& from, T& value) {
  Reader reader(from);
  fields(reader, value);
}

template <class T>
std::string encode_doc(const T& row) {
  // What an agent reported may hold any bytes.
  return put(row).dump(-1, ' ', false, json::error_handler_t::replace);
}

template <class T>
Status decode_doc(std::string_view doc, T& row) {
  try {
    get(json::parse(doc), row);
    return ok();
  } catch (const std::exception& fault) {
    return Error{Code::kCorrupt, "A row of the database cannot be read (" +
                                     std::string(fault.what()) +
                                     "). Restore the state folder from a backup."};
  }
}

}  // namespace

std::string encode_row(const JobRow& row) { return encode_doc(row); }
std::string encode_row(const AttemptRow& row) { return encode_doc(row); }
std::string encode_row(const NodeRow& row) { return encode_doc(row); }
std::string encode_row(const CheckpointRow& row) { return encode_doc(row); }
std::string encode_row(const IntentRow& row) { return encode_doc(row); }
std::string encode_row(const InterruptionRow& row) { return encode_doc(row); }
std::string encode_inputs(const JobInputs& inputs) { return encode_doc(inputs); }

Status decode_row(std::string_view doc, JobRow& row) { return decode_doc(doc, row); }
Status decode_row(std::string_view doc, AttemptRow& row) { return decode_doc(doc, row); }
Status decode_row(std::string_view doc, NodeRow& row) { return decode_doc(doc, row); }
Status decode_row(std::string_view doc, CheckpointRow& row) { return decode_doc(doc, row); }
Status decode_row(std::string_view doc, IntentRow& row) { return decode_doc(doc, row); }
Status decode_row(std::string_view doc, InterruptionRow& row) { return decode_doc(doc, row); }
Status decode_inputs(std::string_view doc, JobInputs& inputs) { return decode_doc(doc, inputs); }

std::vector<std::string> spec_tags(std::string_view spec_json) {
  std::vector<std::string> tags;
  const json spec = json::parse(spec_json, nullptr, false);
  if (!spec.is_object()) return tags;
  const auto found = spec.find("tags");
  if (found == spec.end() || !found->is_array()) return tags;
  for (const json& tag : *found) {
    if (tag.is_string()) tags.push_back(tag.get<std::string>());
  }
  return tags;
}

}  // namespace ratchet::control
