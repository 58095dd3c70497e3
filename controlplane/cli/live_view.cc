#include "controlplane/cli/live_view.h"

#include <algorithm>
#include <utility>

#include "controlplane/cli/format.h"
#include "controlplane/cli/json_values.h"

namespace ratchet::control::cli {
namespace {

// A recovery is in hand while one of its stages is not over.
bool is_recovering(const JobView& job) {
  for (const StageView& stage : job.recovery) {
    if (stage.state == "running" || (stage.state == "pending" && job.state != "training")) {
      return true;
    }
  }
  return false;
}

}  // namespace

void LiveView::on_job(const Json& job) {
  const auto seen = job_.last_step;
  const auto epoch = job_.epoch;
  job_ = read_job(job);
  const bool newer =
      seen && epoch == job_.epoch && (!job_.last_step || seen->step > job_.last_step->step);
  if (!newer) return;
  job_.last_step = seen;
  job_.step = std::max(job_.step, seen->step);
}

void LiveView::on_step(const Json& step) {
  StepView view = read_step(step);
  if (view.step <= 0) return;
  job_.step = view.step;
  if (view.total_steps > 0) job_.total_steps = view.total_steps;
  job_.last_step = view;
}

std::vector<std::string> LiveView::block(std::size_t columns, UnixMillis now) const {
  std::vector<std::string> lines{live_line(job_, columns)};
  if (is_recovering(job_)) {
    lines.push_back(fit("recovery: " + format_recovery(job_.recovery, now), columns));
  }
  if (!silence_.empty()) lines.push_back(fit(printable(silence_), columns));
  return lines;
}

std::string LiveView::plain(UnixMillis now) const {
  if (is_recovering(job_)) return "recovery: " + format_recovery(job_.recovery, now);
  constexpr std::size_t kPlainColumns = 200;
  return live_line(job_, kPlainColumns);
}

std::string LiveView::verdict() const {
  const std::string job = "Job " + printable(job_.id) + " ";
  if (job_.state == "completed") {
    return job + "is completed: " + format_progress(job_) + ", " + format_usd(job_.cost.usd) +
           ". 'ratchet download " + printable(job_.id) + "' brings the result.";
  }
  if (job_.state == "cancelled") return job + "was cancelled.";
  std::string text = job + "failed";
  if (job_.failure) {
    text += ": " + job_.failure->error_type + ": " + job_.failure->message;
    if (!job_.failure->next_step.empty()) text += "\n" + job_.failure->next_step;
  }
  return printable(text, true);
}

std::string Painter::erase() const {
  if (drawn_.empty()) return "";
  std::string text = "\r";
  // ESC [nA goes up, ESC [J clears to the end of the screen.
  if (drawn_.size() > 1) text += "\x1b[" + std::to_string(drawn_.size() - 1) + "A";
  return text + "\x1b[J";
}

std::string Painter::text() const {
  std::string text;
  for (const std::string& line : drawn_) text += (text.empty() ? "" : "\n") + line;
  return text;
}

void Painter::draw(const std::vector<std::string>& block) {
  if (block == drawn_) return;
  const std::string erased = erase();
  drawn_ = block;
  write_(erased + text());
}

void Painter::say(const std::string& line) { write_(erase() + line + "\n" + text()); }

void Painter::finish() {
  if (!drawn_.empty()) write_("\n");
  drawn_.clear();
}

}  // namespace ratchet::control::cli
