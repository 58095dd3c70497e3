#include "controlplane/webhooks/delivery_machine.h"

#include <gtest/gtest.h>

namespace ratchet::control {
namespace {

constexpr UnixMillis kStart{1'700'000'000'000};
const DeliveryPolicy kPolicy;

DeliveryRow pending() {
  DeliveryRow row;
  row.id = 1;
  row.created_at = kStart;
  row.next_at = kStart;
  return row;
}

DeliveryRow sending(std::int64_t tries) {
  DeliveryRow row = pending();
  row.state = DeliveryState::kSending;
  row.tries = tries;
  return row;
}

DeliveryStep after(const DeliveryRow& row, const DeliveryEvent& event, UnixMillis now = kStart,
                   double chance = 0) {
  return advance(row, event, now, kPolicy, chance);
}

DeliveryAnswered answered(int status, std::optional<Millis> retry_after = {}) {
  return {status, retry_after, Millis(12)};
}

// The whole schedule of the standard, as times since the first try.
TEST(DeliveryMachine, FailuresFollowTheSchedule) {
  const std::vector<Millis> total{std::chrono::seconds(0),      std::chrono::seconds(5),
                                  std::chrono::seconds(305),    std::chrono::seconds(2105),
                                  std::chrono::seconds(9305),   std::chrono::seconds(27305),
                                  std::chrono::seconds(63305),  std::chrono::seconds(113705),
                                  std::chrono::seconds(185705), std::chrono::seconds(272105)};
  DeliveryRow row = pending();
  for (std::size_t i = 0; i < total.size(); ++i) {
    EXPECT_EQ(row.next_at, kStart + UnixMillis(total[i].count())) << "try " << i + 1;
    const UnixMillis now = row.next_at;
    row = after(row, DeliveryTaken{}, now).row;
    EXPECT_EQ(row.state, DeliveryState::kSending);
    EXPECT_EQ(row.tries, static_cast<std::int64_t>(i + 1));
    row = after(row, answered(500), now).row;
  }
  EXPECT_EQ(row.state, DeliveryState::kDead);
  EXPECT_EQ(row.tries, 10);
  EXPECT_EQ(row.last_status, 500);
  EXPECT_TRUE(row.ended_at);
}

TEST(DeliveryMachine, JitterOnlyShortensAndStaysSmall) {
  for (const double chance : {0.0, 0.3, 0.999}) {
    const UnixMillis next = after(sending(3), answered(500), kStart, chance).row.next_at;
    const auto wait = next - kStart;
    EXPECT_LE(wait, UnixMillis(std::chrono::minutes(30)));
    EXPECT_GE(wait, UnixMillis(std::chrono::minutes(27)));
  }
}

TEST(DeliveryMachine, OnlyTwoHundredsDeliver) {
  for (int status = 200; status < 600; ++status) {
    const DeliveryStep step = after(sending(1), answered(status));
    const DeliveryState expected = status < 300    ? DeliveryState::kDelivered
                                   : status == 410 ? DeliveryState::kDead
                                                   : DeliveryState::kWaiting;
    EXPECT_EQ(step.row.state, expected) << status;
    EXPECT_EQ(step.disable_endpoint, status == 410) << status;
    EXPECT_EQ(step.pause_endpoint_to.has_value(), status == 429 || status == 502 || status == 504)
        << status;
    EXPECT_EQ(step.row.last_status, status);
    EXPECT_EQ(step.row.last_ms, 12);
    EXPECT_EQ(step.row.last_error.empty(), status < 300);
  }
}

TEST(DeliveryMachine, RetryAfterIsHonouredWithinItsBound) {
  const auto wait = [](std::int64_t tries, Millis retry_after) {
    return after(sending(tries), answered(503, retry_after)).row.next_at - kStart;
  };
  EXPECT_EQ(wait(1, std::chrono::seconds(60)), UnixMillis(std::chrono::seconds(60)));
  EXPECT_EQ(wait(1, std::chrono::seconds(1)), UnixMillis(std::chrono::seconds(5))) << "not earlier";
  EXPECT_EQ(wait(1, std::chrono::hours(1000)), UnixMillis(std::chrono::hours(24)));
  const DeliveryStep throttled = after(sending(1), answered(429, std::chrono::seconds(60)));
  EXPECT_EQ(throttled.pause_endpoint_to, throttled.row.next_at);
}

TEST(DeliveryMachine, OldDeliveriesDie) {
  DeliveryRow row = sending(3);
  row.created_at = kStart - UnixMillis(std::chrono::hours(76));
  EXPECT_EQ(after(row, answered(500)).row.state, DeliveryState::kDead);
  row.created_at = kStart - UnixMillis(std::chrono::hours(75));
  EXPECT_EQ(after(row, answered(500)).row.state, DeliveryState::kWaiting);
}

TEST(DeliveryMachine, LeasesKeepOthersAwayUntilTheyEnd) {
  const DeliveryStep taken = after(pending(), DeliveryTaken{});
  ASSERT_TRUE(taken.changed);
  EXPECT_EQ(taken.row.next_at, kStart + UnixMillis(kPolicy.lease.count()));
  EXPECT_FALSE(after(taken.row, DeliveryTaken{}, taken.row.next_at - UnixMillis(1)).changed);
  const DeliveryStep again = after(taken.row, DeliveryTaken{}, taken.row.next_at);
  EXPECT_TRUE(again.changed) << "its holder died";
  EXPECT_EQ(again.row.tries, 2);
  DeliveryRow blocked = pending();
  blocked.blocked = true;
  EXPECT_FALSE(after(blocked, DeliveryTaken{}).changed);
  EXPECT_FALSE(after(pending(), DeliveryTaken{}, kStart - UnixMillis(1)).changed);
}

TEST(DeliveryMachine, EndsAreFinalAndStrayEventsChangeNothing) {
  for (const DeliveryState state : {DeliveryState::kDelivered, DeliveryState::kDead,
                                    DeliveryState::kPending, DeliveryState::kWaiting}) {
    DeliveryRow row = pending();
    row.state = state;
    for (const DeliveryEvent& event :
         {DeliveryEvent(answered(200)), DeliveryEvent(answered(410)),
          DeliveryEvent(DeliveryUnanswered{"cut", Millis(1)}), DeliveryEvent(DeliverySkipped{}),
          DeliveryEvent(DeliveryImpossible{"no"})}) {
      const DeliveryStep step = after(row, event);
      EXPECT_FALSE(step.changed);
      EXPECT_EQ(step.row, row);
      EXPECT_FALSE(step.disable_endpoint);
    }
    const bool over = state == DeliveryState::kDelivered || state == DeliveryState::kDead;
    EXPECT_EQ(after(row, DeliveryTaken{}).changed, !over);
  }
}

TEST(DeliveryMachine, OtherEndsAreTold) {
  const DeliveryStep cut = after(sending(1), DeliveryUnanswered{"It was cut.", Millis(7)});
  EXPECT_EQ(cut.row.state, DeliveryState::kWaiting);
  EXPECT_EQ(cut.row.last_status, 0);
  EXPECT_EQ(cut.row.last_error, "It was cut.");
  EXPECT_EQ(after(sending(1), DeliverySkipped{}).row.state, DeliveryState::kDelivered);
  const DeliveryStep impossible = after(sending(1), DeliveryImpossible{"Too large."});
  EXPECT_EQ(impossible.row.state, DeliveryState::kDead);
  EXPECT_EQ(impossible.row.last_error, "Too large.");
}

}  // namespace
}  // namespace ratchet::control
