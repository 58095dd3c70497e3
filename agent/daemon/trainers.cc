#include "agent/daemon/trainers.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <utility>

#include "agent/daemon/cgroup.h"
#include "agent/daemon/files.h"
#include "agent/daemon/off_loop.h"
#include "agent/daemon/trainer_control.h"
#include "proto/job_spec.h"

namespace ratchet::agent {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxLines = 4000;             // of one sync
constexpr std::size_t kMaxLineBytes = 1024 * 1024;  // of one sync
constexpr std::size_t kLastWords = 2000;
constexpr int kLogTries = 100;  // of up to 1 MiB each, for the log of a trainer that has ended
constexpr Millis kLogPause{500};
constexpr Millis kAnswerAllowance{2000};  // a stop request's answer, beyond its own deadline

std::uint64_t start_time_us(const ProcessIdentity& identity) {
  return identity.start_time * 1000000 / static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
}

std::string join(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) out += (out.empty() ? "" : ",") + text;
  return out;
}

std::string group_name(const AttemptKey& key) {
  return key.job_id.str() + "-e" + std::to_string(key.epoch);
}

std::string log_target(const DesiredAttempt& desired) {
  return "/v1/agent/jobs/" + net::url_escape(desired.job_id.str()) + "/attempts/" +
         std::to_string(desired.attempt_no) + "/log";
}

}  // namespace

Result<AttemptSpec> make_trainer_spec(const DesiredAttempt& desired, const PreparedInputs& inputs,
                                      const fs::path& folder) {
  auto job = to_result("The job's spec", decode_job_spec(desired.job_spec));
  if (!job) return job.error();
  AttemptArgs args;
  args.base_dir = folder.string();
  args.output_dir = (folder / "out").string();
  args.job_id = desired.job_id;
  args.run_id = desired.run_id;
  args.attempt_no = desired.attempt_no;
  args.epoch = desired.epoch;
  args.resume = inputs.resume;
  auto spec = make_attempt_spec(*job, args);
  if (!spec) return spec.error();
  spec->paths = inputs.paths;
  return spec;
}

Trainers::Running::Running(const DesiredAttempt& wanted, EventTail reader,
                           std::shared_ptr<LogForwarder> forwarder)
    : desired(wanted), tail(std::move(reader)), log(std::move(forwarder)) {}

Trainers::Trainers(asio::any_io_executor executor, Settings settings, StateFolder& state,
                   KernelLog& kernel_log, Report report, EventSink see)
    : executor_(std::move(executor)),
      settings_(std::move(settings)),
      state_(state),
      kernel_log_(kernel_log),
      report_(std::move(report)),
      see_(std::move(see)) {}

Trainers::Running& Trainers::add(const DesiredAttempt& desired, TailCursor cursor) {
  const AttemptKey key{desired.job_id, desired.epoch};
  const fs::path folder = state_.attempt(key);
  Running running(desired, EventTail(folder / "out" / "events.jsonl", cursor),
                  std::make_shared<LogForwarder>(folder / "trainer.log", log_target(desired)));
  return running_.insert_or_assign(key, std::move(running)).first->second;
}

void Trainers::take_over(const StoredAttempt& stored) {
  if (!stored.process) return;
  const AttemptKey key{stored.recovered.desired.job_id, stored.recovered.desired.epoch};
  Running& running = add(stored.recovered.desired, stored.cursor);
  running.settled_step = stored.recovered.notes.settled_step;
  running.pid = stored.process->identity.pid;
  running.started_us = start_time_us(stored.process->identity);
  running.gpus = stored.process->gpus;
  if (settings_.cgroup) {
    running.cgroup = *settings_.cgroup / ("ratchet-" + group_name(key));
  }
  auto process = TrainerProcess::attach(stored.process->identity);
  if (process) running.process.emplace(*std::move(process));
  running.catching_up = true;
  while (read_lines(key, running)) {
  }
  running.catching_up = false;
  if (!running.process) {
    kernel_log_.poll();
    report_end(key, running, ProcessEnd{});
  }
}

std::vector<std::string> Trainers::free_gpus(std::int64_t count) const {
  std::vector<std::string> out;
  for (const std::string& uuid : gpus_) {
    const bool taken = std::any_of(running_.begin(), running_.end(), [&](const auto& entry) {
      const auto& held = entry.second.gpus;
      return entry.second.process && std::find(held.begin(), held.end(), uuid) != held.end();
    });
    if (!taken && static_cast<std::int64_t>(out.size()) < count) out.push_back(uuid);
  }
  return out;
}

void Trainers::start(const DesiredAttempt& desired, const PreparedInputs& inputs) {
  const AttemptKey key{desired.job_id, desired.epoch};
  Running& running = add(desired, {});
  const Status launched = launch(running, inputs);
  if (launched) {
    report_(TrainerStarted{key});
  } else {
    running_.erase(key);
    report_(StartFailed{key, launched.error().message});
  }
}

Status Trainers::launch(Running& running, const PreparedInputs& inputs) {
  const DesiredAttempt& desired = running.desired;
  const AttemptKey key{desired.job_id, desired.epoch};
  const fs::path folder = state_.attempt(key);
  const auto spec = make_trainer_spec(desired, inputs, folder);
  if (!spec) return spec.error();
  if (Status wrote = write_atomically(folder / "attempt.json", encode_attempt_spec(*spec));
      !wrote) {
    return wrote;
  }
  SpawnArgs args;
  args.program = settings_.program;
  args.arguments = {"run", (folder / "attempt.json").string(), "--sigterm-deadline-ms",
                    std::to_string(settings_.sigterm_deadline.count())};
  args.folder = folder;
  args.log = folder / "trainer.log";
  if (!gpus_.empty() && spec->job.devices.kind != DeviceKind::kCpu) {
    running.gpus = free_gpus(spec->job.devices.count);
    args.environment.push_back("CUDA_VISIBLE_DEVICES=" + join(running.gpus));
  }
  if (settings_.cgroup) {
    // Without a group the trainer runs all the same; its end is only explained less well.
    if (auto group = make_cgroup(*settings_.cgroup, group_name(key))) running.cgroup = *group;
  }
  args.cgroup = running.cgroup;
  auto process = TrainerProcess::start(args, [&](const ProcessIdentity& identity) {
    return state_.save_process(key, {identity, desired.epoch, running.gpus});
  });
  if (!process) return process.error();
  running.pid = process->identity().pid;
  running.started_us = start_time_us(process->identity());
  running.process.emplace(*std::move(process));
  return ok();
}

void Trainers::stop(const StopTrainer& order) {
  if (running_.count(order.key) == 0) return;
  asio::co_spawn(
      executor_,
      ask_to_stop(order.key, state_.output(order.key) / "control.sock", order.save_deadline),
      asio::detached);
}

asio::awaitable<void> Trainers::ask_to_stop(AttemptKey key, fs::path socket, Millis deadline) {
  ++under_way_;
  ControlRequest request;
  request.verb = ControlVerb::kStop;
  request.deadline = std::clamp(deadline, Millis{1}, kMaxControlDeadline);
  const auto answer = co_await ask_trainer(socket, request, *request.deadline + kAnswerAllowance);
  --under_way_;
  // Without its socket (too early, a path too long for one) a trainer still understands SIGTERM.
  const auto found = running_.find(key);
  const bool unheard = !answer && answer.error().code == Code::kNotFound;
  if (unheard && found != running_.end() && found->second.process) {
    found->second.process->signal(SIGTERM);
  }
}

void Trainers::signal(const AttemptKey& key, int number) {
  const auto found = running_.find(key);
  if (found != running_.end() && found->second.process) {
    found->second.process->signal_group(number);
  }
}

void Trainers::forget(const AttemptKey& key) {
  if (const auto found = running_.find(key); found != running_.end()) {
    remove_cgroup(found->second.cgroup);
    running_.erase(found);
  }
}

bool Trainers::look() {
  bool any = false;
  std::vector<AttemptKey> keys;
  for (const auto& [key, running] : running_) keys.push_back(key);
  for (const AttemptKey& key : keys) {
    // Reports may forget attempts.
    auto found = running_.find(key);
    if (found == running_.end() || !found->second.process) continue;
    const auto end = found->second.process->reap();
    // Asked before the lines are read: after its end no line is added.
    while (read_lines(key, found->second)) {
    }
    found = running_.find(key);
    if (found == running_.end()) continue;
    if (end) {
      kernel_log_.poll();
      found->second.process.reset();
      report_end(key, found->second, *end);
    } else {
      any = true;
    }
  }
  return any;
}

bool Trainers::read_lines(const AttemptKey& key, Running& running) {
  std::vector<SeenLine> seen = running.tail.poll();
  const bool more = running.tail.has_more();
  for (SeenLine& line : seen) {
    if (line.event) {
      if (const auto* saved = std::get_if<CheckpointEvent>(&line.event->body)) {
        seal(key, running, *saved);
      }
      see_(key, *line.event, running.catching_up);
    }
    report_(LineRead{key, line.seq, std::move(line.event)});
  }
  return more;
}

void Trainers::seal(const AttemptKey& key, const Running& running, const CheckpointEvent& event) {
  const fs::path path = fs::path(event.path).lexically_normal();
  const bool inside = path.parent_path() == state_.output(key) / "ckpt";
  if (event.path.empty() || !inside || event.step <= running.settled_step) return;
  const fs::path target = state_.sealed(key.job_id, event.step, event.manifest_sha256);
  // The trainer's own retention deletes its name of the files; these stay. A failure here shows
  // when the checkpoint is uploaded: from the trainer's name, or not at all.
  if (make_folders(target.parent_path())) static_cast<void>(link_tree(path, target));
}

void Trainers::report_end(const AttemptKey& key, Running& running, const ProcessEnd& end) {
  if (std::exchange(running.ended, true)) return;
  ExitFacts facts;
  if (end.known && end.signal == 0) facts.exit_code = end.exit_code;
  if (end.known && end.signal != 0) facts.signal = end.signal;
  if (!running.cgroup.empty()) facts.oom_kills = oom_kills(running.cgroup);
  facts.kernel_oom_line = kernel_log_.killed(running.pid, running.started_us);
  facts.xids = kernel_log_.xids_since(running.started_us);
  facts.last_words = last_words(state_.attempt(key) / "trainer.log", kLastWords);
  report_(TrainerExited{key, std::move(facts)});
}

std::vector<TrainerLine> Trainers::lines(const AgentCore& core) {
  std::vector<TrainerLine> out;
  std::size_t bytes = 0;
  for (auto& [key, running] : running_) {
    const std::uint64_t before = running.tail.cursor().seq;
    running.tail.acknowledge(core.acked_seq(key));
    if (running.tail.cursor().seq != before) state_.save_cursor(key, running.tail.cursor());
    if (out.size() >= kMaxLines || bytes >= kMaxLineBytes) continue;
    if (running.tail.waiting() == 0) continue;
    for (TailLine& line :
         running.tail.unacknowledged(kMaxLines - out.size(), kMaxLineBytes - bytes)) {
      bytes += line.text.size();
      out.push_back(
          {key.job_id, running.desired.attempt_no, key.epoch, line.seq, std::move(line.text)});
    }
  }
  return out;
}

std::uint64_t Trainers::lines_waiting() const {
  std::uint64_t total = 0;
  for (const auto& [key, running] : running_) total += running.tail.waiting();
  return total;
}

void Trainers::forward_logs(net::HttpClient& http, net::CancelSource& cancel) {
  for (auto& [key, running] : running_) {
    if (std::exchange(running.forwarding, true)) continue;
    asio::co_spawn(executor_, forward(key, http, cancel), asio::detached);
  }
}

asio::awaitable<void> Trainers::forward(AttemptKey key, net::HttpClient& http,
                                        net::CancelSource& cancel) {
  const auto found = running_.find(key);
  if (found == running_.end()) co_return;
  // The attempt may be forgotten meanwhile.
  const std::shared_ptr<LogForwarder> log = found->second.log;
  const bool ended = found->second.ended;
  ++under_way_;
  bool whole = co_await log->forward(http, &cancel);
  for (int tries = 1; ended && !whole && !cancel.cancelled() && tries < kLogTries; ++tries) {
    co_await sleep_for(kLogPause);
    whole = co_await log->forward(http, &cancel);
  }
  --under_way_;
  if (const auto still = running_.find(key); still != running_.end()) {
    still->second.forwarding = false;
  }
}

void Trainers::trim_logs() {
  for (const auto& [key, running] : running_) {
    if (running.process) trim_log(state_.attempt(key) / "trainer.log", kMaxLogOnDisk);
  }
}

std::size_t Trainers::alive() const {
  return static_cast<std::size_t>(
      std::count_if(running_.begin(), running_.end(),
                    [](const auto& e) { return e.second.process.has_value(); }));
}

}  // namespace ratchet::agent
