#pragma once

// Asks the cloud's metadata service whether this machine is about to go, and tells each notice
// once.
//
//   aws    token (PUT, renewed before its end and on 401), instance-action every second, rebalance
//          recommendation and scheduled events less often
//   gcp    hanging GET of `preempted`, from the value last seen on
//   azure  scheduled events every second; an event is acknowledged ("go ahead") only when
//          `is_saved` says that nothing can be lost any more
//
// Bad answers, refusals and connections that hang are logged once a row and tried again, with waits
// that grow; nothing here ends the agent. Loop thread only.

#include <boost/asio/any_io_executor.hpp>
#include <functional>
#include <memory>
#include <string>

#include "proto/net/http_client.h"
#include "proto/result.h"
#include "proto/sync_message.h"
#include "proto/words.h"

namespace ratchet::agent {

namespace asio = boost::asio;

enum class Cloud { kAws, kGcp, kAzure };
std::span<const Word<Cloud>> word_table(Cloud);

struct WatcherSettings {
  std::string aws_url = "http://169.254.169.254";
  std::string gcp_url = "http://metadata.google.internal";
  std::string azure_url = "http://169.254.169.254";
  Millis poll{1000};
  Millis slow_poll{10000};     // rebalance, scheduled events of AWS
  Millis answer_limit{2000};   // for an answer that is not meant to hang
  Millis hang_limit{60000};    // of GCP's hanging GET
  Millis first_limit{150000};  // Azure's first answer, which enables the service
  Millis longest_wait{8000};   // after failures in a row
};

struct WatcherHooks {
  std::function<void(ReclaimNotice)> on_notice;
  std::function<bool()> is_saved;
  std::function<void(const std::string&)> log;
};

class ReclaimWatcher {
 public:
  static Result<std::unique_ptr<ReclaimWatcher>> create(asio::any_io_executor executor, Cloud cloud,
                                                        WatcherSettings settings,
                                                        WatcherHooks hooks);
  ~ReclaimWatcher();
  ReclaimWatcher(const ReclaimWatcher&) = delete;
  ReclaimWatcher& operator=(const ReclaimWatcher&) = delete;

  void start();
  // Ends its calls; nothing is told any more. The object may go at once.
  void stop();

 private:
  struct Impl;
  explicit ReclaimWatcher(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;  // shared with its coroutines
};

// Which cloud's metadata service answers here; none within a few seconds: no cloud.
asio::awaitable<std::optional<Cloud>> detect_cloud(WatcherSettings settings);

}  // namespace ratchet::agent
