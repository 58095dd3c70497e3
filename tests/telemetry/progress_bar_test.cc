#include "trainer/telemetry/progress_bar.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace ratchet::trainer {
namespace {

ProgressState state(std::int64_t step) {
  return {.step = step,
          .total_steps = 2000,
          .data_epoch = 1.275,
          .loss = 1.23456,
          .tokens_per_s = 12'345,
          .eta_s = 4020,
          .replayed = false};
}

TEST(RenderProgress, ShowsEverythingWhenThereIsRoom) {
  EXPECT_EQ(render_progress(state(850), 200),
            " 42%  [=========>            ]  850/2000  loss 1.2346  12.3 k tokens/s  "
            "1 h 07 min left  data epoch 1.27");
}

TEST(RenderProgress, NeverExceedsTheWidthAndKeepsTheMostImportant) {
  const std::string full = render_progress(state(850), 200);
  for (int width = -1; width <= static_cast<int>(full.size()); ++width) {
    const std::string line = render_progress(state(850), width);
    EXPECT_LE(static_cast<int>(line.size()), std::max(width, 0));
    if (width >= 4) {
      EXPECT_TRUE(line.starts_with(" 42%")) << line;
    }
    if (width >= 61) {
      EXPECT_NE(line.find("loss 1.2346"), std::string::npos) << line;
      EXPECT_NE(line.find("tokens/s"), std::string::npos) << line;
      EXPECT_NE(line.find("1 h 07 min left"), std::string::npos) << line;
    }
  }
  EXPECT_EQ(render_progress(state(850), 40), " 42%  850/2000  loss 1.2346");
}

TEST(RenderProgress, EdgesAreSane) {
  EXPECT_TRUE(render_progress(state(0), 200).starts_with("  0%  [>"));
  EXPECT_TRUE(render_progress(state(1999), 200).starts_with(" 99%  ["));
  EXPECT_TRUE(render_progress(state(2000), 200).starts_with("100%  [======================]"));
  EXPECT_TRUE(render_progress(state(3000), 200).starts_with("100%"));
  ProgressState odd = state(1);
  odd.total_steps = 0;
  odd.loss = std::numeric_limits<double>::quiet_NaN();
  odd.eta_s = std::numeric_limits<double>::infinity();
  const std::string line = render_progress(odd, 200);
  EXPECT_NE(line.find("  0%"), std::string::npos);
  EXPECT_NE(line.find("loss nan"), std::string::npos) << line;
  EXPECT_NE(line.find("? left"), std::string::npos) << line;
}

TEST(RenderProgress, ReplayedStepsAreMarked) {
  ProgressState replayed = state(10);
  replayed.replayed = true;
  EXPECT_NE(render_progress(replayed, 200).find("replaying"), std::string::npos);
  EXPECT_NE(render_plain(replayed).find("replaying"), std::string::npos);
  EXPECT_EQ(render_plain(state(850)),
            "step 850/2000 (42 %), loss 1.2346, 12.3 k tokens/s, 1 h 07 min left");
}

class ProgressBarTest : public ::testing::Test {
 protected:
  ProgressBar::Options options(bool terminal) {
    ProgressBar::Options out;
    out.write = [this](const std::string& text) { written_ += text; };
    out.terminal = terminal;
    out.width = [] { return 60; };
    out.now_s = [this] { return now_s_; };
    return out;
  }
  std::string take() { return std::exchange(written_, {}); }

  double now_s_ = 1000;
  std::string written_;
};

TEST_F(ProgressBarTest, TerminalRedrawsOneLineAtMostTenTimesASecond) {
  {
    ProgressBar bar(options(true));
    bar.update(state(1));
    EXPECT_EQ(take(), "\r" + render_progress(state(1), 59) + "\x1b[K");
    now_s_ += 0.05;
    bar.update(state(2));
    EXPECT_EQ(take(), "");
    now_s_ += 0.06;
    bar.update(state(3));
    EXPECT_NE(take().find("3/2000"), std::string::npos);
    bar.update(state(2000));  // the last step is always drawn
    EXPECT_NE(take().find("2000/2000"), std::string::npos);
    bar.message("saved");
    EXPECT_TRUE(take().starts_with("\r\x1b[Ksaved\n100%"));
  }
  EXPECT_EQ(take(), "\n");
}

TEST_F(ProgressBarTest, ElsewhereAPlainLineEverySoOften) {
  {
    ProgressBar bar(options(false));
    bar.message("starts");
    EXPECT_EQ(take(), "starts\n");
    bar.update(state(1));
    EXPECT_EQ(take(), render_plain(state(1)) + "\n");
    now_s_ += 14.9;
    bar.update(state(2));
    EXPECT_EQ(take(), "");
    now_s_ += 0.2;
    bar.update(state(3));
    EXPECT_EQ(take(), render_plain(state(3)) + "\n");
    bar.update(state(2000));
    bar.update(state(2000));
    EXPECT_EQ(take(), render_plain(state(2000)) + "\n");
  }
  EXPECT_EQ(take(), "");
}

}  // namespace
}  // namespace ratchet::trainer
