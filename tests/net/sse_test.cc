#include "proto/net/sse.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace ratchet::net {
namespace {

std::vector<SseEvent> parse(std::string_view text, std::size_t piece) {
  SseParser parser;
  std::vector<SseEvent> events;
  for (std::size_t i = 0; i < text.size(); i += piece) {
    EXPECT_TRUE(parser.push(text.substr(i, piece), [&](const SseEvent& event) {
      events.push_back(event);
      return ok();
    }));
  }
  return events;
}

TEST(Sse, EventsRoundTripInPiecesOfAnySize) {
  std::mt19937_64 random(std::random_device{}());
  std::vector<SseEvent> events;
  std::string text;
  for (int i = 0; i < 50; ++i) {
    SseEvent event{i % 3 == 0 ? "" : "job", std::to_string(i), "{\"a\":" + std::to_string(i) + "}"};
    for (std::uint64_t lines = random() % 3; lines > 0; --lines) event.data += "\nmore: ";
    events.push_back(event);
    text += format_sse(event) + format_sse_comment("alive");
  }
  for (const std::size_t piece : {1U, 2U, 7U, 1000U}) EXPECT_EQ(parse(text, piece), events);
}

// Examples of the standard's text.
TEST(Sse, LineEndsFieldsAndBomAreRead) {
  EXPECT_EQ(parse("data: a\r\rdata: b\r\n\r\ndata:c\n\n", 1),
            (std::vector<SseEvent>{{"", "", "a"}, {"", "", "b"}, {"", "", "c"}}));
  EXPECT_EQ(parse("\xEF\xBB\xBF"
                  "data: x\n\n: comment\n\nid: 7\n\ndata\ndata\n\nunknown: y\ndata:  z\n\n",
                  3),
            (std::vector<SseEvent>{{"", "", "x"}, {"", "7", "\n"}, {"", "7", " z"}}));
  EXPECT_TRUE(parse("data: unfinished\n", 4).empty());
}

TEST(Sse, TypesCannotBreakOut) {
  const auto events = parse(format_sse({"a\n\ndata: evil", "1\n2", "fine"}), 64);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0], (SseEvent{"adata: evil", "12", "fine"}));
}

TEST(Sse, EventsAreBoundedAndSinksMayStop) {
  SseParser parser;
  const auto sink = [](const SseEvent&) { return ok(); };
  const std::string line = "data: " + std::string(1000, 'x') + "\n";
  Status status = ok();
  for (int i = 0; i < 2000 && status; ++i) status = parser.push(line, sink);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kCorrupt);
  SseParser other;
  const Status stopped = other.push("data: 1\n\n", [](const SseEvent&) -> Status {
    return Error{Code::kFailedPrecondition, "enough"};
  });
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().message, "enough");
}

}  // namespace
}  // namespace ratchet::net
