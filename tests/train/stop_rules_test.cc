#include "trainer/train/stop_rules.h"

#include <gtest/gtest.h>

namespace ratchet::trainer {
namespace {

TEST(LossEma, StartsAtTheFirstLossAndFollows) {
  TrainerState state;
  state.loss_ema = next_loss_ema(state, 4.0);
  EXPECT_EQ(*state.loss_ema, 4.0);
  EXPECT_DOUBLE_EQ(next_loss_ema(state, 2.0), 3.9);
}

TEST(LossPlateau, NeedsTwoFullWindows) {
  TrainerState state;
  const LossPlateau rule{3, 0.1};
  for (int i = 0; i < 5; ++i) {
    note_loss(state, rule, 1.0);
    EXPECT_FALSE(is_on_plateau(state, rule)) << i;
  }
  note_loss(state, rule, 1.0);
  EXPECT_TRUE(is_on_plateau(state, rule));
}

TEST(LossPlateau, AFallingLossIsNone) {
  TrainerState state;
  const LossPlateau rule{2, 0.1};
  for (const double loss : {4.0, 3.9, 3.5, 3.4, 3.0, 2.9}) {
    note_loss(state, rule, loss);
  }
  EXPECT_FALSE(is_on_plateau(state, rule));
  EXPECT_EQ(state.recent_losses.size(), 4U);
}

TEST(Evaluation, KeepsTheBestAndCountsTheRest) {
  TrainerState state;
  TrainingSpec training;
  training.early_stop = EarlyStop{2, 0.05};
  state.step = 10;
  EXPECT_TRUE(note_evaluation(state, training, 2.0).best);
  state.step = 20;
  // Better, but by less than min_delta: the best one, and still no progress.
  auto verdict = note_evaluation(state, training, 1.98);
  EXPECT_TRUE(verdict.best);
  EXPECT_FALSE(verdict.stop_early);
  EXPECT_EQ(state.best->step, 20U);
  state.step = 30;
  verdict = note_evaluation(state, training, 2.5);
  EXPECT_FALSE(verdict.best);
  EXPECT_TRUE(verdict.stop_early);
}

TEST(Evaluation, ProgressResetsThePatience) {
  TrainerState state;
  TrainingSpec training;
  training.early_stop = EarlyStop{2, 0.0};
  for (const double loss : {3.0, 3.1, 2.9, 3.0}) {
    EXPECT_FALSE(note_evaluation(state, training, loss).stop_early) << loss;
  }
  EXPECT_TRUE(note_evaluation(state, training, 3.0).stop_early);
}

TEST(Evaluation, WithoutEarlyStopNothingEnds) {
  TrainerState state;
  for (int i = 0; i < 50; ++i) {
    EXPECT_FALSE(note_evaluation(state, TrainingSpec{}, 1.0).stop_early);
  }
}

}  // namespace
}  // namespace ratchet::trainer
