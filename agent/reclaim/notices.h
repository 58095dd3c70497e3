#pragma once

// What metadata services say about the end of their machine, as one kind of notice. Pure functions
// of untrusted text: what does not fit the documented form is an error, never a notice.
//
// Sources: AWS EC2 user guide (instance-action, rebalance recommendation, scheduled events), Google
// Compute Engine (preempted), Azure Scheduled Events (api-version 2020-07-01).
//
// A deadline on the wire is wall clock. It becomes a lead at first sight and is bounded by what the
// cloud documents, so that a wrong clock on this machine can neither end a job early nor wait in
// vain.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "proto/sync_message.h"

namespace ratchet::agent {

constexpr std::size_t kMaxMetadataBytes = 256 * 1024;

// {"action":"terminate","time":"2017-09-18T08:22:00Z"}; stop and hibernate likewise.
Result<ReclaimNotice> parse_aws_action(std::string_view body, UnixMillis now);
// {"noticeTime":"2020-10-27T08:22:00Z"}
Result<ReclaimNotice> parse_aws_rebalance(std::string_view body);
// [{"NotBefore":"21 Jan 2019 09:00:43 GMT","Code":"system-reboot","EventId":"..","State":"active"}]
Result<std::vector<ReclaimNotice>> parse_aws_maintenance(std::string_view body, UnixMillis now);

// "TRUE" or "FALSE".
Result<std::optional<ReclaimNotice>> parse_gcp_preempted(std::string_view body);

struct AzureEvents {
  std::int64_t incarnation = 0;
  std::vector<ReclaimNotice> notices;  // of events that name this machine
};
// Events of other machines of the placement group are left out.
Result<AzureEvents> parse_azure_events(std::string_view body, std::string_view own_name,
                                       UnixMillis now);
// {"StartRequests":[{"EventId":".."}]}: go ahead now.
std::string azure_start_request(std::string_view event_id);

// "2017-09-18T08:22:00Z", "21 Jan 2019 09:00:43 GMT", "Mon, 11 Apr 2026 22:26:58 GMT".
std::optional<UnixMillis> parse_cloud_time(std::string_view text);

}  // namespace ratchet::agent
