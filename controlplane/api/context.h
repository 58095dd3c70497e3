#pragma once

// What the handlers of the API work with. Borrowed for the life of the server.

#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "controlplane/api/call.h"
#include "controlplane/artifacts/artifact_store.h"
#include "controlplane/service/blocking.h"
#include "controlplane/service/log_files.h"
#include "controlplane/service/service.h"
#include "controlplane/service/settings.h"
#include "controlplane/store/store.h"
#include "controlplane/webhooks/address_filter.h"

namespace ratchet::control {

class TokenCache;
class Metrics;
struct Route;

struct Context {
  Service& service;          // loop's thread only
  Store& store;              // any thread
  ArtifactStore& artifacts;  // worker threads
  LogFiles& logs;            // worker threads
  TokenCache& tokens;        // loop's thread only
  Metrics& metrics;          // loop's thread only
  asio::thread_pool& pool;
  const Settings& settings;
  std::vector<std::pair<std::string, std::string>> effective_settings;
  AddressPolicy webhook_addresses;
  bool node_paths = false;  // jobs may name paths of the node
  UnixMillis started_at{0};
  std::string openapi;  // the document, made once
};

}  // namespace ratchet::control
