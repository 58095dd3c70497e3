#include "bench/cluster/user_load.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <charconv>
#include <stdexcept>

namespace ratchet::bench {

namespace {

using std::chrono::steady_clock;

constexpr std::size_t kConnections = 64;
constexpr Millis kTimeout{30000};
constexpr std::size_t kMaxWebhook = 64 * 1024;

double ms_since(steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(steady_clock::now() - begin).count();
}

std::string job_text(std::int64_t number, Device device) {
  const bool cpu = device == Device::kCpu;
  return R"({"spec":{"name":"fleet-)" + std::to_string(number) +
         R"(","base_model":"/models/llama","method":"lora",)"
         R"("data":{"train":"/data/train.jsonl","sequence_length":2048},)"
         R"("lora":{"rank":16,"alpha":32,"target_modules":"all-linear"},)"
         R"("training":{"learning_rate":1e-4,"max_steps":1000000},)"
         R"("devices":{"kind":")" +
         (cpu ? "cpu" : "cuda") + R"("}})" + (cpu ? "" : R"(,"gpu_type":"H100")") + "}";
}

std::int64_t digits(std::string_view text, std::size_t at, std::size_t count) {
  std::int64_t value = -1;
  if (at + count > text.size()) return -1;
  const auto [end, error] = std::from_chars(text.data() + at, text.data() + at + count, value);
  return error == std::errc() && end == text.data() + at + count ? value : -1;
}

}  // namespace

std::int64_t unix_ms_of(std::string_view text) {
  using namespace std::chrono;
  if (text.size() != 24 || text[10] != 'T' || text[19] != '.' || text[23] != 'Z') return -1;
  const year_month_day day(year(static_cast<int>(digits(text, 0, 4))),
                           month(static_cast<unsigned>(digits(text, 5, 2))),
                           std::chrono::day(static_cast<unsigned>(digits(text, 8, 2))));
  if (!day.ok()) return -1;
  const auto at = sys_days(day) + hours(digits(text, 11, 2)) + minutes(digits(text, 14, 2)) +
                  seconds(digits(text, 17, 2)) + milliseconds(digits(text, 20, 3));
  return duration_cast<milliseconds>(at.time_since_epoch()).count();
}

UserLoad::UserLoad(asio::any_io_executor executor, const net::Url& url, const std::string& ca_file,
                   const std::string& token)
    : executor_(std::move(executor)) {
  net::ClientOptions options;
  options.tls.ca_file = ca_file;
  options.user_agent = "fleet_load";
  options.bearer_token = token;
  options.max_idle_connections = kConnections;
  options.total_timeout = kTimeout;
  auto made = net::HttpClient::create(executor_, url, std::move(options));
  if (!made) throw std::runtime_error(made.error().message);
  client_ = *std::move(made);
}

asio::awaitable<Result<net::ClientResponse>> UserLoad::post(std::string target, std::string body,
                                                            int expected) {
  net::ClientRequest request;
  request.method = net::Method::kPost;
  request.target = std::move(target);
  request.body = std::move(body);
  request.headers.set("Content-Type", "application/json");
  request.headers.set("Idempotency-Key", "fleet-" + std::to_string(++number_));
  auto answer = co_await client_->send(std::move(request));
  if (answer && answer->status == expected) co_return answer;
  if (++figures.failures == 1) {
    figures.first_failure = answer ? answer->body : answer.error().message;
  }
  co_return Error{Code::kUnavailable, "The request failed."};
}

asio::awaitable<void> UserLoad::one_job(Device device, Then then) {
  ++under_way_;
  auto began = steady_clock::now();
  const auto made = co_await post("/v1/jobs", job_text(number_, device), 201);
  if (made) {
    figures.submit_ms.push_back(ms_since(began));
    if (then == Then::kCancel) {
      const std::string target(made->headers.get("Location"));
      began = steady_clock::now();
      const auto cancelled = co_await post(target + "/cancel", "{}", 202);
      if (cancelled) figures.cancel_ms.push_back(ms_since(began));
    }
  }
  --under_way_;
}

asio::awaitable<void> UserLoad::store_some(std::size_t& left, Device device, Then then) {
  while (left > 0) {
    --left;
    co_await one_job(device, then);
  }
}

asio::awaitable<void> UserLoad::wait_for_all() {
  asio::steady_timer timer(executor_);
  while (under_way_ > 0) {
    timer.expires_after(Millis(5));
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

asio::awaitable<void> UserLoad::store(std::size_t count, Device device, Then then,
                                      std::size_t width) {
  auto left = std::make_unique<std::size_t>(count);
  for (std::size_t i = 0; i < width; ++i) {
    asio::co_spawn(executor_, store_some(*left, device, then), asio::detached);
  }
  asio::steady_timer timer(executor_);
  while (*left > 0 || under_way_ > 0) {
    timer.expires_after(Millis(5));
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

asio::awaitable<void> UserLoad::submit_steadily(steady_clock::duration gap, Device device,
                                                Then then, steady_clock::time_point end) {
  asio::steady_timer timer(executor_);
  for (auto due = steady_clock::now(); due < end; due += gap) {
    timer.expires_at(due);
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    asio::co_spawn(executor_, one_job(device, then), asio::detached);
  }
  co_await wait_for_all();
}

asio::awaitable<bool> UserLoad::add_webhook(std::string target_url) {
  const auto made = co_await post("/v1/webhooks", R"({"url":")" + target_url + R"("})", 201);
  co_return made.has_value();
}

WebhookSink::WebhookSink(asio::any_io_executor executor) {
  auto made = net::HttpServer::listen(executor, net::ServerOptions{},
                                      [this](net::Exchange& exchange) { return answer(exchange); });
  if (!made) throw std::runtime_error(made.error().message);
  server_ = *std::move(made);
}

std::string WebhookSink::url() const { return server_->url() + "/events"; }

asio::awaitable<void> WebhookSink::answer(net::Exchange& exchange) {
  constexpr std::string_view kField = R"("timestamp":")";
  const auto now =
      std::chrono::duration_cast<Millis>(std::chrono::system_clock::now().time_since_epoch());
  const auto body = co_await exchange.read_body(kMaxWebhook);
  const bool is_new = ids.insert(std::string(exchange.request().headers.get("webhook-id"))).second;
  if (!is_new) ++repeated;
  if (body && is_new) {
    const auto at = body->find(kField);
    const auto time = at == std::string::npos
                          ? -1
                          : unix_ms_of(std::string_view(*body).substr(at + kField.size(), 24));
    if (time > 0) age_ms.push_back(static_cast<double>(now.count() - time));
  }
  net::Response response;
  response.status = 204;
  const auto sent = co_await exchange.send(std::move(response));
  static_cast<void>(sent);
}

}  // namespace ratchet::bench
