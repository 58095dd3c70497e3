#pragma once

// Order statistics of repeated timings, and the date of a result row. Plain C++, no CUDA.

#include <algorithm>
#include <cmath>
#include <ctime>
#include <string>
#include <vector>

namespace ratchet::bench {

// Nearest-rank quantile, q in [0, 1]; NaN for an empty sample.
inline double quantile(std::vector<double> sample, double q) {
  if (sample.empty()) return std::nan("");
  std::sort(sample.begin(), sample.end());
  const double rank = std::ceil(q * static_cast<double>(sample.size())) - 1.0;
  return sample[static_cast<size_t>(std::clamp(rank, 0.0, static_cast<double>(sample.size() - 1)))];
}

struct Spread {
  double p10 = 0.0, median = 0.0, p90 = 0.0;
};

inline Spread spread_of(const std::vector<double>& sample) {
  return {quantile(sample, 0.1), quantile(sample, 0.5), quantile(sample, 0.9)};
}

// Today in UTC as YYYY-MM-DD.
inline std::string utc_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", &parts);
  return text;
}

}  // namespace ratchet::bench
