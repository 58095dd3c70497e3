#include "controlplane/webhooks/payload.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "proto/document.h"

namespace ratchet::control {

using nlohmann::json;

namespace {

constexpr std::string_view kSource = "/ratchet";  // of CloudEvents

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json further_fields(const EventRow& row) {
  FindingList findings;
  const auto document = Document::parse(row.data_json, {.max_bytes = 256 * 1024}, findings);
  return document && document->value().is_object() ? document->value() : json::object();
}

void put_known(json& data, const EventRecord& event) {
  const EventRow& row = event.row;
  data["job_id"] = row.job_id.empty() ? json(nullptr) : json(row.job_id.str());
  data["job_seq"] = row.seq;
  data["attempt_no"] = row.attempt_no;
  data["epoch"] = row.epoch;
  data["step"] = row.step;
  data["cause"] = row.cause.empty() ? json(nullptr) : json(row.cause);
  data["occurred_at"] = rfc3339(row.time);
}

// Removes further fields, the largest first, until `make` gives a body that fits.
template <class Make>
std::optional<std::string> fit(const EventRecord& event, Make make) {
  json fields = further_fields(event.row);
  bool truncated = false;
  while (true) {
    json data = fields;
    put_known(data, event);
    if (truncated) data["truncated"] = true;
    std::string text = make(std::move(data));
    if (text.size() < kMaxWebhookBody) return text;
    if (fields.empty()) return std::nullopt;
    std::string largest;
    std::size_t most = 0;
    for (const auto& [key, value] : fields.items()) {
      const std::size_t size = key.size() + dump(value).size();
      if (size >= most) {
        most = size;
        largest = key;
      }
    }
    fields.erase(largest);
    truncated = true;
  }
}

Error too_large(const EventRecord& event) {
  return {Code::kInvalidArgument,
          "The event " + event.event_id + " does not fit into a webhook of 20 kB."};
}

struct OpenAiName {
  std::string_view ours;
  std::string_view theirs;
};
constexpr std::array<OpenAiName, 3> kOpenAiNames{{
    {"job.succeeded", "fine_tuning.job.succeeded"},
    {"job.failed", "fine_tuning.job.failed"},
    {"job.cancelled", "fine_tuning.job.cancelled"},
}};

std::optional<WebhookBody> openai_body(const EventRecord& event) {
  const auto name = std::ranges::find(kOpenAiNames, event.row.type, &OpenAiName::ours);
  if (name == kOpenAiNames.end()) return std::nullopt;
  const json out = {{"id", event.event_id},
                    {"object", "event"},
                    {"type", name->theirs},
                    {"created_at", event.row.time.count() / 1000},
                    {"data", {{"id", event.row.job_id.str()}}}};
  return WebhookBody{"application/json", dump(out)};
}

}  // namespace

std::string rfc3339(UnixMillis time) {
  const std::int64_t ms = time.count();
  const std::int64_t seconds = ms >= 0 ? ms / 1000 : (ms - 999) / 1000;
  const std::time_t whole = static_cast<std::time_t>(seconds);
  std::tm parts{};
  gmtime_r(&whole, &parts);
  std::array<char, 40> day{};
  std::strftime(day.data(), day.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  std::array<char, 48> out{};
  std::snprintf(out.data(), out.size(), "%s.%03dZ", day.data(),
                static_cast<int>(ms - seconds * 1000));
  return out.data();
}

Result<std::optional<WebhookBody>> webhook_body(const EventRecord& event, std::string_view format) {
  if (format == "openai") return openai_body(event);
  if (format == "cloudevents") {
    auto text = fit(event, [&](json data) {
      json out = {{"specversion", "1.0"},
                  {"id", event.event_id},
                  {"source", kSource},
                  {"type", event.row.type},
                  {"time", rfc3339(event.row.time)},
                  {"datacontenttype", "application/json"},
                  {"data", std::move(data)}};
      if (!event.row.job_id.empty()) out["subject"] = event.row.job_id.str();
      return dump(out);
    });
    if (!text) return too_large(event);
    return std::optional(WebhookBody{"application/cloudevents+json", *std::move(text)});
  }
  auto text = fit(event, [&](json data) {
    return dump({{"type", event.row.type},
                 {"timestamp", rfc3339(event.row.time)},
                 {"data", std::move(data)}});
  });
  if (!text) return too_large(event);
  return std::optional(WebhookBody{"application/json", *std::move(text)});
}

bool is_event_pattern(std::string_view pattern) {
  if (pattern == "*") return true;
  if (pattern.empty() || pattern.size() > 128) return false;
  if (pattern.ends_with(".*")) pattern.remove_suffix(2);
  bool after_dot = true;
  for (const char c : pattern) {
    const bool word =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    if (c == '.' ? after_dot : !word) return false;
    after_dot = c == '.';
  }
  return !after_dot;
}

}  // namespace ratchet::control
