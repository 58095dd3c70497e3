#include "agent/reclaim_watch.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>

namespace ratchet::agent {
namespace {

void say(const std::string& message) { std::fprintf(stderr, "%s\n", message.c_str()); }

WatcherSettings watcher_settings(const Options& options) {
  WatcherSettings settings;
  if (!options.metadata_url.empty()) {
    settings.aws_url = settings.gcp_url = settings.azure_url = options.metadata_url;
  }
  return settings;
}

void begin(asio::any_io_executor executor, ReclaimWatch& watch, Cloud cloud,
           WatcherSettings settings, Daemon& daemon) {
  WatcherHooks hooks;
  hooks.on_notice = [&daemon](ReclaimNotice notice) {
    say("Reclaim notice from " + notice.source + ": " + notice.action + ".");
    daemon.notice(std::move(notice));
  };
  hooks.is_saved = [&daemon] { return daemon.is_saved(); };
  hooks.log = say;
  auto made = ReclaimWatcher::create(std::move(executor), cloud, std::move(settings), hooks);
  if (!made) {
    say("error: " + made.error().message);
    return;
  }
  watch.watcher = *std::move(made);
  watch.watcher->start();
  say("Watching the metadata service of " + std::string(to_word(cloud)) + " for reclaim notices.");
}

asio::awaitable<void> find_and_begin(asio::any_io_executor executor,
                                     std::shared_ptr<ReclaimWatch> watch, WatcherSettings settings,
                                     Daemon& daemon) {
  const std::optional<Cloud> cloud = co_await detect_cloud(settings);
  if (watch->stopped) co_return;
  if (cloud) {
    begin(executor, *watch, *cloud, settings, daemon);
  } else {
    say("No cloud's metadata service answers here: no reclaim notices are watched for.");
  }
}

}  // namespace

void ReclaimWatch::stop() {
  stopped = true;
  if (watcher) watcher->stop();
}

std::shared_ptr<ReclaimWatch> watch_reclaim(boost::asio::io_context& io, const Options& options,
                                            Daemon& daemon) {
  auto watch = std::make_shared<ReclaimWatch>();
  const WatcherSettings settings = watcher_settings(options);
  if (options.reclaim == "auto") {
    asio::co_spawn(io, find_and_begin(io.get_executor(), watch, settings, daemon), asio::detached);
  } else if (const auto cloud = from_word<Cloud>(options.reclaim)) {
    begin(io.get_executor(), *watch, *cloud, settings, daemon);
  }
  return watch;
}

}  // namespace ratchet::agent
