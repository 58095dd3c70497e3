// ratchet watch JOB.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <memory>
#include <string>

#include "controlplane/cli/format.h"
#include "controlplane/cli/json_values.h"
#include "controlplane/cli/live_view.h"
#include "controlplane/cli/watch.h"
#include "proto/net/retry.h"

namespace ratchet::control::cli {
namespace {

constexpr std::size_t kMaxEventBytes = 1024 * 1024;
constexpr Millis kPlainEvery{5000};

std::string clock_text(UnixMillis time) {
  const std::time_t seconds = time.count() / 1000;
  std::tm parts{};
  std::array<char, 16> text{};
  if (::localtime_r(&seconds, &parts) == nullptr) return "";
  std::strftime(text.data(), text.size(), "%H:%M:%S", &parts);
  return text.data();
}

// Where the view goes: a terminal, a log file, or lines of JSON.
class Screen {
 public:
  explicit Screen(bool json) : json_(json), live_(!json && is_terminal(STDOUT_FILENO)) {}

  void event(const Json& event) {
    if (json_) return line({{"type", "event"}, {"event", event}});
    const std::string text = describe_event(event);
    if (!text.empty()) say(clock_text(time_at(event, "occurred_at_ms")) + "  " + text);
  }
  void step(const Json& step, const LiveView& view) {
    if (json_) return line({{"type", "step"}, {"step", step}});
    if (!live_ && due()) say(view.plain(wall_now()));
  }
  void tick(const LiveView& view) {
    if (!live_) return;
    const std::size_t columns = terminal_columns();
    // Terminals wrap when the last column is written.
    painter_.draw(view.block(columns > 1 ? columns - 1 : 79, wall_now()));
  }
  void say(const std::string& text) {
    if (json_) return;
    if (live_) {
      painter_.say(text);
    } else {
      print(text + "\n");
    }
  }
  void finish(const LiveView& view, const Json& job) {
    painter_.finish();
    if (json_) return line({{"type", "job"}, {"job", job}});
    print(view.verdict() + "\n");
  }
  void leave() { painter_.finish(); }

 private:
  static void line(const Json& value) {
    print(value.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
  }
  bool due() {
    const auto now = std::chrono::steady_clock::now();
    if (now - last_plain_ < kPlainEvery) return false;
    last_plain_ = now;
    return true;
  }

  bool json_;
  bool live_;
  Painter painter_{[](const std::string& text) { print(text); }};
  std::chrono::steady_clock::time_point last_plain_{};
};

class Watch {
 public:
  Watch(Api& api, const Flags& flags, std::string id)
      : api_(api), flags_(flags), id_(std::move(id)), screen_(flags.json) {}

  Answer<int> run() {
    auto job = api_.get(job_target(id_));
    if (!job) return job.error();
    take_job(*job);
    while (!is_over(view_.job())) {
      const auto followed = follow_once();
      if (is_over(view_.job())) break;
      if (!followed && followed.error().exit != kExitUnreachable) return leave(followed.error());
      if (!reconnect()) return leave(interrupted_problem());
    }
    screen_.finish(view_, document_);
    return view_.job().state == "completed" ? kExitOk : kExitJobFailed;
  }

 private:
  void take_job(const Json& job) {
    document_ = job;
    view_.on_job(job);
  }

  Answer<void> follow_once() {
    FollowRequest request;
    request.stream_target = job_target(id_, "/stream");
    request.poll_target = job_target(id_);
    request.last_event_id = last_id_;
    request.on_event = [this](const net::SseEvent& event, bool& poll_soon) {
      heard();
      const Json data = parse_json(event.data, kMaxEventBytes);
      if (event.type == "step") {
        view_.on_step(data);
        screen_.step(data, view_);
      } else if (event.type == "job") {
        if (!event.id.empty()) last_id_ = event.id;
        screen_.event(data);
        poll_soon = true;
      }
      return true;
    };
    request.on_poll = [this](const Json& job) {
      heard();
      take_job(job);
      // The stream ends by itself, after its last events.
      over_polls_ += is_over(view_.job()) ? 1 : 0;
      return over_polls_ < 2;
    };
    request.on_tick = [this] { screen_.tick(view_); };
    return api_.follow(request);
  }

  // Tries until the control plane answers again; false after Ctrl-C.
  bool reconnect() {
    const auto tick = [this] { screen_.tick(view_); };
    for (;;) {
      const auto wait = backoff_.next();
      if (!api_.pause(wait, tick)) return false;
      const auto job = api_.get(job_target(id_));
      if (job) {
        take_job(*job);
        heard();
        return true;
      }
      if (api_.interrupted()) return false;
      if (!silent_ && backoff_.tries() > 1) {
        silent_ = true;
        screen_.say("The control plane does not answer; the job trains on. Trying again ...");
      }
      view_.on_silence("the control plane does not answer; the job trains on");
    }
  }

  void heard() {
    if (silent_) screen_.say("The control plane answers again.");
    silent_ = false;
    view_.on_silence("");
    backoff_.reset();
  }

  Answer<int> leave(const Problem& problem) {
    screen_.leave();
    if (problem.exit != kExitInterrupted) return problem;
    if (!flags_.json) {
      print("The job goes on without you. 'ratchet watch " + id_ +
            "' shows it again, 'ratchet cancel " + id_ + "' ends it.\n");
    }
    return kExitInterrupted;
  }

  Api& api_;
  const Flags& flags_;
  std::string id_;
  Screen screen_;
  LiveView view_;
  Json document_;
  std::string last_id_;
  bool silent_ = false;
  int over_polls_ = 0;
  net::Backoff backoff_{kReconnect, static_cast<std::uint64_t>(::getpid())};
};

}  // namespace

Answer<int> watch_job(Api& api, const Flags& flags, const std::string& id) {
  return Watch(api, flags, id).run();
}

void add_watch_command(Registry registry) {
  auto id = std::make_shared<std::string>();
  CLI::App* command = add_remote_command(
      registry.app, registry.flags, "watch", "A job live, until it is over",
      "Shows step, loss, tokens/s, memory, time left and cost; interruptions and the five stages\n"
      "of each recovery as they pass. It reconnects by itself when the control plane restarts.\n"
      "Ctrl-C ends only the view. --json: one JSON object a line (event, step, at the end job).\n"
      "Exit code: 0 the job completed, 3 it failed or was cancelled.\n"
      "Example:  ratchet watch support-bot-7f3a && ratchet download support-bot-7f3a");
  command->add_option("JOB", *id, "its id, as 'ratchet list' shows it")->required();
  command->callback([=] {
    registry.selected = [=] {
      return with_api(registry.flags,
                      [&](Api& api) { return watch_job(api, registry.flags, *id); });
    };
  });
}

}  // namespace ratchet::control::cli
