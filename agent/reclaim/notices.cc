#include "agent/reclaim/notices.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <nlohmann/json.hpp>

#include "agent/daemon/files.h"
#include "proto/document.h"

namespace ratchet::agent {
namespace {

constexpr std::size_t kMaxEvents = 100;
constexpr TextRule kText{.max_length = 1024, .kind = TextKind::kAny};
// The longest leads that are documented.
constexpr Millis kAwsSpotLead{120000};
constexpr Millis kGcpLead{30000};
constexpr Millis kAzurePreemptLead{120000};  // at least 30 s; longer than this was never seen
constexpr Millis kAzureLead{15 * 60 * 1000};
constexpr Millis kMaintenanceLead{90LL * 24 * 3600 * 1000};
constexpr Millis kUnknown{-1};

Millis lead_until(std::string_view when, UnixMillis now, Millis most) {
  const auto time = parse_cloud_time(when);
  if (!time) return kUnknown;
  return std::clamp(Millis{(*time - now).count()}, Millis{0}, most);
}

// Hashes what has no id of its own.
std::string id_of(std::string_view payload) { return sha256_text(payload).substr(0, 32); }

bool number_at(std::string_view text, std::size_t at, std::size_t digits, int& out) {
  if (at + digits > text.size()) return false;
  out = 0;
  for (std::size_t i = at; i < at + digits; ++i) {
    if (text[i] < '0' || text[i] > '9') return false;
    out = out * 10 + (text[i] - '0');
  }
  return true;
}

std::optional<UnixMillis> to_unix(int year, int month, int day, int hour, int minute, int second) {
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok() || hour > 23 || minute > 59 || second > 60) return std::nullopt;
  const auto time = std::chrono::sys_days(date) + std::chrono::hours(hour) +
                    std::chrono::minutes(minute) + std::chrono::seconds(second);
  return std::chrono::duration_cast<UnixMillis>(time.time_since_epoch());
}

// "2017-09-18T08:22:00Z"
std::optional<UnixMillis> parse_iso(std::string_view text) {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  const bool fits = text.size() >= 20 && number_at(text, 0, 4, year) && text[4] == '-' &&
                    number_at(text, 5, 2, month) && text[7] == '-' && number_at(text, 8, 2, day) &&
                    text[10] == 'T' && number_at(text, 11, 2, hour) && text[13] == ':' &&
                    number_at(text, 14, 2, minute) && text[16] == ':' &&
                    number_at(text, 17, 2, second) && text.back() == 'Z';
  return fits ? to_unix(year, month, day, hour, minute, second) : std::nullopt;
}

// "21 Jan 2019 09:00:43 GMT", the day in one or two digits.
std::optional<UnixMillis> parse_http_like(std::string_view text) {
  static constexpr std::array<std::string_view, 12> kMonths{
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  int day = 0, year = 0, hour = 0, minute = 0, second = 0;
  const std::size_t digits = text.find(' ');
  if (digits != 1 && digits != 2) return std::nullopt;
  if (!number_at(text, 0, digits, day)) return std::nullopt;
  text.remove_prefix(digits);
  const auto month = std::find(kMonths.begin(), kMonths.end(), text.substr(1, 3));
  const bool fits = text.size() == 22 && month != kMonths.end() && text[4] == ' ' &&
                    number_at(text, 5, 4, year) && text[9] == ' ' && number_at(text, 10, 2, hour) &&
                    text[12] == ':' && number_at(text, 13, 2, minute) && text[15] == ':' &&
                    number_at(text, 16, 2, second) && text.substr(18) == " GMT";
  if (!fits) return std::nullopt;
  return to_unix(year, static_cast<int>(month - kMonths.begin()) + 1, day, hour, minute, second);
}

Error no_notice(std::string_view what, FindingList& findings) {
  return findings_error(what, findings.take());
}

NoticeKind azure_kind(std::string_view type) {
  if (type == "Preempt" || type == "Terminate" || type == "Redeploy") return NoticeKind::kReclaim;
  return type == "Freeze" ? NoticeKind::kFreeze : NoticeKind::kMaintenance;
}

}  // namespace

std::optional<UnixMillis> parse_cloud_time(std::string_view text) {
  if (text.size() > 4 && text[3] == ',') text.remove_prefix(5 <= text.size() ? 5 : text.size());
  return text.find('T') == 10 ? parse_iso(text) : parse_http_like(text);
}

Result<ReclaimNotice> parse_aws_action(std::string_view body, UnixMillis now) {
  FindingList findings;
  ReclaimNotice notice{"aws", NoticeKind::kReclaim, "", id_of(body), kUnknown};
  if (const auto document = Document::parse(body, {.max_bytes = kMaxMetadataBytes}, findings)) {
    ObjectReader root = document->root(findings, UnknownKeys::kTolerate);
    std::string time;
    root.require("action", "what happens to the instance");
    root.text("action", notice.action, kText);
    root.text("time", time, kText);
    notice.lead = lead_until(time, now, kAwsSpotLead);
    // Hibernation begins at once.
    if (notice.action == "hibernate") notice.lead = Millis{0};
  }
  if (!findings.empty()) return no_notice("The instance-action of the metadata service", findings);
  return notice;
}

Result<ReclaimNotice> parse_aws_rebalance(std::string_view body) {
  FindingList findings;
  ReclaimNotice notice{"aws", NoticeKind::kRebalance, "rebalance", id_of(body), kUnknown};
  if (const auto document = Document::parse(body, {.max_bytes = kMaxMetadataBytes}, findings)) {
    ObjectReader root = document->root(findings, UnknownKeys::kTolerate);
    std::string time;
    root.require("noticeTime", "when it was said");
    root.text("noticeTime", time, kText);
  }
  if (!findings.empty()) return no_notice("The rebalance recommendation", findings);
  return notice;
}

Result<std::vector<ReclaimNotice>> parse_aws_maintenance(std::string_view body, UnixMillis now) {
  if (body.size() > kMaxMetadataBytes) {
    return Error{Code::kCorrupt, "The list of scheduled events is too long."};
  }
  FindingList findings;
  std::vector<ReclaimNotice> notices;
  const std::string wrapped = "{\"events\":" + std::string(body) + "}";
  if (const auto document =
          Document::parse(wrapped, {.max_bytes = kMaxMetadataBytes + 64}, findings)) {
    ObjectReader root = document->root(findings, UnknownKeys::kTolerate);
    for (ObjectReader& event : root.objects("events", kMaxEvents)) {
      ReclaimNotice notice{"aws", NoticeKind::kMaintenance, "", "", kUnknown};
      std::string state;
      std::string not_before;
      event.require("EventId", "the event's id");
      event.text("EventId", notice.event_id, kText);
      event.text("Code", notice.action, kText);
      event.text("State", state, kText);
      event.text("NotBefore", not_before, kText);
      notice.lead = lead_until(not_before, now, kMaintenanceLead);
      if (state.empty() || state == "active") notices.push_back(std::move(notice));
    }
  }
  if (!findings.empty()) return no_notice("The list of scheduled events", findings);
  return notices;
}

Result<std::optional<ReclaimNotice>> parse_gcp_preempted(std::string_view body) {
  while (!body.empty() && (body.back() == '\n' || body.back() == '\r')) body.remove_suffix(1);
  if (body == "FALSE") return std::optional<ReclaimNotice>();
  if (body == "TRUE") {
    return std::optional(
        ReclaimNotice{"gcp", NoticeKind::kReclaim, "preempt", "preempted", kGcpLead});
  }
  return Error{Code::kCorrupt, "The metadata service answered neither TRUE nor FALSE: '" +
                                   clip_text(body, 100) + "'."};
}

Result<AzureEvents> parse_azure_events(std::string_view body, std::string_view own_name,
                                       UnixMillis now) {
  FindingList findings;
  AzureEvents out;
  if (const auto document = Document::parse(body, {.max_bytes = kMaxMetadataBytes}, findings)) {
    ObjectReader root = document->root(findings, UnknownKeys::kTolerate);
    root.require("Events", "the list of events");
    root.integer("DocumentIncarnation", out.incarnation);
    for (ObjectReader& event : root.objects("Events", kMaxEvents)) {
      ReclaimNotice notice{"azure", NoticeKind::kMaintenance, "", "", kUnknown};
      std::string type;
      std::string not_before;
      std::vector<std::string> resources;
      event.require("EventId", "the event's id");
      event.text("EventId", notice.event_id, kText);
      event.text("EventType", type, kText);
      event.text("NotBefore", not_before, kText);
      event.texts("Resources", resources, 10000, kText);
      notice.kind = azure_kind(type);
      notice.action = type;
      notice.lead = lead_until(not_before, now, type == "Preempt" ? kAzurePreemptLead : kAzureLead);
      const bool ours = std::find(resources.begin(), resources.end(), own_name) != resources.end();
      if (ours) out.notices.push_back(std::move(notice));
    }
  }
  if (!findings.empty()) return no_notice("The scheduled events", findings);
  return out;
}

std::string azure_start_request(std::string_view event_id) {
  const nlohmann::json object = {{"StartRequests", {{{"EventId", std::string(event_id)}}}}};
  return object.dump();
}

}  // namespace ratchet::agent
