#pragma once

// Users and a dashboard: submits and cancels jobs over HTTPS, and receives the webhooks that come
// of them. Lives on its executor's thread.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "proto/net/http_client.h"
#include "proto/net/http_server.h"

namespace ratchet::bench {

namespace asio = boost::asio;
using net::Millis;

struct UserFigures {
  std::vector<double> submit_ms;  // from sending to the answer, which comes after the commit
  std::vector<double> cancel_ms;
  std::int64_t failures = 0;
  std::string first_failure;
};

enum class Device { kCpu, kAbsentGpu };  // of a kind that no node of the fleet has
enum class Then { kNothing, kCancel };

class UserLoad {
 public:
  // Throws std::runtime_error when the URL's TLS settings cannot be used.
  UserLoad(asio::any_io_executor executor, const net::Url& url, const std::string& ca_file,
           const std::string& token);

  // `count` jobs, `width` at a time.
  asio::awaitable<void> store(std::size_t count, Device device, Then then, std::size_t width);
  // One job every `gap`, whatever the answers' times, until `end`; then waits for the answers.
  asio::awaitable<void> submit_steadily(std::chrono::steady_clock::duration gap, Device device,
                                        Then then, std::chrono::steady_clock::time_point end);
  // Makes an endpoint for all events; false when it is refused.
  asio::awaitable<bool> add_webhook(std::string target_url);

  UserFigures figures;  // taken away by the owner after each part

 private:
  asio::awaitable<Result<net::ClientResponse>> post(std::string target, std::string body,
                                                    int expected);
  asio::awaitable<void> one_job(Device device, Then then);
  asio::awaitable<void> store_some(std::size_t& left, Device device, Then then);
  asio::awaitable<void> wait_for_all();

  asio::any_io_executor executor_;
  std::unique_ptr<net::HttpClient> client_;
  std::int64_t number_ = 0;
  std::size_t under_way_ = 0;
};

// Answers 204 to every delivery and notes how old its event was.
class WebhookSink {
 public:
  explicit WebhookSink(asio::any_io_executor executor);
  [[nodiscard]] std::string url() const;

  // From the event's own time, which is taken right before its commit; clocks are one machine's.
  std::vector<double> age_ms;
  std::set<std::string> ids;
  std::int64_t repeated = 0;

 private:
  asio::awaitable<void> answer(net::Exchange& exchange);
  std::unique_ptr<net::HttpServer> server_;
};

// Milliseconds since 1970 of "2026-11-21T17:40:01.123Z"; less than 0 when it is none.
std::int64_t unix_ms_of(std::string_view rfc3339);

}  // namespace ratchet::bench
