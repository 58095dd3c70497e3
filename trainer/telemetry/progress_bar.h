#pragma once

// What a person sees while the trainer works: a bar on a terminal, a plain line every so often
// elsewhere. Rendering is pure; ProgressBar decides when and writes.

#include <cstdint>
#include <functional>
#include <string>

namespace ratchet::trainer {

struct ProgressState {
  std::int64_t step = 0;
  std::int64_t total_steps = 0;
  double data_epoch = 0;
  double loss = 0;
  double tokens_per_s = 0;
  double eta_s = 0;
  bool replayed = false;
};

// One line without newline, at most `width` columns (ASCII only); parts that do not fit are left
// out, the least important first: bar, data epoch, rate, time left, loss.
//   " 42% [=======>          ]  850/2000  loss 1.2345  12.3 k tokens/s  1 h 07 min left  epoch 1.3"
std::string render_progress(const ProgressState& state, int width);

// "step 850/2000 (42 %), loss 1.2345, 12.3 k tokens/s, 1 h 07 min left"
std::string render_plain(const ProgressState& state);

class ProgressBar {
 public:
  struct Options {
    std::function<void(const std::string&)> write;  // to stderr, as it is
    bool terminal = false;
    std::function<int()> width;        // columns of the terminal now; only with a terminal
    std::function<double()> now_s;     // monotonic seconds
    double terminal_interval_s = 0.1;  // least time between two drawings
    double plain_interval_s = 15.0;    // least time between two plain lines
  };

  // stderr of this process: a bar when it is a terminal.
  static Options for_stderr();

  explicit ProgressBar(Options options);
  ~ProgressBar();  // finish()
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // Draws when enough time has passed, and always for the first and the last step.
  void update(const ProgressState& state);
  // A line of its own, above the bar.
  void message(const std::string& line);
  // Leaves the bar as it is and goes to the next line.
  void finish();

 private:
  Options options_;
  ProgressState state_;
  bool drawn_ = false;  // the cursor stands behind a bar
  bool any_ = false;
  double last_s_ = 0;
};

}  // namespace ratchet::trainer
