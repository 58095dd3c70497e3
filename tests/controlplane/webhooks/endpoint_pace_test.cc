#include "controlplane/webhooks/endpoint_pace.h"

#include <gtest/gtest.h>

namespace ratchet::control {
namespace {

constexpr UnixMillis kNow{1000};

TEST(EndpointPace, GoodEndpointsGetMoreBadOnesGetOne) {
  EndpointPace pace;
  for (int i = 0; i < 100; ++i) {
    pace.started();
    pace.finished(true);
  }
  EXPECT_EQ(pace.room(kNow), EndpointPace::kMost);
  pace.started();
  EXPECT_EQ(pace.room(kNow), EndpointPace::kMost - 1);
  pace.finished(false);
  EXPECT_EQ(pace.room(kNow), 1U);
  pace.started();
  EXPECT_EQ(pace.room(kNow), 0U);
  pace.finished(true);
  EXPECT_EQ(pace.room(kNow), 2U);
}

TEST(EndpointPace, PausesEnd) {
  EndpointPace pace;
  pace.pause_to(kNow + UnixMillis(10));
  pace.pause_to(kNow);
  EXPECT_EQ(pace.room(kNow), 0U);
  EXPECT_EQ(pace.room(kNow + UnixMillis(9)), 0U);
  EXPECT_GT(pace.room(kNow + UnixMillis(10)), 0U);
}

}  // namespace
}  // namespace ratchet::control
