// A fleet of simulated agents, users and a dashboard against a running ratchet-control.
//
//   fleet_load --url URL --ca FILE --token-file FILE --join-token-file FILE [--jobs N]
//              [--agents N] [--training N] [--seconds N] [--submits-per-s N] [--events-per-s N]
//
// One part after the other: jobs are stored, agents join, the fleet is steady, events pour in. Each
// part prints a line "begin <part>" and a line "end <part> {figures}", so that whoever started both
// programs can read the server's CPU time and memory at these moments. bench/cluster/fleet.py does.

#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdio>
#include <fstream>
#include <iostream>

#include "bench/cluster/simulated_agent.h"
#include "bench/cluster/user_load.h"
#include "bench/support/stats.h"
#include "proto/net/run.h"

namespace {

namespace asio = boost::asio;
using namespace ratchet::bench;
using ratchet::net::Millis;
using std::chrono::steady_clock;

constexpr std::size_t kStoreWidth = 48;
constexpr std::size_t kJoinWidth = 32;
constexpr std::size_t kEventsOfOneJob = 3;  // job.created, job.queued, job.cancelled
constexpr std::chrono::microseconds kTrainingBegins{8'000'000};
constexpr Millis kSettle{5000};  // after joining, before figures count
constexpr Millis kLastWebhooks{10000};

struct Flags {
  std::string url, ca_file, token_file, join_token_file;
  std::size_t jobs = 10000;
  std::size_t agents = 2000;
  std::size_t training = 200;
  std::int64_t seconds = 60;
  double submits_per_s = 10;
  double events_per_s = 500;
};

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) throw std::runtime_error("Cannot read " + path + ".");
  return line;
}

double seconds_since(steady_clock::time_point begin) {
  return std::chrono::duration<double>(steady_clock::now() - begin).count();
}

// "name_p50_ms": ..., "name_p99_ms": ..., "name_max_ms": ..., "name_count": ...
std::string spread(const std::string& name, const std::vector<double>& sample) {
  char text[256];
  std::snprintf(text, sizeof text,
                "\"%s_p50_ms\": %.2f, \"%s_p99_ms\": %.2f, \"%s_max_ms\": %.2f, "
                "\"%s_count\": %zu",
                name.c_str(), quantile(sample, 0.5), name.c_str(), quantile(sample, 0.99),
                name.c_str(), quantile(sample, 1.0), name.c_str(), sample.size());
  return sample.empty() ? "\"" + name + "_count\": 0" : text;
}

class Run {
 public:
  Run(asio::io_context& io, const Flags& flags)
      : io_(io),
        flags_(flags),
        url_(ratchet::net::parse_url(flags.url).value()),
        users_(io.get_executor(), url_, flags.ca_file, first_line(flags.token_file)),
        sink_(io.get_executor()) {}

  asio::awaitable<bool> all() {
    co_await store_jobs();
    const bool joined = co_await join();
    if (!joined) co_return false;
    co_await steady();
    const bool received = co_await events();
    co_return received&& failures_ == 0;
  }

 private:
  void begin(const std::string& part) {
    fleet_ = {};
    users_.figures = {};
    std::printf("begin %s\n", part.c_str());
    std::fflush(stdout);
    began_ = steady_clock::now();
  }

  void end(const std::string& part, const std::string& more) {
    const double took = seconds_since(began_);
    failures_ += fleet_.failures + users_.figures.failures;
    for (const auto& failure : {users_.figures.first_failure, fleet_.first_failure}) {
      if (!failure.empty()) std::cerr << "First failure in " << part << ": " << failure << '\n';
    }
    std::printf("end %s {\"seconds\": %.2f, \"failures\": %lld%s%s}\n", part.c_str(), took,
                static_cast<long long>(fleet_.failures + users_.figures.failures),
                more.empty() ? "" : ", ", more.c_str());
    std::fflush(stdout);
  }

  std::string load_figures() const {
    return spread("heartbeat", fleet_.heartbeat_ms) + ", " + spread("late", fleet_.late_ms) + ", " +
           spread("submit", users_.figures.submit_ms) + ", " +
           spread("cancel", users_.figures.cancel_ms) +
           ", \"syncs\": " + std::to_string(fleet_.syncs) +
           ", \"lines\": " + std::to_string(fleet_.lines) +
           ", \"training\": " + std::to_string(training());
  }

  std::size_t training() const {
    std::size_t count = 0;
    for (const auto& agent : agents_) count += agent->training();
    return count;
  }

  asio::awaitable<void> sleep(Millis time) {
    asio::steady_timer timer(io_);
    timer.expires_after(time);
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }

  // Half of them ended, half queued for a GPU that the fleet does not have.
  asio::awaitable<void> store_jobs() {
    begin("store");
    const std::size_t ended = flags_.jobs / 2;
    co_await users_.store(ended, Device::kAbsentGpu, Then::kCancel, kStoreWidth);
    co_await users_.store(flags_.jobs - ended, Device::kAbsentGpu, Then::kNothing, kStoreWidth);
    end("store", spread("submit", users_.figures.submit_ms));
  }

  asio::awaitable<void> join_some(std::size_t& next, std::size_t& done) {
    while (next < agents_.size()) {
      SimulatedAgent& agent = *agents_[next++];
      const Millis phase(static_cast<std::int64_t>(next) * 7919 % 2000);
      const bool joined = co_await agent.join();
      if (joined) agent.live(phase);
      ++done;
    }
  }

  asio::awaitable<bool> join() {
    begin("join");
    AgentSettings settings{url_, flags_.ca_file, first_line(flags_.join_token_file)};
    for (std::size_t i = 0; i < flags_.agents; ++i) {
      agents_.push_back(std::make_unique<SimulatedAgent>(io_.get_executor(), settings, i, fleet_));
    }
    std::size_t next = 0;
    std::size_t done = 0;
    for (std::size_t i = 0; i < kJoinWidth; ++i) {
      asio::co_spawn(io_, join_some(next, done), asio::detached);
    }
    while (done < agents_.size()) co_await sleep(Millis(20));
    const bool all = fleet_.failures == 0;
    end("join", "\"agents\": " + std::to_string(done));
    if (flags_.training > 0) {
      // Spread out, so that nodes do not tell their steps in one chorus.
      const steady_clock::duration gap = kTrainingBegins / flags_.training;
      co_await users_.submit_steadily(gap, Device::kCpu, Then::kNothing,
                                      steady_clock::now() + gap * flags_.training);
    }
    co_await sleep(kSettle);
    co_return all;
  }

  asio::awaitable<void> steady() {
    begin("steady");
    co_await users_.submit_steadily(gap_of(flags_.submits_per_s), Device::kAbsentGpu,
                                    Then::kNothing, time_up());
    end("steady", load_figures());
  }

  asio::awaitable<bool> events() {
    if (flags_.events_per_s <= 0) co_return true;
    const bool added = co_await users_.add_webhook(sink_.url());
    if (!added) co_return false;
    begin("events");
    co_await users_.submit_steadily(gap_of(flags_.events_per_s / kEventsOfOneJob),
                                    Device::kAbsentGpu, Then::kCancel, time_up());
    const auto made = (users_.figures.submit_ms.size() * 2 + users_.figures.cancel_ms.size());
    const double made_s = seconds_since(began_);
    const auto last = steady_clock::now() + kLastWebhooks;
    while (sink_.ids.size() < made && steady_clock::now() < last) co_await sleep(Millis(10));
    const bool all = sink_.ids.size() >= made;
    end("events",
        load_figures() + ", " + spread("webhook", sink_.age_ms) +
            ", \"events\": " + std::to_string(made) + ", \"events_per_s\": " +
            std::to_string(static_cast<std::int64_t>(static_cast<double>(made) / made_s)) +
            ", \"repeated\": " + std::to_string(sink_.repeated) +
            ", \"lost\": " + std::to_string(all ? 0 : made - sink_.ids.size()));
    co_return all;
  }

  static steady_clock::duration gap_of(double per_s) {
    return std::chrono::duration_cast<steady_clock::duration>(
        std::chrono::duration<double>(1.0 / per_s));
  }
  steady_clock::time_point time_up() const {
    return steady_clock::now() + std::chrono::seconds(flags_.seconds);
  }

  asio::io_context& io_;
  Flags flags_;
  ratchet::net::Url url_;
  FleetFigures fleet_;
  UserLoad users_;
  WebhookSink sink_;
  std::vector<std::unique_ptr<SimulatedAgent>> agents_;
  steady_clock::time_point began_;
  std::int64_t failures_ = 0;
};

void raise_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app{"A fleet of simulated agents against a running ratchet-control."};
  app.add_option("--url", flags.url)->required();
  app.add_option("--ca", flags.ca_file)->required();
  app.add_option("--token-file", flags.token_file)->required();
  app.add_option("--join-token-file", flags.join_token_file)->required();
  app.add_option("--jobs", flags.jobs);
  app.add_option("--agents", flags.agents);
  app.add_option("--training", flags.training, "Agents that are given a job");
  app.add_option("--seconds", flags.seconds, "Of the steady part, and of the one with events");
  app.add_option("--submits-per-s", flags.submits_per_s)->check(CLI::PositiveNumber);
  app.add_option("--events-per-s", flags.events_per_s, "0: no such part");
  CLI11_PARSE(app, argc, argv);
  raise_file_limit();
  try {
    asio::io_context io{1};
    Run run(io, flags);
    const bool good = ratchet::net::run_blocking(io, run.all());
    // Agents live for ever: there is nothing to wait for.
    std::_Exit(good ? 0 : 1);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
