#include "controlplane/cli/live_view.h"

#include <gtest/gtest.h>

#include "controlplane/cli/json_values.h"

namespace ratchet::control::cli {
namespace {

constexpr UnixMillis kNow(1'763'733'193'000);

Json job(const std::string& state, std::int64_t step, std::int64_t epoch) {
  return {{"id", "bot-1"},  {"state", state},     {"step", step},
          {"epoch", epoch}, {"total_steps", 120}, {"last_step", {{"step", step}, {"loss", 2.5}}}};
}

TEST(LiveView, AStepOfTheStreamIsNewerThanTheDocument) {
  LiveView view;
  view.on_job(job("training", 40, 1));
  view.on_step({{"step", 45}, {"total_steps", 120}, {"loss", 2.0}});
  view.on_job(job("training", 42, 1));
  EXPECT_EQ(view.job().step, 45);
  EXPECT_DOUBLE_EQ(*view.job().last_step->loss, 2.0);
  view.on_job(job("training", 50, 1));
  EXPECT_EQ(view.job().step, 50);
}

TEST(LiveView, ANewEpochMayGoBack) {
  LiveView view;
  view.on_job(job("training", 40, 1));
  view.on_step({{"step", 49}});
  view.on_job(job("recovering", 25, 2));
  EXPECT_EQ(view.job().step, 25);
}

TEST(LiveView, ShowsRecoveryAndSilenceBelowTheBar) {
  LiveView view;
  Json document = job("recovering", 45, 1);
  document["recovery"]["stages"] = {
      {{"stage", "detecting"}, {"state", "running"}, {"began_at_ms", kNow.count() - 1000}},
      {{"stage", "provisioning"}, {"state", "pending"}}};
  view.on_job(document);
  view.on_silence("no answer");
  const auto block = view.block(80, kNow);
  ASSERT_EQ(block.size(), 3U);
  EXPECT_EQ(block[1], "recovery: detecting 1.0 s ... > provisioning");
  EXPECT_EQ(block[2], "no answer");
  view.on_silence("");
  view.on_job(job("training", 46, 2));
  EXPECT_EQ(view.block(80, kNow).size(), 1U);
}

TEST(LiveView, TheVerdictSaysWhatComesNext) {
  LiveView view;
  view.on_job(job("completed", 120, 1));
  EXPECT_NE(view.verdict().find("ratchet download bot-1"), std::string::npos);
  Json failed = job("failed", 7, 1);
  failed["failure"] = {{"error_type", "data_error"}, {"message", "Row 3."}, {"next_step", "Fix."}};
  view.on_job(failed);
  EXPECT_EQ(view.verdict(), "Job bot-1 failed: data_error: Row 3.\nFix.");
  view.on_job(job("cancelled", 7, 1));
  EXPECT_EQ(view.verdict(), "Job bot-1 was cancelled.");
}

TEST(Painter, DrawsOverWhatItDrew) {
  std::string out;
  Painter painter([&](const std::string& text) { out += text; });
  painter.say("first");
  EXPECT_EQ(out, "first\n");
  out.clear();
  painter.draw({"one"});
  EXPECT_EQ(out, "one");
  out.clear();
  painter.draw({"one"});
  EXPECT_EQ(out, "") << "nothing new";
  painter.draw({"a", "b"});
  EXPECT_EQ(out, "\r\x1b[Ja\nb");
  out.clear();
  painter.say("line");
  EXPECT_EQ(out, "\r\x1b[1A\x1b[Jline\na\nb");
  out.clear();
  painter.finish();
  painter.finish();
  EXPECT_EQ(out, "\n");
}

}  // namespace
}  // namespace ratchet::control::cli
