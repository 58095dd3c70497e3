#include "controlplane/service/signal.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace ratchet::control {

namespace asio = boost::asio;

void Signal::notify() {
  ++version_;
  for (auto* waiter : waiters_) waiter->cancel();
}

asio::awaitable<void> Signal::wait(std::uint64_t seen, Clock::time_point until) {
  if (version_ != seen) co_return;
  asio::steady_timer timer(executor_);
  timer.expires_at(until);
  const auto place = waiters_.insert(waiters_.end(), &timer);
  // Leaves the list also when the coroutine is destroyed while it waits.
  struct Leave {
    std::list<asio::steady_timer*>& list;
    std::list<asio::steady_timer*>::const_iterator place;
    ~Leave() { list.erase(place); }
  } leave{waiters_, place};
  co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
}

}  // namespace ratchet::control
