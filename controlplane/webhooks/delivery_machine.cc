#include "controlplane/webhooks/delivery_machine.h"

#include <algorithm>

namespace ratchet::control {

namespace {

bool is_over(DeliveryState state) {
  return state == DeliveryState::kDelivered || state == DeliveryState::kDead;
}

UnixMillis later(UnixMillis now, Millis wait) { return now + UnixMillis(wait.count()); }

DeliveryStep take(const DeliveryRow& row, UnixMillis now, const DeliveryPolicy& policy) {
  DeliveryStep step{
      .row = row, .changed = false, .disable_endpoint = false, .pause_endpoint_to = {}};
  // For a row that is sending, next_at is the end of another's lease.
  if (is_over(row.state) || row.blocked || now < row.next_at) return step;
  step.changed = true;
  step.row.state = DeliveryState::kSending;
  ++step.row.tries;
  step.row.next_at = later(now, policy.lease);
  return step;
}

DeliveryStep end(const DeliveryRow& row, DeliveryState state, UnixMillis now) {
  DeliveryStep step{
      .row = row, .changed = true, .disable_endpoint = false, .pause_endpoint_to = {}};
  step.row.state = state;
  step.row.ended_at = now;
  return step;
}

// After a try that failed: when the next one is, or that there is none.
DeliveryStep retry(const DeliveryRow& row, std::optional<Millis> retry_after, UnixMillis now,
                   const DeliveryPolicy& policy, double chance) {
  const auto tries = static_cast<std::size_t>(std::max<std::int64_t>(row.tries, 1));
  if (tries >= policy.schedule.size()) return end(row, DeliveryState::kDead, now);
  const auto planned = static_cast<double>(policy.schedule[tries].count());
  Millis wait(static_cast<Millis::rep>(planned * (1 - policy.jitter * chance)));
  if (retry_after) wait = std::max(wait, std::min(*retry_after, policy.most_retry_after));
  const UnixMillis next = later(now, wait);
  if (next - row.created_at > UnixMillis(policy.max_age.count())) {
    return end(row, DeliveryState::kDead, now);
  }
  DeliveryStep step{
      .row = row, .changed = true, .disable_endpoint = false, .pause_endpoint_to = {}};
  step.row.state = DeliveryState::kWaiting;
  step.row.next_at = next;
  return step;
}

std::string status_sentence(int status) {
  std::string out = "The endpoint answered " + std::to_string(status);
  if (status >= 300 && status < 400) return out + "; redirects are not followed.";
  if (status == 410) return out + ": it wants no more events and was disabled.";
  return out + ".";
}

DeliveryStep answer(DeliveryRow row, const DeliveryAnswered& event, UnixMillis now,
                    const DeliveryPolicy& policy, double chance) {
  row.last_status = event.status;
  row.last_ms = event.took.count();
  row.last_error.clear();
  if (event.status >= 200 && event.status < 300) return end(row, DeliveryState::kDelivered, now);
  row.last_error = status_sentence(event.status);
  if (event.status == 410) {
    DeliveryStep step = end(row, DeliveryState::kDead, now);
    step.disable_endpoint = true;
    return step;
  }
  DeliveryStep step = retry(row, event.retry_after, now, policy, chance);
  const bool throttled = event.status == 429 || event.status == 502 || event.status == 504;
  if (throttled && step.row.state == DeliveryState::kWaiting) {
    step.pause_endpoint_to = step.row.next_at;
  }
  return step;
}

}  // namespace

DeliveryStep advance(const DeliveryRow& row, const DeliveryEvent& event, UnixMillis now,
                     const DeliveryPolicy& policy, double chance) {
  if (std::holds_alternative<DeliveryTaken>(event)) return take(row, now, policy);
  if (row.state != DeliveryState::kSending) {
    return {.row = row, .changed = false, .disable_endpoint = false, .pause_endpoint_to = {}};
  }
  if (const auto* answered = std::get_if<DeliveryAnswered>(&event)) {
    return answer(row, *answered, now, policy, chance);
  }
  DeliveryRow next = row;
  next.last_status = 0;
  next.last_ms = 0;
  next.last_error.clear();
  if (const auto* unanswered = std::get_if<DeliveryUnanswered>(&event)) {
    next.last_error = unanswered->reason;
    next.last_ms = unanswered->took.count();
    return retry(next, std::nullopt, now, policy, chance);
  }
  if (const auto* impossible = std::get_if<DeliveryImpossible>(&event)) {
    next.last_error = impossible->reason;
    return end(next, DeliveryState::kDead, now);
  }
  return end(next, DeliveryState::kDelivered, now);
}

}  // namespace ratchet::control
