// Sends webhooks to a receiver of another make: standard_webhooks_test.py.
//
//   webhook_sender URL COUNT   < secrets, one a line, newest first
//
// Ends with 0 when all were delivered within 20 s.

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <charconv>
#include <iostream>

#include "proto/net/run.h"
#include "tests/controlplane/webhooks/memory_source.h"

namespace ratchet::control {
namespace {

int send_all(const std::string& url, std::int64_t count) {
  testing::MemorySource source;
  source.add_endpoint("w", url);
  std::vector<std::string> secrets;
  for (std::string line; std::getline(std::cin, line);) secrets.push_back(line);
  source.targets["w"].secrets = secrets;
  for (std::int64_t seq = 1; seq <= count; ++seq) source.add_event("w", "job-1", seq);
  DispatcherOptions options;
  options.addresses.allowed.push_back(parse_network("127.0.0.0/8").value());
  options.policy.schedule.assign(10, Millis(50));
  options.poll = Millis(20);
  boost::asio::io_context io;
  WebhookDispatcher dispatcher(io.get_executor(), source, options);
  boost::asio::co_spawn(io, dispatcher.run(), boost::asio::detached);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  const auto delivered = [&] {
    return source.count(DeliveryState::kDelivered) == source.rows.size();
  };
  while (!delivered() && std::chrono::steady_clock::now() < deadline) {
    io.run_one_for(std::chrono::milliseconds(50));
  }
  net::run_blocking(io, dispatcher.stop(Millis(1000)));
  return delivered() ? 0 : 1;
}

}  // namespace
}  // namespace ratchet::control

int main(int argc, char** argv) {
  std::int64_t count = 0;
  if (argc == 3) {
    const std::string_view text = argv[2];
    std::from_chars(text.begin(), text.end(), count);
  }
  if (count <= 0) {
    std::cerr << "usage: webhook_sender URL COUNT < secrets\n";
    return 2;
  }
  return ratchet::control::send_all(argv[1], count);
}
