#include "proto/control_message.h"

#include <gtest/gtest.h>

namespace ratchet {
namespace {

using std::chrono::milliseconds;

TEST(ControlMessage, RequestsRoundTripAndAreGolden) {
  const ControlRequest request{.verb = ControlVerb::kCheckpoint, .deadline = milliseconds(5000)};
  EXPECT_EQ(encode_control_request(request), R"({"deadline_ms":5000,"request":"checkpoint"})");
  EXPECT_EQ(decode_control_request(encode_control_request(request)).value(), request);
  EXPECT_EQ(encode_control_request({}), R"({"request":"status"})");
  EXPECT_EQ(decode_control_request(R"({"request":"stop","why":"new"})").value().verb,
            ControlVerb::kStop);
}

TEST(ControlMessage, ResponsesRoundTripAndAreGolden) {
  const ControlResponse response{
      .ok = true,
      .verb = ControlVerb::kCheckpoint,
      .error = "",
      .job_id = JobId("demo"),
      .stage = Stage::kTraining,
      .step = 120,
      .total_steps = 400,
      .checkpoint = ControlCheckpoint{120, "/out/ckpt/step-00000120", "ab12"}};
  EXPECT_EQ(encode_control_response(response),
            R"({"checkpoint":{"manifest_sha256":"ab12","path":"/out/ckpt/step-00000120",)"
            R"("step":120},"job_id":"demo","ok":true,"request":"checkpoint",)"
            R"("schema":"control/1","stage":"training","step":120,"total_steps":400})");
  EXPECT_EQ(decode_control_response(encode_control_response(response)).value(), response);
  const ControlResponse refused{.ok = false,
                                .verb = ControlVerb::kStatus,
                                .error = "The job has ended.\nNothing was done.",
                                .job_id = {},
                                .stage = Stage::kExport,
                                .step = 0,
                                .total_steps = 0,
                                .checkpoint = {}};
  EXPECT_EQ(decode_control_response(encode_control_response(refused)).value(), refused);
}

TEST(ControlMessage, FaultyRequestsAreRefused) {
  for (const char* line :
       {"", "{}", "[]", R"({"request":"dance"})", R"({"request":3})",
        R"({"request":"stop","deadline_ms":0})", R"({"request":"stop","deadline_ms":3600001})",
        R"({"request":"stop","deadline_ms":"5000"})", R"({"request":"stop","request":"stop"})"}) {
    EXPECT_FALSE(decode_control_request(line)) << line;
  }
  EXPECT_FALSE(decode_control_request(std::string(kMaxControlBytes + 1, ' ')));
}

TEST(ControlMessage, FaultyResponsesAreRefused) {
  for (const char* line :
       {"", "{}", R"({"schema":"control/2","ok":true,"request":"stop"})",
        R"({"schema":"control/1","request":"stop"})", R"({"schema":"control/1","ok":true})",
        R"({"schema":"control/1","ok":1,"request":"stop"})",
        R"({"schema":"control/1","ok":true,"request":"stop","step":-1})",
        R"({"schema":"control/1","ok":true,"request":"stop","checkpoint":[]})",
        R"({"schema":"control/1","ok":true,"request":"stop","stage":"x"})"}) {
    EXPECT_FALSE(decode_control_response(line)) << line;
  }
}

}  // namespace
}  // namespace ratchet
