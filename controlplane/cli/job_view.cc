#include "controlplane/cli/job_view.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>
#include <utility>

#include "controlplane/cli/format.h"
#include "controlplane/cli/json_values.h"

namespace ratchet::control::cli {
namespace {

constexpr std::size_t kBarColumns = 24;
constexpr std::size_t kSentenceColumns = 240;  // an event's; 'ratchet show' has the whole

double ratio_of(std::int64_t step, std::int64_t total) {
  return total <= 0 ? 0.0 : static_cast<double>(step) / static_cast<double>(total);
}

// Rounded down, so that 100 % means done.
std::string percent_of(const JobView& job) {
  const double ratio = std::clamp(ratio_of(job.step, job.total_steps), 0.0, 1.0);
  return std::to_string(static_cast<int>(ratio * 100));
}

std::string steps_text(const JobView& job) {
  return std::to_string(job.step) + "/" +
         (job.total_steps > 0 ? std::to_string(job.total_steps) : "?");
}

std::string loss_text(double loss) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "loss %.4f", loss);
  return text.data();
}

CostView read_cost(const Json& cost) {
  CostView view;
  view.usd = number_at(cost, "usd").value_or(0);
  view.usd_per_hour = number_at(cost, "usd_per_hour").value_or(0);
  view.training_s = number_at(cost, "training_s").value_or(0);
  view.overhead_s = number_at(cost, "overhead_s").value_or(0);
  view.training_usd = number_at(cost, "training_usd").value_or(0);
  view.overhead_usd = number_at(cost, "overhead_usd").value_or(0);
  return view;
}

std::string format_cost(const CostView& cost) {
  return format_usd(cost.usd) + " (training " + format_duration(cost.training_s) + " " +
         format_usd(cost.training_usd) + ", overhead " + format_duration(cost.overhead_s) + " " +
         format_usd(cost.overhead_usd) + "), now " + format_usd(cost.usd_per_hour) + " an hour";
}

struct EventWords {
  std::string_view type;
  std::string_view sentence;
};

// Types whose sentence needs nothing but the event's common fields.
constexpr std::array<EventWords, 20> kSentences{{
    {"job.created", "submitted"},
    {"job.queued", "waiting for a node"},
    {"job.starting", "a node has it"},
    {"job.started", "training began"},
    {"job.pausing", "pausing: a checkpoint is being saved"},
    {"job.paused", "paused"},
    {"job.resumed", "resumed"},
    {"job.succeeded", "completed"},
    {"job.cancelling", "cancelling"},
    {"job.cancelled", "cancelled"},
    {"job.failed", "failed"},
    {"job.recovering", "interrupted, recovering"},
    {"job.recovered", "recovered: training goes on"},
    {"job.stalled", "no progress: the trainer does not move"},
    {"checkpoint.committed", "checkpoint committed"},
    {"checkpoint.adopted", "checkpoint adopted from an earlier attempt"},
    {"checkpoint.conflict", "another checkpoint of the same step was not taken"},
    {"attempt.regranted", "its node was heard of again and trains on"},
    {"node.reclaim_notice", "the node is about to be taken away"},
    {"node.lost", "the node is gone"},
}};

std::string sentence_of(const std::string& type) {
  for (const EventWords& known : kSentences) {
    if (known.type == type) return std::string(known.sentence);
  }
  return type;
}

}  // namespace

StepView read_step(const Json& step) {
  StepView view;
  view.step = integer_at(step, "step");
  view.total_steps = integer_at(step, "total_steps");
  view.loss = number_at(step, "loss");
  view.tokens_per_s = number_at(step, "tokens_per_s");
  view.eta_s = number_at(step, "eta_s");
  view.replayed = flag_at(step, "replayed");
  const Json* vram = member(step, "vram");
  if (vram != nullptr) {
    view.vram = Bytes(vram->is_number_integer() ? integer_at(step, "vram")
                                                : integer_at(*vram, "device_used_bytes",
                                                             integer_at(*vram, "allocated_bytes")));
  }
  return view;
}

JobView read_job(const Json& job) {
  JobView view;
  view.id = text_at(job, "id");
  view.name = text_at(job, "name");
  view.run_id = text_at(job, "run_id");
  view.parent = text_at(job, "parent");
  view.state = text_at(job, "state", "unknown");
  view.badge = text_at(job, "badge");
  view.stage = text_at(job, "stage");
  view.node = text_at(job, "node");
  view.result_artifact = text_at(job, "result_artifact");
  const Json& head = object_at(job, "head");
  view.head_artifact = text_at(head, "artifact_id");
  view.head_step = integer_at(head, "step");
  view.epoch = integer_at(job, "epoch");
  view.attempts = integer_at(job, "attempts");
  view.step = integer_at(job, "step");
  view.total_steps = integer_at(job, "total_steps");
  view.priority = integer_at(job, "priority");
  view.interruptions = integer_at(job, "interruptions");
  view.interruption_loop = flag_at(job, "interruption_loop");
  view.cost = read_cost(object_at(job, "cost"));
  if (const Json* failure = member(job, "failure")) {
    view.failure = FailureView{text_at(*failure, "error_type"), text_at(*failure, "message"),
                               text_at(*failure, "next_step")};
  }
  for (const Json& stage : array_at(object_at(job, "recovery"), "stages")) {
    view.recovery.push_back({text_at(stage, "stage"), text_at(stage, "state"),
                             time_at(stage, "began_at_ms"), time_at(stage, "ended_at_ms")});
  }
  if (const Json* step = member(job, "last_step")) view.last_step = read_step(*step);
  view.created = time_at(job, "created_at_ms");
  view.started = time_at(job, "started_at_ms");
  view.ended = time_at(job, "ended_at_ms");
  view.starts_at = time_at(job, "starts_at_ms");
  return view;
}

bool is_over(const JobView& job) {
  return job.state == "completed" || job.state == "failed" || job.state == "cancelled";
}

std::string format_progress(const JobView& job) {
  if (job.total_steps <= 0) return job.step > 0 ? std::to_string(job.step) : "-";
  return steps_text(job) + " (" + percent_of(job) + " %)";
}

std::vector<Column> job_columns() {
  return {
      {"ID"},         {"NAME"},        {"STATE"}, {"PROGRESS", true}, {"LOSS"}, {"TIME LEFT", true},
      {"COST", true}, {"STOPS", true}, {"AGE"}};
}

std::vector<std::string> job_row(const JobView& job, UnixMillis now) {
  std::string loss = "-";
  std::string left = "-";
  if (job.last_step) {
    if (job.last_step->loss) loss = loss_text(*job.last_step->loss).substr(5);
    if (job.last_step->eta_s && job.state == "training") {
      left = format_duration(*job.last_step->eta_s);
    }
  }
  return {job.id,
          job.name,
          job.state,
          format_progress(job),
          loss,
          left,
          format_usd(job.cost.usd),
          std::to_string(job.interruptions),
          format_age(job.created, now)};
}

std::string describe_job(const JobView& job, UnixMillis now) {
  const auto optional_time = [](UnixMillis time) {
    return time.count() > 0 ? format_time(time) : std::string();
  };
  std::vector<Fact> facts{
      {"job", job.id},
      {"name", job.name},
      {"state",
       job.state + (job.badge.empty() || job.badge == job.state ? "" : " (" + job.badge + ")")},
      {"stage", is_over(job) ? "" : job.stage},
      {"progress", format_progress(job)},
      {"node", job.node},
      {"attempts", std::to_string(job.attempts)},
      {"newest checkpoint",
       job.head_artifact.empty() ? "none yet" : "step " + std::to_string(job.head_step)},
      {"interruptions", std::to_string(job.interruptions)},
      {"cost", format_cost(job.cost)},
      {"priority", job.priority == 0 ? "" : std::to_string(job.priority)},
      {"run", job.run_id == job.id ? "" : job.run_id},
      {"continues", job.parent},
      {"submitted", optional_time(job.created)},
      {"starts at", optional_time(job.starts_at)},
      {"started", optional_time(job.started)},
      {"ended", optional_time(job.ended)},
      {"result", job.result_artifact},
  };
  if (job.last_step) {
    if (job.last_step->loss) facts.push_back({"loss", loss_text(*job.last_step->loss).substr(5)});
    if (job.last_step->tokens_per_s) {
      facts.push_back({"tokens/s", format_rate(*job.last_step->tokens_per_s)});
    }
    if (job.last_step->vram.count() > 0) {
      facts.push_back({"VRAM", format_bytes(job.last_step->vram)});
    }
    if (job.last_step->eta_s && !is_over(job)) {
      facts.push_back({"time left", format_duration(*job.last_step->eta_s)});
    }
  }
  if (!is_over(job)) facts.push_back({"recovery", format_recovery(job.recovery, now)});
  if (job.failure) {
    facts.push_back({"failure", job.failure->error_type + ": " + job.failure->message});
    facts.push_back({"what to do", job.failure->next_step});
  }
  std::string text = render_facts(facts);
  if (job.interruption_loop) {
    text +=
        "The job is interrupted again and again without getting further. On-demand nodes cost "
        "more and are not taken away.\n";
  }
  return text;
}

std::string format_recovery(const std::vector<StageView>& stages, UnixMillis now) {
  std::string text;
  for (const StageView& stage : stages) {
    if (!text.empty()) text += " > ";
    text += printable(stage.stage);
    if (stage.state == "pending" || stage.began.count() == 0) continue;
    const bool done = stage.ended.count() > 0;
    const UnixMillis end = done ? stage.ended : std::max(now, stage.began);
    text += " " + format_duration(static_cast<double>((end - stage.began).count()) / 1000);
    if (stage.state == "failed") text += " failed";
    if (!done) text += " ...";
  }
  return text;
}

std::string live_line(const JobView& job, std::size_t columns) {
  struct Part {
    std::string text;
    int keep;  // the part with the lowest goes first
  };
  std::string percent = percent_of(job) + "%";
  percent.insert(0, percent.size() < 4 ? 4 - percent.size() : 0, ' ');
  std::vector<Part> parts{
      {printable(job.state), 9},
      {format_bar(ratio_of(job.step, job.total_steps), kBarColumns), 1},
      {percent, 7},
      {steps_text(job), 8},
  };
  if (job.last_step) {
    const StepView& step = *job.last_step;
    if (step.loss) parts.push_back({loss_text(*step.loss), 6});
    if (step.tokens_per_s) parts.push_back({format_rate(*step.tokens_per_s) + " tokens/s", 4});
    if (step.vram.count() > 0) parts.push_back({"VRAM " + format_bytes(step.vram), 2});
    if (step.eta_s && job.state == "training") {
      parts.push_back({step.replayed ? "replaying" : format_duration(*step.eta_s) + " left", 5});
    }
  }
  parts.push_back({format_usd(job.cost.usd), 3});
  if (job.interruptions > 0) {
    parts.push_back({std::to_string(job.interruptions) +
                         (job.interruptions == 1 ? " interruption" : " interruptions"),
                     0});
  }
  const auto width = [&parts] {
    std::size_t sum = 0;
    for (const Part& part : parts) sum += columns_of(part.text) + (sum > 0 ? 2 : 0);
    return sum;
  };
  while (parts.size() > 1 && width() > columns) {
    parts.erase(std::ranges::min_element(parts, {}, &Part::keep));
  }
  std::string line;
  for (const Part& part : parts) line += (line.empty() ? "" : "  ") + part.text;
  return fit(line, columns);
}

std::string describe_event(const Json& event) {
  const std::string type = text_at(event, "type");
  // Attempts and stages are in the live line; what matters of them has an event of the job.
  if (type.empty() || type.starts_with("attempt.") || type == "job.recovery_stage") return "";
  std::string text = sentence_of(type);
  const Json& data = object_at(event, "data");
  const std::string cause = text_at(event, "cause", text_at(data, "cause"));
  const bool tells_cause = type == "job.recovering" || type == "job.failed" ||
                           type == "node.lost" || type == "job.queued" || type == "job.cancelled";
  if (!cause.empty() && tells_cause) text += " (" + cause + ")";
  const std::int64_t step = integer_at(event, "step");
  if (step > 0) text += ", step " + std::to_string(step);
  const std::int64_t attempt = integer_at(event, "attempt_no");
  if (attempt > 0) text += ", attempt " + std::to_string(attempt);
  if (const auto replayed = number_at(data, "steps_recomputed")) {
    text += ", " + std::to_string(static_cast<std::int64_t>(*replayed)) + " steps replayed";
  }
  const std::string message = text_at(data, "message", text_at(data, "reason"));
  if (!message.empty()) text += ": " + message;
  return fit(printable(text), kSentenceColumns);
}

}  // namespace ratchet::control::cli
