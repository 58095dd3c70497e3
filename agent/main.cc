// ratchet-agent: keeps one node's promises to the control plane.

#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "agent/daemon/daemon.h"
#include "agent/options.h"
#include "agent/reclaim_watch.h"
#include "proto/version.h"

namespace agent = ratchet::agent;

namespace {

constexpr int kExitOk = 0;       // detached, or the node was given back as wished
constexpr int kExitFailure = 1;  // could not start; said on stderr
constexpr int kExitUsage = 2;

int run(const agent::Options& options) {
  ::signal(SIGPIPE, SIG_IGN);
  auto settings = agent::settings_of(options);
  if (!settings) {
    std::fprintf(stderr, "error: %s\n", settings.error().message.c_str());
    return kExitFailure;
  }
  boost::asio::io_context io(1);
  auto daemon = agent::Daemon::create(io, *settings);
  if (!daemon) {
    std::fprintf(stderr, "error: %s\n", daemon.error().message.c_str());
    return kExitFailure;
  }
  const std::shared_ptr<agent::ReclaimWatch> watch = agent::watch_reclaim(io, options, **daemon);
  const agent::Left left = (*daemon)->run();
  watch->stop();
  if (left.why == agent::LeaveWhy::kReleased && !settings->release_command.empty()) {
    const int status = std::system(settings->release_command.c_str());
    std::fprintf(stderr, "The release command ended with status %d.\n", status);
  }
  std::fflush(nullptr);
  // What may still hang (a driver's call, a peer) must not keep the process.
  ::_exit(kExitOk);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Runs training jobs on this machine for a control plane. Trainers live on when the agent is\n"
      "restarted, and when the control plane is out of reach.\n",
      "ratchet-agent"};
  app.set_version_flag("--version", std::string("ratchet-agent ") + ratchet::kVersion);
  agent::Options options;
  agent::add_options(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  return run(options);
}
