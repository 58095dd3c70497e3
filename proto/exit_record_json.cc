#include "proto/exit_record_json.h"

#include <cmath>

#include "proto/document.h"

namespace ratchet {

using nlohmann::json;

namespace {

constexpr std::size_t kMaxEvidenceItems = 1000;

std::optional<EvidenceValue> evidence_value(const json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_float()) return value.get<double>();
  if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    if (number > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) return std::nullopt;
    return static_cast<std::int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (value.is_null()) return std::numeric_limits<double>::quiet_NaN();
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array() || value.size() > kMaxEvidenceItems) return std::nullopt;
  std::vector<std::string> texts;
  for (const json& element : value) {
    if (!element.is_string()) return std::nullopt;
    texts.push_back(element.get<std::string>());
  }
  return texts;
}

}  // namespace

json evidence_json(const EvidenceValue& value, ExitRecordLimits limits) {
  if (const auto* text = std::get_if<std::string>(&value)) return clip_text(*text, limits.text);
  if (const auto* texts = std::get_if<std::vector<std::string>>(&value)) {
    json out = json::array();
    for (const std::string& text : *texts) {
      if (out.size() == limits.items) break;
      out.push_back(clip_text(text, limits.text));
    }
    return out;
  }
  if (const auto* number = std::get_if<double>(&value))
    return std::isfinite(*number) ? json(*number) : json(nullptr);
  if (const auto* flag = std::get_if<bool>(&value)) return *flag;
  return std::get<std::int64_t>(value);
}

void put_exit_record(json& out, const ExitRecord& record, ExitRecordLimits limits) {
  out["kind"] = to_word(record.kind);
  out["message"] = clip_text(record.message, limits.text);
  out["step"] = record.step;
  out["stage"] = clip_text(record.stage, limits.text);
  out["resumable"] = record.resumable;
  out["exit_code"] = exit_code(record.kind);
  json evidence = json::object();
  for (const auto& [key, value] : record.evidence) {
    if (evidence.size() == limits.items) break;
    evidence[clip_text(key, limits.text)] = evidence_json(value, limits);
  }
  out["evidence"] = std::move(evidence);
}

void get_exit_record(ObjectReader& in, ExitRecord& record) {
  in.require("kind", list_words<ExitKind>());
  in.word("kind", record.kind);
  in.text("message", record.message, kLongText);
  in.integer("step", record.step, kCount);
  in.text("stage", record.stage, kLongText);
  in.boolean("resumable", record.resumable);
  get_evidence(in, "evidence", record.evidence);
}

void get_evidence(ObjectReader& in, std::string_view name,
                  std::map<std::string, EvidenceValue>& out) {
  const json* evidence = in.raw(name);
  if (!evidence) return;
  if (!evidence->is_object()) {
    in.add_finding(name, "must be an object.");
    return;
  }
  for (const auto& [key, value] : evidence->items()) {
    if (auto decoded = evidence_value(value)) {
      out.emplace(key, *std::move(decoded));
    } else {
      in.add_finding(name, "must hold only texts, numbers, true, false and arrays of texts.");
    }
  }
}

}  // namespace ratchet
