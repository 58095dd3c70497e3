#pragma once

// Joins the metadata watchers (agent/reclaim) with the daemon, as the flags say.

#include <boost/asio/io_context.hpp>
#include <memory>

#include "agent/daemon/daemon.h"
#include "agent/options.h"
#include "agent/reclaim/watcher.h"

namespace ratchet::agent {

class ReclaimWatch {
 public:
  void stop();

  std::unique_ptr<ReclaimWatcher> watcher;  // none while the cloud is not known
  bool stopped = false;
};

// `daemon` is borrowed and must outlive the watch's stop(). With `auto` the cloud is looked for
// first; without one nothing is watched.
std::shared_ptr<ReclaimWatch> watch_reclaim(boost::asio::io_context& io, const Options& options,
                                            Daemon& daemon);

}  // namespace ratchet::agent
