#include "trainer/train/stop_rules.h"

#include <cstddef>
#include <numeric>

namespace ratchet::trainer {
namespace {

constexpr double kEmaWeight = 0.05;

double mean(const double* begin, const double* end) {
  return std::accumulate(begin, end, 0.0) / static_cast<double>(end - begin);
}

}  // namespace

double next_loss_ema(const TrainerState& state, double loss) {
  return state.loss_ema ? *state.loss_ema + kEmaWeight * (loss - *state.loss_ema) : loss;
}

void note_loss(TrainerState& state, const LossPlateau& rule, double loss) {
  auto& losses = state.recent_losses;
  losses.push_back(loss);
  const auto keep = static_cast<size_t>(2 * rule.window_steps);
  if (losses.size() > keep) {
    losses.erase(losses.begin(), losses.begin() + static_cast<ptrdiff_t>(losses.size() - keep));
  }
}

bool is_on_plateau(const TrainerState& state, const LossPlateau& rule) {
  const auto window = static_cast<size_t>(rule.window_steps);
  if (state.recent_losses.size() < 2 * window) {
    return false;
  }
  const double* losses = state.recent_losses.data();
  const double before = mean(losses, losses + window);
  const double now = mean(losses + window, losses + 2 * window);
  return before - now < rule.min_delta;
}

EvaluationVerdict note_evaluation(TrainerState& state, const TrainingSpec& training, double loss) {
  EvaluationVerdict verdict;
  verdict.best = !state.best || loss < state.best->value;
  if (verdict.best) {
    state.best = BestMetric{loss, state.step};
  }
  if (!training.early_stop) {
    return verdict;
  }
  if (!state.early_stop_reference ||
      *state.early_stop_reference - loss > training.early_stop->min_delta) {
    state.early_stop_reference = loss;
    state.evaluations_without_improvement = 0;
  } else {
    state.evaluations_without_improvement += 1;
    verdict.stop_early = state.evaluations_without_improvement >=
                         static_cast<uint64_t>(training.early_stop->patience);
  }
  return verdict;
}

}  // namespace ratchet::trainer
