#include "controlplane/core/cost.h"

#include <algorithm>
#include <cstdint>

namespace ratchet::control {

Cost cost_of(std::span<const AttemptRow> attempts, UnixMillis now) {
  constexpr double kMillisPerHour = 3600.0 * 1000.0;
  Cost out;
  std::int64_t training_ms = 0;
  std::int64_t overhead_ms = 0;
  for (const AttemptRow& row : attempts) {
    if (!row.accepted_at) continue;
    // The wall clock may have been set back in between: no time is negative.
    const UnixMillis begin = *row.accepted_at;
    const UnixMillis end = std::max(row.ended_at.value_or(now), begin);
    const UnixMillis own =
        row.attempt_no <= 1 ? begin : std::clamp(row.first_step_at.value_or(end), begin, end);
    overhead_ms += (own - begin).count();
    training_ms += (end - own).count();
    out.overhead_usd += static_cast<double>((own - begin).count()) * row.usd_per_hour;
    out.training_usd += static_cast<double>((end - own).count()) * row.usd_per_hour;
    if (!row.ended_at) out.usd_per_hour += row.usd_per_hour;
  }
  out.training_s = static_cast<double>(training_ms) / 1000.0;
  out.overhead_s = static_cast<double>(overhead_ms) / 1000.0;
  out.training_usd /= kMillisPerHour;
  out.overhead_usd /= kMillisPerHour;
  out.usd = out.training_usd + out.overhead_usd;
  return out;
}

}  // namespace ratchet::control
