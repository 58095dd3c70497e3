#include "controlplane/webhooks/signing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace ratchet::control {
namespace {

using std::chrono::seconds;

// Known answer of the standard's own libraries (id, time, body, secret and signature).
TEST(WebhookSigning, KnownAnswer) {
  const std::vector<std::string> secrets{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"};
  const std::string body = R"({"test": 2432232314})";
  const auto signature =
      webhook_signature("msg_p5jXN8AQM9LWM0D4loKWxJek", seconds(1614265330), body, secrets);
  ASSERT_TRUE(signature);
  EXPECT_EQ(*signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

TEST(WebhookSigning, FreshSecretsSignAndVerify) {
  const std::string old_secret = make_webhook_secret().value();
  const std::string new_secret = make_webhook_secret().value();
  EXPECT_NE(old_secret, new_secret);
  EXPECT_EQ(webhook_key(new_secret).value().size(), 32U);
  const std::vector<std::string> both{new_secret, old_secret};
  const seconds now(1'700'000'000);
  const std::string header = webhook_signature("evt_1", now, "{}", both).value();
  EXPECT_EQ(std::count(header.begin(), header.end(), ' '), 1) << "one signature a secret";
  const std::string time = std::to_string(now.count());
  for (const std::string& secret : both) {
    EXPECT_TRUE(verify_webhook("evt_1", time, header, "{}", secret, now));
    EXPECT_TRUE(verify_webhook("evt_1", time, header, "{}", secret, now + seconds(300)));
    EXPECT_FALSE(verify_webhook("evt_1", time, header, "{}", secret, now + seconds(301)));
    EXPECT_FALSE(verify_webhook("evt_1", time, header, "{}", secret, now - seconds(301)));
    EXPECT_FALSE(verify_webhook("evt_2", time, header, "{}", secret, now));
    EXPECT_FALSE(verify_webhook("evt_1", time, header, "{ }", secret, now));
    EXPECT_FALSE(verify_webhook("evt_1", "1700000001", header, "{}", secret, now));
    EXPECT_FALSE(verify_webhook("evt_1", time, "", "{}", secret, now));
    EXPECT_FALSE(verify_webhook("evt_1", time, header.substr(1), "{}", old_secret, now) &&
                 verify_webhook("evt_1", time, header.substr(1), "{}", new_secret, now));
  }
  EXPECT_FALSE(verify_webhook("evt_1", time, header, "{}", make_webhook_secret().value(), now));
}

TEST(WebhookSigning, UnusableSecretsAndIdsAreRefused) {
  for (const std::string& secret :
       {std::string(), std::string("abc"), std::string("whsec_"), std::string("whsec_!!!!"),
        "whsk_" + base64_encode(std::string(32, 'x')),
        "whsec_" + base64_encode(std::string(23, 'x')),
        "whsec_" + base64_encode(std::string(65, 'x')), "whsec_" + std::string(100'000, 'A')}) {
    EXPECT_FALSE(webhook_key(secret)) << secret.substr(0, 40);
  }
  for (const std::size_t size : {24U, 64U}) {
    EXPECT_TRUE(webhook_key("whsec_" + base64_encode(std::string(size, 'x'))));
  }
  const std::vector<std::string> secrets{make_webhook_secret().value()};
  EXPECT_FALSE(webhook_signature("a.b", seconds(1), "", secrets));
  EXPECT_FALSE(webhook_signature("", seconds(1), "", secrets));
  EXPECT_FALSE(webhook_signature("a", seconds(1), "", {}));
}

TEST(WebhookSigning, Base64RoundTrips) {
  std::mt19937_64 random(std::random_device{}());
  for (std::size_t size = 0; size < 100; ++size) {
    std::string bytes(size, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    std::string back;
    ASSERT_TRUE(base64_decode(base64_encode(bytes), back));
    EXPECT_EQ(back, bytes);
  }
  std::string out;
  for (const char* text :
       {"A", "AAA", "====", "A===", "AA=A", "AA==AAAA", "AA A", "AA\nA", "*AAA"}) {
    EXPECT_FALSE(base64_decode(text, out)) << text;
  }
}

}  // namespace
}  // namespace ratchet::control
