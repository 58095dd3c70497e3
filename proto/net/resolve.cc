#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "proto/net/http_client.h"

namespace ratchet::net {

using asio::ip::tcp;

namespace {

// Outlives the coroutine that waits: the system's resolver cannot be interrupted.
struct Lookup {
  explicit Lookup(const asio::any_io_executor& executor) : resolver(executor), done(executor) {}
  tcp::resolver resolver;
  asio::steady_timer done;
  bool finished = false;
  boost::system::error_code fault;
  std::vector<std::string> addresses;
};

void take_answer(Lookup& lookup, const boost::system::error_code& fault,
                 const tcp::resolver::results_type& results) {
  lookup.finished = true;
  lookup.fault = fault;
  for (const auto& entry : results) {
    std::string address = entry.endpoint().address().to_string();
    if (std::ranges::find(lookup.addresses, address) == lookup.addresses.end()) {
      lookup.addresses.push_back(std::move(address));
    }
  }
  lookup.done.cancel();
}

}  // namespace

asio::awaitable<Result<std::vector<std::string>>> resolve_host(std::string host, Millis timeout) {
  boost::system::error_code is_name;
  const auto numeric = asio::ip::make_address(host, is_name);
  if (!is_name) co_return std::vector<std::string>{numeric.to_string()};
  const auto executor = co_await asio::this_coro::executor;
  const auto lookup = std::make_shared<Lookup>(executor);
  lookup->done.expires_after(timeout);
  lookup->resolver.async_resolve(
      host, "",
      [lookup](const boost::system::error_code& fault, const tcp::resolver::results_type& results) {
        take_answer(*lookup, fault, results);
      });
  co_await lookup->done.async_wait(asio::as_tuple(asio::use_awaitable));
  if (!lookup->finished) {
    co_return Error{Code::kUnavailable, "The name \"" + host +
                                            "\" was not resolved in time. Check the network and "
                                            "its name server."};
  }
  if (lookup->fault || lookup->addresses.empty()) {
    co_return Error{Code::kUnavailable, "The name \"" + host + "\" has no address (" +
                                            lookup->fault.message() +
                                            "). Check how it is spelled."};
  }
  co_return std::move(lookup->addresses);
}

}  // namespace ratchet::net
