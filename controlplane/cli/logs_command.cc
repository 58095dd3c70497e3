// ratchet logs JOB.

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "controlplane/cli/command.h"
#include "controlplane/cli/format.h"
#include "controlplane/cli/job_view.h"
#include "controlplane/cli/json_values.h"
#include "proto/net/retry.h"

namespace ratchet::control::cli {
namespace {

constexpr Millis kBetweenLooks{1000};

struct LogsArgs {
  std::string job;
  std::int64_t attempt = 0;  // 0: the newest
  bool follow = false;
};

class LogReader {
 public:
  LogReader(Api& api, const Flags& flags, const LogsArgs& args)
      : api_(api), flags_(flags), args_(args), attempt_(args.attempt) {}

  Answer<int> run() {
    for (;;) {
      const auto job = look();
      if (!job) {
        if (!args_.follow || !started_ || job.error().exit != kExitUnreachable) return job.error();
        if (!api_.pause(backoff_.next())) return leave();
        continue;
      }
      const auto read = read_attempt();
      if (!read && read.error().exit != kExitUnreachable) return finish(read.error());
      if (!read && !args_.follow) return read.error();
      if (read) backoff_.reset();
      if (read && *read > 0) continue;  // there may be more: an answer is a piece
      if (!args_.follow) break;
      if (read && attempt_ >= job->attempts && is_over(*job)) break;
      const bool next = read && args_.attempt == 0 && attempt_ < job->attempts;
      if (next) {
        ++attempt_;
        offset_ = 0;
      } else if (!api_.pause(read ? kBetweenLooks : backoff_.next())) {
        return leave();
      }
    }
    return kExitOk;
  }

 private:
  Answer<JobView> look() {
    const auto job = api_.get(job_target(args_.job));
    if (!job) return job.error();
    JobView view = read_job(*job);
    if (attempt_ == 0) attempt_ = view.attempts;
    started_ = true;
    return view;
  }

  // Prints what is new of the attempt's log; how many bytes that was.
  Answer<std::int64_t> read_attempt() {
    if (attempt_ == 0) return std::int64_t{0};
    const std::string target = job_target(args_.job, "/logs") +
                               "?attempt=" + std::to_string(attempt_) +
                               "&offset=" + std::to_string(offset_);
    std::int64_t got = 0;
    const auto status = api_.download(target, 0, [&](std::string_view piece) -> Status {
      show(piece);
      got += static_cast<std::int64_t>(piece.size());
      return {};
    });
    offset_ += got;
    if (!status && got == 0) return status.error();
    return got;
  }

  void show(std::string_view piece) const {
    if (flags_.json) {
      const Json line = {{"attempt", attempt_}, {"text", piece}};
      print(line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
    } else {
      print(is_terminal(1) ? printable(piece, true) : std::string(piece));
    }
  }

  Answer<int> finish(const Problem& problem) const {
    if (problem.exit == kExitInterrupted) return leave();
    return problem;
  }
  static Answer<int> leave() { return kExitInterrupted; }

  Api& api_;
  const Flags& flags_;
  const LogsArgs& args_;
  std::int64_t attempt_;
  std::int64_t offset_ = 0;
  bool started_ = false;
  net::Backoff backoff_{kReconnect, static_cast<std::uint64_t>(::getpid())};
};

}  // namespace

void add_logs_command(Registry registry) {
  auto args = std::make_shared<LogsArgs>();
  CLI::App* command = add_remote_command(registry.app, registry.flags, "logs",
                                         "What the trainer wrote, also after its node is gone",
                                         "-f goes on with each new attempt and ends with the job.\n"
                                         "Examples:  ratchet logs support-bot-7f3a\n"
                                         "           ratchet logs -f support-bot-7f3a");
  command->add_option("JOB", args->job, "its id, as 'ratchet list' shows it")->required();
  command->add_option("--attempt", args->attempt, "number of the attempt; default: the newest")
      ->check(CLI::PositiveNumber);
  command->add_flag("--follow,-f", args->follow, "wait for more");
  command->callback([=] {
    registry.selected = [=] {
      return with_api(registry.flags,
                      [&](Api& api) { return LogReader(api, registry.flags, *args).run(); });
    };
  });
}

}  // namespace ratchet::control::cli
