#pragma once

// Sends webhooks: takes due deliveries from the store, signs, sends, records what came of it.
//
//   WebhookDispatcher dispatcher(executor, source, options);
//   asio::co_spawn(executor, dispatcher.run(), asio::detached);
//   dispatcher.notify();                  // after a commit that made deliveries
//   co_await dispatcher.stop();
//
// At least once: a delivery is recorded as sending, with a lease, before it is sent, and its end
// after. Order within a job and an endpoint is the store's: it hands out one at a time. Endpoints
// are apart from each other: each has its own places (endpoint_pace.h), connections and pauses.
// Addresses are looked at each time a name is resolved, and the connection goes there and nowhere
// else (address_filter.h). Lives on its executor's thread.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "controlplane/store/reads.h"
#include "controlplane/webhooks/address_filter.h"
#include "controlplane/webhooks/delivery_machine.h"
#include "proto/result.h"

namespace ratchet::control {

namespace asio = boost::asio;

struct WebhookTarget {
  WebhookRow row;
  std::vector<std::string> secrets;  // valid now, newest first: each signs
};

struct EndpointDisabled {
  std::string webhook_id;
  std::string reason;  // sentence
};

// What the dispatcher needs of the store.
class DeliverySource {
 public:
  virtual ~DeliverySource() = default;
  // Due deliveries of enabled endpoints, at most `each` an endpoint; of one job and endpoint only
  // the first that is not over.
  virtual asio::awaitable<Result<std::vector<DueDelivery>>> due(UnixMillis now,
                                                                std::int64_t each) = 0;
  // kNotFound when the endpoint was removed.
  virtual asio::awaitable<Result<WebhookTarget>> target(std::string webhook_id, UnixMillis now) = 0;
  // One transaction; durable when it returns. Disabling an endpoint also makes its event
  // (webhook.endpoint_disabled).
  virtual asio::awaitable<Status> record(std::vector<DeliveryRow> rows,
                                         std::vector<EndpointDisabled> disabled) = 0;
};

struct DispatcherOptions {
  DeliveryPolicy policy;
  AddressPolicy addresses;
  Millis timeout = std::chrono::seconds(20);  // of a try, all together
  Millis connect_timeout = std::chrono::seconds(10);
  Millis poll = std::chrono::seconds(1);           // without notify()
  Millis resolved_for = std::chrono::seconds(30);  // an address is used before it is asked again
  std::size_t most_in_flight = 512;
  std::string ca_file;  // empty: the system's authorities
  std::string user_agent = "ratchet-webhooks/1";
  std::uint64_t seed = 0;           // of the jitter
  std::function<UnixMillis()> now;  // empty: the system's clock
  // After each try, with the row as it was recorded: for metrics and logs.
  std::function<void(const DeliveryRow& row)> tried;
};

class WebhookDispatcher {
 public:
  // `source` is borrowed.
  WebhookDispatcher(asio::any_io_executor executor, DeliverySource& source,
                    DispatcherOptions options);
  ~WebhookDispatcher();
  WebhookDispatcher(const WebhookDispatcher&) = delete;
  WebhookDispatcher& operator=(const WebhookDispatcher&) = delete;

  asio::awaitable<void> run();  // until stop()
  void notify();
  // Takes no more and waits for those on their way, at most `grace`; what is cut off then is sent
  // again after its lease.
  asio::awaitable<void> stop(Millis grace);
  [[nodiscard]] std::size_t in_flight() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace ratchet::control
