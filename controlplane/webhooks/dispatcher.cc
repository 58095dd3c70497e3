#include "controlplane/webhooks/dispatcher.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <map>
#include <random>
#include <set>

#include "controlplane/webhooks/endpoint_pace.h"
#include "controlplane/webhooks/payload.h"
#include "controlplane/webhooks/signing.h"
#include "proto/net/http_client.h"
#include "proto/net/retry.h"

namespace ratchet::control {

using std::chrono::steady_clock;

namespace {

constexpr std::int64_t kEach = 16;              // deliveries of an endpoint asked for at once
constexpr std::size_t kMostAnswer = 16 * 1024;  // read of an answer, so that it can be reused

UnixMillis system_now() {
  return std::chrono::duration_cast<UnixMillis>(
      std::chrono::system_clock::now().time_since_epoch());
}

Millis since(steady_clock::time_point start) {
  return std::chrono::duration_cast<Millis>(steady_clock::now() - start);
}

// An endpoint's connections, for as long as its URL and its address stay.
struct Channel {
  EndpointPace pace;
  std::string url;
  std::shared_ptr<net::HttpClient> client;
  steady_clock::time_point vetted{};
  UnixMillis used{0};
};

}  // namespace

struct WebhookDispatcher::Impl : std::enable_shared_from_this<WebhookDispatcher::Impl> {
  Impl(asio::any_io_executor the_executor, DeliverySource& the_source,
       DispatcherOptions the_options)
      : executor(std::move(the_executor)),
        source(the_source),
        options(std::move(the_options)),
        wake(executor),
        random(options.seed) {
    if (!options.now) options.now = system_now;
  }

  struct Work {
    DueDelivery due;
    WebhookTarget target;
  };

  asio::any_io_executor executor;
  DeliverySource& source;
  DispatcherOptions options;
  asio::steady_timer wake;
  std::mt19937_64 random;
  std::map<std::string, Channel> channels;  // by webhook id
  std::set<std::int64_t> busy;              // delivery ids on their way
  std::vector<DeliveryRow> ended;           // to be recorded
  std::vector<EndpointDisabled> disabled;
  bool recording = false;
  bool notified = false;
  bool stopping = false;
  bool running = false;

  double chance() { return std::uniform_real_distribution<double>(0, 1)(random); }
  DeliveryStep step(const DeliveryRow& row, const DeliveryEvent& event) {
    return advance(row, event, options.now(), options.policy, chance());
  }
  void wake_up() {
    notified = true;
    wake.cancel();
  }
  void finish(const DeliveryStep& outcome);
  void forget_unused();

  static asio::awaitable<void> loop(std::shared_ptr<Impl> self);
  asio::awaitable<std::vector<Work>> choose();
  asio::awaitable<bool> pass();
  asio::awaitable<void> pause();
  static asio::awaitable<void> deliver(std::shared_ptr<Impl> self, Work work);
  asio::awaitable<DeliveryEvent> attempt(const Work& work);
  asio::awaitable<Result<std::shared_ptr<net::HttpClient>>> connect(const WebhookRow& row);
  static asio::awaitable<void> record_ended(std::shared_ptr<Impl> self);
};

asio::awaitable<void> WebhookDispatcher::Impl::loop(std::shared_ptr<Impl> self) {
  self->running = true;
  while (!self->stopping) {
    self->notified = false;
    bool more = false;
    try {
      more = co_await self->pass();
    } catch (const std::exception&) {
      more = false;  // what was not recorded is due again
    }
    if (!more) co_await self->pause();
  }
  self->running = false;
}

asio::awaitable<void> WebhookDispatcher::Impl::pause() {
  if (notified || stopping) co_return;
  wake.expires_after(options.poll);
  co_await wake.async_wait(asio::as_tuple(asio::use_awaitable));
}

// Takes what is due and sets it on its way; true when there may be more.
asio::awaitable<bool> WebhookDispatcher::Impl::pass() {
  std::vector<Work> chosen = co_await choose();
  if (chosen.empty() || stopping) co_return false;
  std::vector<DeliveryRow> rows;
  for (const Work& work : chosen) rows.push_back(work.due.delivery);
  std::vector<EndpointDisabled> none;
  const Status recorded = co_await source.record(std::move(rows), std::move(none));
  if (!recorded) co_return false;
  for (Work& work : chosen) {
    busy.insert(work.due.delivery.id);
    channels[work.target.row.id].pace.started();
    asio::co_spawn(executor, deliver(shared_from_this(), std::move(work)), asio::detached);
  }
  forget_unused();
  co_return true;
}

asio::awaitable<std::vector<WebhookDispatcher::Impl::Work>> WebhookDispatcher::Impl::choose() {
  std::vector<Work> chosen;
  const UnixMillis now = options.now();
  auto found = co_await source.due(now, kEach);
  if (!found) co_return chosen;
  std::map<std::string, std::optional<WebhookTarget>> targets;
  std::map<std::string, std::size_t> taken;
  for (DueDelivery& due : *found) {
    if (busy.size() + chosen.size() >= options.most_in_flight) break;
    const std::string id = due.delivery.webhook_id;
    if (busy.contains(due.delivery.id) || taken[id] >= channels[id].pace.room(now)) continue;
    if (!targets.contains(id)) {
      auto target = co_await source.target(id, now);
      targets[id] = target ? std::optional(*std::move(target)) : std::nullopt;
    }
    const std::optional<WebhookTarget>& target = targets[id];
    if (!target || !target->row.enabled) continue;
    const DeliveryStep step = advance(due.delivery, DeliveryTaken{}, now, options.policy, 0);
    if (!step.changed) continue;
    due.delivery = step.row;
    ++taken[id];
    chosen.push_back({std::move(due), *target});
  }
  co_return chosen;
}

// Endpoints that were removed or are quiet hold no connection.
void WebhookDispatcher::Impl::forget_unused() {
  const UnixMillis oldest = options.now() - UnixMillis(std::chrono::minutes(10));
  std::erase_if(channels, [&](const auto& entry) {
    const Channel& channel = entry.second;
    return channel.pace.in_flight() == 0 && channel.used < oldest &&
           channel.pace.paused_to() < options.now();
  });
}

asio::awaitable<void> WebhookDispatcher::Impl::deliver(std::shared_ptr<Impl> self, Work work) {
  const steady_clock::time_point start = steady_clock::now();
  DeliveryEvent event =
      DeliveryUnanswered{"The delivery failed inside the control plane.", Millis(0)};
  try {
    event = co_await self->attempt(work);
  } catch (const std::exception& error) {
    event =
        DeliveryUnanswered{std::string("The delivery failed: ") + error.what() + ".", since(start)};
  }
  self->finish(self->step(work.due.delivery, event));
}

void WebhookDispatcher::Impl::finish(const DeliveryStep& outcome) {
  Channel& channel = channels[outcome.row.webhook_id];
  channel.used = options.now();
  channel.pace.finished(outcome.row.state == DeliveryState::kDelivered);
  if (outcome.pause_endpoint_to) channel.pace.pause_to(*outcome.pause_endpoint_to);
  if (outcome.disable_endpoint) {
    disabled.push_back({outcome.row.webhook_id, outcome.row.last_error});
  }
  ended.push_back(outcome.row);
  if (options.tried) options.tried(outcome.row);
  if (!recording) {
    recording = true;
    asio::co_spawn(executor, record_ended(shared_from_this()), asio::detached);
  }
}

// Records what has ended, all that came together in one transaction. A failure is no loss: the
// rows stay `sending` and are due again after their lease.
asio::awaitable<void> WebhookDispatcher::Impl::record_ended(std::shared_ptr<Impl> self) {
  while (!self->ended.empty()) {
    std::vector<DeliveryRow> rows = std::move(self->ended);
    std::vector<EndpointDisabled> gone = std::move(self->disabled);
    self->ended.clear();
    self->disabled.clear();
    std::vector<std::int64_t> ids;
    for (const DeliveryRow& row : rows) ids.push_back(row.id);
    try {
      const Status recorded = co_await self->source.record(std::move(rows), std::move(gone));
      static_cast<void>(recorded);
    } catch (const std::exception&) {
      self->notified = true;
    }
    for (const std::int64_t id : ids) self->busy.erase(id);
  }
  self->recording = false;
  self->wake_up();
}

asio::awaitable<Result<std::shared_ptr<net::HttpClient>>> WebhookDispatcher::Impl::connect(
    const WebhookRow& row) {
  const std::string id = row.id;
  const auto fresh_from = steady_clock::now() - options.resolved_for;
  if (Channel& channel = channels[id];
      channel.client && channel.url == row.url && channel.vetted >= fresh_from) {
    co_return channel.client;
  }
  auto url = check_webhook_url(row.url, options.addresses);
  if (!url) co_return url.error();
  const auto addresses = co_await net::resolve_host(url->host, options.connect_timeout);
  if (!addresses) co_return addresses.error();
  const auto vetted = vet_addresses(*url, *addresses, options.addresses);
  if (!vetted) co_return vetted.error();
  net::ClientOptions client;
  client.tls.ca_file = options.ca_file;
  client.user_agent = options.user_agent;
  client.connect_timeout = options.connect_timeout;
  client.total_timeout = options.timeout;
  client.pinned_address = *vetted;
  client.max_idle_connections = EndpointPace::kMost;
  url->path = "/";  // each request brings the whole target
  url->query.clear();
  auto made = net::HttpClient::create(executor, *std::move(url), std::move(client));
  if (!made) co_return made.error();
  Channel& channel = channels[id];
  channel.url = row.url;
  channel.vetted = steady_clock::now();
  channel.client = *std::move(made);
  co_return channel.client;
}

asio::awaitable<DeliveryEvent> WebhookDispatcher::Impl::attempt(const Work& work) {
  const steady_clock::time_point start = steady_clock::now();
  auto body = webhook_body(work.due.event, work.target.row.format);
  if (!body) co_return DeliveryImpossible{body.error().message};
  if (!*body) co_return DeliverySkipped{};
  const auto timestamp = std::chrono::duration_cast<std::chrono::seconds>(options.now());
  const std::string& message_id = work.due.delivery.event_id;
  const auto signature =
      webhook_signature(message_id, timestamp, (*body)->text, work.target.secrets);
  if (!signature) co_return DeliveryUnanswered{signature.error().message, since(start)};
  const auto client = co_await connect(work.target.row);
  if (!client) co_return DeliveryUnanswered{client.error().message, since(start)};
  net::ClientRequest request;
  request.method = net::Method::kPost;
  const auto url = net::parse_url(work.target.row.url);
  if (!url) co_return DeliveryImpossible{url.error().message};
  request.target = url->target();
  request.headers.set("Content-Type", (*body)->content_type);
  request.headers.set("webhook-id", message_id);
  request.headers.set("webhook-timestamp", std::to_string(timestamp.count()));
  request.headers.set("webhook-signature", *signature);
  request.body = std::move((*body)->text);
  request.max_response_bytes = kMostAnswer;
  request.ignore_body = true;
  request.repeatable = true;  // the receiver tells by webhook-id
  const std::shared_ptr<net::HttpClient> held = *client;
  const auto answer = co_await held->send(std::move(request));
  if (!answer) co_return DeliveryUnanswered{answer.error().message, since(start)};
  co_return DeliveryAnswered{
      answer->status,
      net::parse_retry_after(answer->headers.get("Retry-After"), std::chrono::system_clock::now()),
      since(start)};
}

WebhookDispatcher::WebhookDispatcher(asio::any_io_executor executor, DeliverySource& source,
                                     DispatcherOptions options)
    : impl_(std::make_shared<Impl>(std::move(executor), source, std::move(options))) {}

WebhookDispatcher::~WebhookDispatcher() {
  impl_->stopping = true;
  impl_->wake.cancel();
}

asio::awaitable<void> WebhookDispatcher::run() { return Impl::loop(impl_); }

void WebhookDispatcher::notify() { impl_->wake_up(); }

asio::awaitable<void> WebhookDispatcher::stop(Millis grace) {
  const std::shared_ptr<Impl> impl = impl_;
  impl->stopping = true;
  impl->wake.cancel();
  asio::steady_timer pause(impl->executor);
  const auto deadline = steady_clock::now() + grace;
  while ((!impl->busy.empty() || impl->running) && steady_clock::now() < deadline) {
    pause.expires_after(Millis(5));
    co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

std::size_t WebhookDispatcher::in_flight() const { return impl_->busy.size(); }

}  // namespace ratchet::control
