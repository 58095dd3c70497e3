#include "agent/reclaim/notices.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace ratchet::agent {
namespace {

UnixMillis at(std::string_view text) { return parse_cloud_time(text).value_or(UnixMillis(-1)); }

TEST(CloudTime, ReadsTheThreeSpellings) {
  EXPECT_EQ(at("2017-09-18T08:22:00Z").count(), 1505722920000);
  EXPECT_EQ(at("21 Jan 2019 09:00:43 GMT").count(), 1548061243000);
  EXPECT_EQ(at("Sat, 11 Apr 2026 22:26:58 GMT").count(), 1775946418000);
  EXPECT_EQ(at("Sat, 1 Apr 2026 22:26:58 GMT"), at("01 Apr 2026 22:26:58 GMT"));
}

TEST(CloudTime, RefusesWhatIsNone) {
  for (const char* text :
       {"", "T", "2017-09-18", "2017-13-18T08:22:00Z", "2017-02-30T08:22:00Z", "soon",
        "2017-09-18T25:22:00Z", "99 Jan 2019 09:00:43 GMT", "21 Foo 2019 09:00:43 GMT",
        "21 Jan 2019 09:00:43", "Mon,", "Mon, ", "1234T678901", "-1 Jan 2019 09:00:43 GMT"}) {
    EXPECT_FALSE(parse_cloud_time(text)) << text;
  }
}

TEST(AwsAction, LeadIsCountedToItsTime) {
  const auto notice = parse_aws_action(R"({"action":"terminate","time":"2017-09-18T08:22:00Z"})",
                                       at("2017-09-18T08:20:10Z"));
  ASSERT_TRUE(notice);
  EXPECT_EQ(notice->kind, NoticeKind::kReclaim);
  EXPECT_EQ(notice->action, "terminate");
  EXPECT_EQ(notice->lead, Millis(110000));
  EXPECT_EQ(notice->source, "aws");
}

TEST(AwsAction, AWrongClockCannotStretchTheLead) {
  const std::string body = R"({"action":"stop","time":"2017-09-18T08:22:00Z"})";
  EXPECT_EQ(parse_aws_action(body, at("2016-09-18T08:20:00Z"))->lead, Millis(120000));
  EXPECT_EQ(parse_aws_action(body, at("2019-09-18T08:20:00Z"))->lead, Millis(0));
}

TEST(AwsAction, HibernationBeginsAtOnceAndAMissingTimeIsUnknown) {
  EXPECT_EQ(parse_aws_action(R"({"action":"hibernate","time":"2017-09-18T08:22:00Z"})",
                             at("2017-09-18T08:20:00Z"))
                ->lead,
            Millis(0));
  EXPECT_EQ(parse_aws_action(R"({"action":"terminate"})", UnixMillis(0))->lead, Millis(-1));
}

TEST(AwsAction, TheSameAnswerHasTheSameId) {
  const std::string body = R"({"action":"stop","time":"2017-09-18T08:22:00Z"})";
  EXPECT_EQ(parse_aws_action(body, UnixMillis(0))->event_id,
            parse_aws_action(body, UnixMillis(1000))->event_id);
}

TEST(AwsRebalance, IsAdvice) {
  const auto notice = parse_aws_rebalance(R"({"noticeTime":"2020-10-27T08:22:00Z"})");
  ASSERT_TRUE(notice);
  EXPECT_EQ(notice->kind, NoticeKind::kRebalance);
}

TEST(AwsMaintenance, TellsActiveEvents) {
  const auto notices = parse_aws_maintenance(
      R"([{"NotBefore":"21 Jan 2019 09:00:43 GMT","NotAfter":"21 Jan 2019 09:17:23 GMT",
           "Code":"system-reboot","Description":"scheduled reboot","EventId":"instance-event-1",
           "State":"active"},
          {"NotBefore":"20 Jan 2019 09:00:43 GMT","Code":"instance-stop",
           "EventId":"instance-event-0","State":"completed"}])",
      at("21 Jan 2019 08:00:43 GMT"));
  ASSERT_TRUE(notices);
  ASSERT_EQ(notices->size(), 1U);
  EXPECT_EQ((*notices)[0].event_id, "instance-event-1");
  EXPECT_EQ((*notices)[0].kind, NoticeKind::kMaintenance);
  EXPECT_EQ((*notices)[0].lead, Millis(3600000));
}

TEST(GcpPreempted, IsTrueOrFalse) {
  EXPECT_FALSE(parse_gcp_preempted("FALSE").value());
  EXPECT_TRUE(parse_gcp_preempted("TRUE\n").value());
  EXPECT_FALSE(parse_gcp_preempted("<html>"));
  EXPECT_FALSE(parse_gcp_preempted(""));
}

constexpr const char* kAzure = R"({"DocumentIncarnation":2,"Events":[
  {"EventId":"A1","EventType":"Preempt","ResourceType":"VirtualMachine","Resources":["vm0","vm7"],
   "EventStatus":"Scheduled","NotBefore":"Sat, 11 Apr 2026 22:26:58 GMT","Description":"",
   "EventSource":"Platform","DurationInSeconds":-1},
  {"EventId":"B2","EventType":"Freeze","ResourceType":"VirtualMachine","Resources":["vm0"],
   "EventStatus":"Scheduled","NotBefore":"Sat, 11 Apr 2026 22:40:00 GMT","DurationInSeconds":5},
  {"EventId":"C3","EventType":"Reboot","ResourceType":"VirtualMachine","Resources":["vm9"],
   "EventStatus":"Started","NotBefore":""}]})";

TEST(AzureEvents, OnlyThoseOfThisMachine) {
  const auto events = parse_azure_events(kAzure, "vm0", at("11 Apr 2026 22:26:20 GMT"));
  ASSERT_TRUE(events);
  EXPECT_EQ(events->incarnation, 2);
  ASSERT_EQ(events->notices.size(), 2U);
  EXPECT_EQ(events->notices[0].kind, NoticeKind::kReclaim);
  EXPECT_EQ(events->notices[0].event_id, "A1");
  EXPECT_EQ(events->notices[0].lead, Millis(38000));
  EXPECT_EQ(events->notices[1].kind, NoticeKind::kFreeze);
  EXPECT_EQ(parse_azure_events(kAzure, "vm9", UnixMillis(0))->notices[0].lead, Millis(-1));
  EXPECT_TRUE(parse_azure_events(R"({"DocumentIncarnation":1,"Events":[]})", "vm0", UnixMillis(0))
                  ->notices.empty());
}

TEST(AzureEvents, TheAcknowledgementNamesTheEvent) {
  EXPECT_EQ(azure_start_request("A1"), R"({"StartRequests":[{"EventId":"A1"}]})");
}

TEST(Notices, GarbageIsAnErrorAndNoNotice) {
  for (const char* text : {"", "null", "[]", "{}", "{\"action\":5}", "<html>404</html>", "[1,2]",
                           "{\"Events\":5}", "{\"Events\":[{}]}", "\xff\xfe"}) {
    EXPECT_FALSE(parse_aws_action(text, UnixMillis(0))) << text;
    EXPECT_FALSE(parse_aws_rebalance(text)) << text;
    EXPECT_FALSE(parse_azure_events(text, "vm0", UnixMillis(0))) << text;
    EXPECT_FALSE(parse_gcp_preempted(text)) << text;
  }
  EXPECT_FALSE(parse_aws_maintenance("{}", UnixMillis(0)));
}

// Every answer cut off or damaged at any byte leaves an error or a notice, never more.
TEST(Notices, DamagedAnswersAreSurvived) {
  std::mt19937 random(7);
  const std::string whole[] = {kAzure, R"({"action":"terminate","time":"2017-09-18T08:22:00Z"})",
                               R"([{"NotBefore":"21 Jan 2019 09:00:43 GMT","EventId":"e"}])",
                               R"({"noticeTime":"2020-10-27T08:22:00Z"})"};
  for (int round = 0; round < 4000; ++round) {
    std::string text = whole[random() % 4];
    text.resize(random() % (text.size() + 1));
    if (!text.empty()) text[random() % text.size()] = static_cast<char>(random() % 256);
    static_cast<void>(parse_azure_events(text, "vm0", UnixMillis(0)));
    static_cast<void>(parse_aws_action(text, UnixMillis(0)));
    static_cast<void>(parse_aws_maintenance(text, UnixMillis(0)));
    static_cast<void>(parse_aws_rebalance(text));
    static_cast<void>(parse_cloud_time(text));
  }
}

}  // namespace
}  // namespace ratchet::agent
