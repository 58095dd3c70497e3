#include "proto/net/retry.h"

#include <gtest/gtest.h>

namespace ratchet::net {
namespace {

using std::chrono::seconds;
using std::chrono::system_clock;

TEST(Backoff, GrowsToItsBoundWithJitter) {
  Backoff backoff({Millis(100), Millis(1000), 2}, 7);
  for (const int whole : {100, 200, 400, 800, 1000, 1000, 1000}) {
    const Millis wait = backoff.next();
    EXPECT_GE(wait.count(), whole / 2);
    EXPECT_LE(wait.count(), whole);
  }
  EXPECT_EQ(backoff.tries(), 7);
  backoff.reset();
  EXPECT_LE(backoff.next().count(), 100);
  for (int i = 0; i < 5000; ++i) EXPECT_LE(backoff.next().count(), 1000);
}

TEST(Backoff, TwoSeedsDoNotWaitAlike) {
  Backoff a({}, 1);
  Backoff b({}, 2);
  int same = 0;
  for (int i = 0; i < 20; ++i) same += a.next() == b.next() ? 1 : 0;
  EXPECT_LT(same, 5);
}

TEST(Retry, TransientStatusesAreKnown) {
  for (const int status : {408, 425, 429, 500, 502, 503, 504, 507}) {
    EXPECT_TRUE(is_transient_status(status)) << status;
  }
  for (const int status : {200, 301, 400, 401, 404, 409, 410, 501, 505}) {
    EXPECT_FALSE(is_transient_status(status)) << status;
  }
}

TEST(Retry, RetryAfterIsSecondsOrADate) {
  const system_clock::time_point now{seconds(784111777)};  // Sun, 06 Nov 1994 08:49:37 GMT
  EXPECT_EQ(parse_retry_after("120", now), Millis(120000));
  EXPECT_EQ(parse_retry_after("0", now), Millis(0));
  EXPECT_EQ(parse_retry_after("Sun, 06 Nov 1994 08:50:37 GMT", now), Millis(60000));
  EXPECT_EQ(parse_retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now), Millis(0));
  for (const char* text : {"", "-1", "1.5", "soon", "Sun, 06 Foo 1994 08:49:37 GMT",
                           "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 99:49:37 GMT"}) {
    EXPECT_FALSE(parse_retry_after(text, now)) << text;
  }
  EXPECT_TRUE(parse_retry_after("9223372036854775807", now));
  EXPECT_TRUE(parse_retry_after("Fri, 31 Dec 9999 23:59:59 GMT", now));
  EXPECT_EQ(parse_retry_after("Sat, 01 Jan 0001 00:00:00 GMT", now), Millis(0));
}

TEST(TokenBucket, BurstThenRate) {
  const TokenBucket::Clock::time_point start{};
  TokenBucket bucket(10, 5, start);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(bucket.take(start));
  EXPECT_FALSE(bucket.take(start));
  EXPECT_EQ(bucket.wait_for(start), Millis(100));
  EXPECT_FALSE(bucket.take(start + Millis(99)));
  EXPECT_TRUE(bucket.take(start + Millis(100)));
  EXPECT_FALSE(bucket.take(start + Millis(100)));
  int taken = 0;
  for (int ms = 101; ms <= 10'100; ++ms) taken += bucket.take(start + Millis(ms)) ? 1 : 0;
  EXPECT_NEAR(taken, 100, 1);
  EXPECT_FALSE(bucket.take(start));  // time that goes back gives nothing
}

}  // namespace
}  // namespace ratchet::net
