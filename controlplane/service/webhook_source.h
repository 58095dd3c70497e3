#pragma once

// The webhook dispatcher's view of the store.

#include <boost/asio/thread_pool.hpp>

#include "controlplane/service/service.h"
#include "controlplane/webhooks/dispatcher.h"

namespace ratchet::control {

class WebhookSource : public DeliverySource {
 public:
  WebhookSource(Service& service, Store& store, asio::thread_pool& pool)
      : service_(service), store_(store), pool_(pool) {}
  asio::awaitable<Result<std::vector<DueDelivery>>> due(UnixMillis now, std::int64_t each) override;
  asio::awaitable<Result<WebhookTarget>> target(std::string webhook_id, UnixMillis now) override;
  asio::awaitable<Status> record(std::vector<DeliveryRow> rows,
                                 std::vector<EndpointDisabled> disabled) override;

 private:
  Service& service_;
  Store& store_;
  asio::thread_pool& pool_;
};

}  // namespace ratchet::control
