#include "proto/api_error.h"

#include <gtest/gtest.h>

#include <set>

namespace ratchet {
namespace {

TEST(ApiError, EveryCodeHasItsRow) {
  EXPECT_GE(api_error_table().size(), 25U);
  EXPECT_EQ(api_error_table().size(), word_table(ApiErrorCode{}).size());
  for (const auto& entry : word_table(ApiErrorCode{})) {
    const ApiErrorRow& row = api_error_row(entry.value);
    EXPECT_EQ(row.code, entry.value) << entry.word;
    EXPECT_GE(row.http_status, 400) << entry.word;
    EXPECT_LE(row.http_status, 599) << entry.word;
    EXPECT_TRUE(row.message.ends_with('.')) << entry.word;
    EXPECT_TRUE(row.next_step.ends_with('.')) << entry.word;
    EXPECT_EQ(http_status_of(entry.word), row.http_status);
  }
}

// What a client may simply repeat is exactly what says so by its class.
TEST(ApiError, ServerFaultsAreTransient) {
  for (const ApiErrorRow& row : api_error_table()) {
    const bool server = row.http_status >= 500 && row.http_status != 501;
    if (server || row.http_status == 429 || row.http_status == 408) {
      EXPECT_EQ(row.error_class, ErrorClass::kTransient) << to_word(row.code);
    }
    if (row.http_status == 400 || row.http_status == 401 || row.http_status == 404) {
      EXPECT_EQ(row.error_class, ErrorClass::kPersistent) << to_word(row.code);
    }
  }
}

TEST(ApiError, RoundTripsAndIsGolden) {
  ApiError error = make_api_error(ApiErrorCode::kJobNotFound, "There is no job \"x\".");
  error.details = {{"job_id", std::string("x")}, {"tries", std::int64_t{3}}, {"now", true}};
  error.request_id = "r-1";
  const std::string text = encode_api_error(error);
  EXPECT_EQ(text,
            R"({"error":{"class":"persistent","code":"job_not_found","details":{"job_id":"x",)"
            R"("now":true,"tries":3},"message":"There is no job \"x\".","next_step":"See )"
            R"(`ratchet list` for the jobs that there are.","request_id":"r-1"}})");
  EXPECT_EQ(decode_api_error(text).value(), error);
}

TEST(ApiError, OtherAnswersAreNoErrors) {
  for (const char* text : {"", "{}", "<html>", R"({"error":"x"})", R"({"error":{}})",
                           R"({"error":{"code":""}})", R"({"error":{"code":3}})"}) {
    EXPECT_FALSE(decode_api_error(text)) << text;
  }
  const auto newer = decode_api_error(R"({"error":{"code":"of_the_future","class":"transient"}})");
  ASSERT_TRUE(newer);
  EXPECT_EQ(newer->error_class, ErrorClass::kTransient);
  EXPECT_EQ(http_status_of("of_the_future"), 500);
}

}  // namespace
}  // namespace ratchet
