#pragma once

// What nobody needs any more goes: artifacts, old events, logs of jobs whose events are gone.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>

#include "controlplane/artifacts/artifact_store.h"
#include "controlplane/service/log_files.h"
#include "controlplane/service/settings.h"
#include "controlplane/service/signal.h"
#include "controlplane/store/store.h"

namespace ratchet::control {

struct Sweeper {  // borrowed
  Store& store;
  ArtifactStore& artifacts;
  LogFiles& logs;
  boost::asio::thread_pool& pool;
  const Settings& settings;
  Signal& stop;
};

// One sweep. Blocks.
void sweep_once(Store& store, ArtifactStore& artifacts, LogFiles& logs, const Settings& settings,
                UnixMillis now);

// A sweep every settings.sweep_every_s, until `stop` is notified.
boost::asio::awaitable<void> sweep(Sweeper sweeper);

}  // namespace ratchet::control
