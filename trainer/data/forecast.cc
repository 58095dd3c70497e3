#include "trainer/data/forecast.h"

namespace ratchet::trainer {

Result<DataForecast> forecast_data(const TokenizedDataset& dataset, const PackingOptions& packing,
                                   const RunLength& length) {
  auto schedule = StepSchedule::make(dataset.lengths(), packing, length);
  if (!schedule) return schedule.error();
  DataForecast forecast;
  forecast.samples = dataset.samples();
  forecast.tokens = dataset.tokens();
  forecast.trained_tokens = dataset.trained_tokens();
  forecast.rows = schedule->plan(0).rows();
  forecast.fill = static_cast<double>(forecast.tokens) /
                  (static_cast<double>(forecast.rows) * packing.sequence_length);
  forecast.steps = schedule->total_steps();
  if (forecast.steps == 0) return forecast;
  const StepRows last = schedule->rows_of(forecast.steps - 1);
  forecast.run_tokens = last.data_epoch * forecast.tokens;
  const EpochPlan& plan = schedule->plan(last.data_epoch);
  for (std::uint64_t row = 0; row < last.end; ++row) forecast.run_tokens += plan.row_tokens(row);
  return forecast;
}

}  // namespace ratchet::trainer
