#include "trainer/telemetry/progress_bar.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <utility>
#include <vector>

#include "trainer/telemetry/format.h"

namespace ratchet::trainer {

namespace {

constexpr int kDefaultWidth = 80;
constexpr std::size_t kBarColumns = 24;  // with its brackets
constexpr double kMaxRatio = 1.0;

double ratio_of(const ProgressState& state) {
  if (state.total_steps <= 0) return 0;
  return std::clamp(static_cast<double>(state.step) / static_cast<double>(state.total_steps), 0.0,
                    kMaxRatio);
}

// Rounded down, so that 100 % means done.
std::string percent_of(const ProgressState& state) {
  return std::to_string(static_cast<int>(ratio_of(state) * 100));
}

std::string loss_text(double loss) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "loss %.4f", loss);
  return text.data();
}

std::string steps_text(const ProgressState& state) {
  return std::to_string(state.step) + "/" + std::to_string(state.total_steps);
}

std::string bar_text(double ratio) {
  const std::size_t inner = kBarColumns - 2;
  const auto filled = static_cast<std::size_t>(ratio * static_cast<double>(inner));
  std::string bar(inner, ' ');
  std::fill_n(bar.begin(), filled, '=');
  if (filled < inner) bar[filled] = '>';
  return "[" + bar + "]";
}

std::string epoch_text(double data_epoch) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "data epoch %.2f", data_epoch);
  return text.data();
}

}  // namespace

std::string render_progress(const ProgressState& state, int width) {
  struct Part {
    std::string text;
    int keep;  // the part with the lowest goes first
  };
  std::string percent = percent_of(state) + "%";
  percent.insert(0, percent.size() < 4 ? 4 - percent.size() : 0, ' ');
  std::vector<Part> parts{
      {percent, 7},
      {bar_text(ratio_of(state)), 1},
      {steps_text(state), 6},
      {loss_text(state.loss), 5},
      {format_rate(state.tokens_per_s) + " tokens/s", 3},
      {state.replayed ? "replaying" : format_duration(state.eta_s) + " left", 4},
      {epoch_text(state.data_epoch), 2},
  };
  const auto columns = [&parts] {
    std::size_t sum = 0;
    for (const Part& part : parts) sum += part.text.size() + (sum > 0 ? 2 : 0);
    return sum;
  };
  const auto limit = static_cast<std::size_t>(std::max(width, 0));
  while (!parts.empty() && columns() > limit) {
    parts.erase(std::ranges::min_element(parts, {}, &Part::keep));
  }
  std::string line;
  for (const Part& part : parts) line += (line.empty() ? "" : "  ") + part.text;
  return line;
}

std::string render_plain(const ProgressState& state) {
  return "step " + steps_text(state) + " (" + percent_of(state) + " %), " + loss_text(state.loss) +
         ", " + format_rate(state.tokens_per_s) + " tokens/s, " +
         (state.replayed ? "replaying" : format_duration(state.eta_s) + " left");
}

ProgressBar::Options ProgressBar::for_stderr() {
  Options options;
  options.write = [](const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  };
  options.terminal = isatty(STDERR_FILENO) == 1;
  options.width = [] {
    winsize size{};
    const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return known ? static_cast<int>(size.ws_col) : kDefaultWidth;
  };
  options.now_s = [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  };
  return options;
}

ProgressBar::ProgressBar(Options options) : options_(std::move(options)) {}

ProgressBar::~ProgressBar() { finish(); }

void ProgressBar::update(const ProgressState& state) {
  const double now = options_.now_s();
  const double interval =
      options_.terminal ? options_.terminal_interval_s : options_.plain_interval_s;
  const bool last = state.step == state.total_steps && state.step != state_.step;
  const bool due = !any_ || last || now - last_s_ >= interval;
  state_ = state;
  if (!due) return;
  any_ = true;
  last_s_ = now;
  if (options_.terminal) {
    // One column stays free: terminals wrap when the last one is written. ESC [K clears the rest.
    options_.write("\r" + render_progress(state, options_.width() - 1) + "\x1b[K");
    drawn_ = true;
  } else {
    options_.write(render_plain(state) + "\n");
  }
}

void ProgressBar::message(const std::string& line) {
  if (!drawn_) {
    options_.write(line + "\n");
    return;
  }
  options_.write("\r\x1b[K" + line + "\n" + render_progress(state_, options_.width() - 1) +
                 "\x1b[K");
}

void ProgressBar::finish() {
  if (drawn_) options_.write("\n");
  drawn_ = false;
}

}  // namespace ratchet::trainer
