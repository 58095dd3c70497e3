#pragma once

// What a webhook's body says about an event. Pure.
//
//   {"type": "job.succeeded", "timestamp": "2026-11-21T12:00:00.123Z", "data": {"job_id": ..,
//    "job_seq": .., "attempt_no": .., "epoch": .., "step": .., "cause": .., "occurred_at": ..,
//    ...further fields of the type}}

#include <optional>
#include <string>
#include <string_view>

#include "controlplane/store/records.h"
#include "proto/result.h"
#include "proto/units.h"

namespace ratchet::control {

constexpr std::size_t kMaxWebhookBody = 20'000;  // Standard Webhooks

struct WebhookBody {
  std::string content_type;
  std::string text;
};

// `format` is that of WebhookRow: "standard", "cloudevents" (CloudEvents 1.0.2, structured) or
// "openai" (fine_tuning.job.*, thin; nothing for events that OpenAI does not have). Fields of the
// type are left out, largest first, until the body fits; data.truncated then is true.
Result<std::optional<WebhookBody>> webhook_body(const EventRecord& event, std::string_view format);

// Whether a text may stand in WebhookRow::types: "job.failed", "job.*", "*".
bool is_event_pattern(std::string_view pattern);

std::string rfc3339(UnixMillis time);

}  // namespace ratchet::control
