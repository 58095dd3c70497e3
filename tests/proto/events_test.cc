#include "proto/events.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <sstream>

#include "tests/support/files.h"

namespace ratchet {
namespace {

const std::string kEventsGolden = RATCHET_SOURCE_DIR "/tests/golden/proto/events.jsonl";

Event make_event(std::uint64_t seq, EventBody body) {
  Event event;
  event.header.seq = seq;
  event.header.time = UnixMillis(1'763'722'800'122 + static_cast<std::int64_t>(seq));
  event.header.job_id = JobId("demo");
  event.header.attempt_no = 2;
  event.header.epoch = 5;
  event.body = std::move(body);
  return event;
}

// One event of each type, every field away from its default.
std::vector<Event> samples() {
  const StepEvent step{.step = 12,
                       .total_steps = 400,
                       .data_epoch = 0.25,
                       .loss = 2.3125,
                       .grad_norm = 0.1,
                       .lr = 0.0002,
                       .tokens = 8192,
                       .trained_tokens = 5000,
                       .tokens_per_s = 12'345.5,
                       .times = {.total_ms = 660,
                                 .data_ms = 1,
                                 .forward_ms = 200,
                                 .backward_ms = 400,
                                 .optimizer_ms = 50,
                                 .checkpoint_stall_ms = 9},
                       .eta_s = 256.5,
                       .vram = VramUse{gibibytes(1), gibibytes(2), gibibytes(3), gibibytes(4)},
                       .replayed = true};
  const ResumeEvent resume{.step = 100,
                           .path = "/out/ckpt/step-00000100",
                           .resume_class = ResumeClass::kSameData,
                           .reasons = {"8 threads instead of 2"},
                           .rejected = {{"/out/ckpt/step-00000200", "V2", "hash differs"}},
                           .replay_steps = 7};
  const CheckpointEvent checkpoint{.step = 100,
                                   .reason = CheckpointReason::kSignal,
                                   .path = "/out/ckpt/step-00000100",
                                   .manifest_sha256 = "ab12",
                                   .size = mebibytes(3),
                                   .stall_us = 120,
                                   .copy_ms = 1.5,
                                   .write_ms = 30.25,
                                   .skipped = ""};
  const ExitRecord exit{.kind = ExitKind::kNonFinite,
                        .message = "The loss of step 13 is not a number.",
                        .evidence = {{"finite_steps", std::int64_t{12}},
                                     {"last_loss", 2.5},
                                     {"packed", true},
                                     {"sample_ids", std::vector<std::string>{"3", "7"}},
                                     {"tensor", "lora_a.0"}},
                        .step = 12,
                        .stage = "training",
                        .resumable = true};
  std::vector<EventBody> bodies{
      StageEvent{Stage::kModelLoad, "reading 16 shards"},
      step,
      EvaluationEvent{
          .step = 50, .loss = 1.75, .trained_tokens = 900, .duration_ms = 12.5, .best = true},
      checkpoint,
      CheckpointEvent{.step = 200,
                      .reason = CheckpointReason::kInterval,
                      .path = "",
                      .manifest_sha256 = "",
                      .size = {},
                      .stall_us = 0,
                      .copy_ms = 0,
                      .write_ms = 0,
                      .skipped = "The disk is full."},
      resume,
      WarningEvent{"rows_truncated", "3 rows were cut.", 1},
      exit,
  };
  std::vector<Event> events;
  for (std::size_t i = 0; i < bodies.size(); ++i) {
    events.push_back(make_event(i + 1, bodies[i]));
  }
  return events;
}

TEST(Events, EncodingIsGolden) {
  std::string text;
  for (const Event& event : samples()) text += encode_event(event) + "\n";
  testing::expect_golden(kEventsGolden, text);
}

TEST(Events, RoundTrip) {
  for (const Event& event : samples()) {
    const std::string line = encode_event(event);
    EXPECT_EQ(line.find('\n'), std::string::npos);
    const auto decoded = decode_event(line);
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_EQ(*decoded, event) << line;
  }
}

TEST(Events, UnknownFieldsAreTolerated) {
  for (const Event& event : samples()) {
    std::string line = encode_event(event);
    line.insert(1, R"("a_new_field":{"x":[1,2]},)");
    const auto decoded = decode_event(line);
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_EQ(*decoded, event);
  }
}

TEST(Events, NumbersThatAreNotFiniteSurvive) {
  Event event = samples()[1];
  auto& step = std::get<StepEvent>(event.body);
  step.loss = std::numeric_limits<double>::quiet_NaN();
  step.grad_norm = -std::numeric_limits<double>::infinity();
  const std::string line = encode_event(event);
  EXPECT_NE(line.find("\"loss\":null"), std::string::npos);
  EXPECT_NE(line.find("\"grad_norm_bits\":\"fff0000000000000\""), std::string::npos);
  const auto decoded = decode_event(line);
  ASSERT_TRUE(decoded);
  EXPECT_TRUE(std::isnan(std::get<StepEvent>(decoded->body).loss));
  EXPECT_EQ(std::get<StepEvent>(decoded->body).grad_norm, step.grad_norm);
}

TEST(Events, BitsAreExactAndStrict) {
  for (double value : {0.0, -0.0, 1.0, 0.1, 5e-324, 1.7976931348623157e308}) {
    const auto back = double_from_bits(double_bits(value));
    ASSERT_TRUE(back);
    EXPECT_EQ(double_bits(*back), double_bits(value));
  }
  EXPECT_EQ(double_bits(1.0), "3ff0000000000000");
  for (const char* wrong : {"", "3ff", "3ff000000000000g", "0x3ff00000000000", "3ff00000000000000",
                            "-ff0000000000000"}) {
    EXPECT_EQ(double_from_bits(wrong), std::nullopt) << wrong;
  }
}

TEST(Events, OtherVersionsAndTypesAreUnsupported) {
  std::string line = encode_event(samples()[0]);
  std::string other = line;
  other.replace(other.find("event/1"), 7, "event/2");
  EXPECT_EQ(decode_event(other).error().code, Code::kUnsupported);
  other = line;
  other.replace(other.find("\"type\":\"stage\""), 14, "\"type\":\"stahe\"");
  EXPECT_EQ(decode_event(other).error().code, Code::kUnsupported);
}

TEST(Events, FaultyLinesAreRefused) {
  const std::string head =
      R"("schema":"event/1","seq":1,"time_ms":1,"job_id":"j","attempt_no":1,"epoch":0)";
  const std::vector<std::string> lines{
      "",
      "{",
      "[]",
      "{}",
      "null",
      "{" + head + "}",
      "{" + head + R"(,"type":"stage"})",
      "{" + head + R"(,"type":"stage","stage":"lunch"})",
      "{" + head + R"(,"type":"step"})",
      "{" + head + R"(,"type":"step","step":-1})",
      "{" + head + R"(,"type":"step","step":1.5})",
      "{" + head + R"(,"type":"step","step":1,"loss":"x"})",
      "{" + head + R"(,"type":"step","step":1,"loss_bits":"zz"})",
      "{" + head + R"(,"type":"step","step":1,"vram":{"peak_bytes":-1}})",
      "{" + head + R"(,"type":"step","step":1,"times":3})",
      "{" + head + R"(,"type":"evaluation"})",
      "{" + head + R"(,"type":"checkpoint","step":1,"reason":"whim"})",
      "{" + head + R"(,"type":"resume","step":1,"class":"D"})",
      "{" + head + R"(,"type":"resume","step":1,"class":"A","rejected":[1]})",
      "{" + head + R"(,"type":"warning"})",
      "{" + head + R"(,"type":"exit","kind":"bored"})",
      "{" + head + R"(,"type":"exit","kind":"completed","evidence":[]})",
      "{" + head + R"(,"type":"exit","kind":"completed","evidence":{"a":{}}})",
      "{" + head + R"(,"type":"exit","kind":"completed","evidence":{"a":[1]}})",
      "{" + head + R"(,"type":"exit","kind":"completed","evidence":{"a":18446744073709551615}})",
      R"({"schema":"event/1","type":"warning","kind":"k","seq":-1,"time_ms":1,"job_id":"j"})",
      R"({"schema":"event/1","type":"warning","kind":"k","seq":1,"time_ms":1,"job_id":"a/b"})",
      R"({"schema":"event/1","type":"warning","kind":"k"})",
  };
  for (const std::string& line : lines) {
    const auto decoded = decode_event(line);
    ASSERT_FALSE(decoded) << line;
    EXPECT_EQ(decoded.error().code, Code::kInvalidArgument) << line;
  }
}

TEST(Events, WhatIsQuotedIsCutUntilTheLineFits) {
  ExitRecord exit{.kind = ExitKind::kInternal,
                  .message = std::string(1'000'000, '\x01'),
                  .evidence = {},
                  .step = 0,
                  .stage = "export",
                  .resumable = false};
  for (int i = 0; i < 250; ++i) {
    exit.evidence["key" + std::to_string(i)] = std::vector<std::string>(250, std::string(100, '"'));
  }
  const std::string line = encode_event(make_event(1, exit));
  EXPECT_LE(line.size(), kMaxEventBytes);
  const auto decoded = decode_event(line);
  ASSERT_TRUE(decoded) << decoded.error().message;
  const auto& back = std::get<ExitRecord>(decoded->body);
  EXPECT_EQ(back.kind, ExitKind::kInternal);
  EXPECT_FALSE(back.message.empty());
  EXPECT_FALSE(back.evidence.empty());
}

TEST(Events, BytesThatAreNotUtf8DoNotBreakTheLine) {
  const Event event = make_event(1, WarningEvent{"k", "file \xff\xfe", 0});
  const auto decoded = decode_event(encode_event(event));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(std::get<WarningEvent>(decoded->body).message, "file \xEF\xBF\xBD\xEF\xBF\xBD");
}

}  // namespace
}  // namespace ratchet
