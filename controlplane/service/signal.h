#pragma once

// A condition that coroutines of one thread wait for, with a deadline. No wake-up is lost: a waiter
// names the version that it has seen.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <list>

#include <boost/asio/steady_timer.hpp>

namespace ratchet::control {

class Signal {
 public:
  using Clock = std::chrono::steady_clock;
  explicit Signal(boost::asio::any_io_executor executor) : executor_(std::move(executor)) {}
  Signal(const Signal&) = delete;
  Signal& operator=(const Signal&) = delete;

  [[nodiscard]] std::uint64_t version() const { return version_; }
  void notify();
  // Returns at once when the version is no longer `seen`. The signal must outlive the wait.
  boost::asio::awaitable<void> wait(std::uint64_t seen, Clock::time_point until);

 private:
  boost::asio::any_io_executor executor_;
  std::uint64_t version_ = 0;
  std::list<boost::asio::steady_timer*> waiters_;
};

}  // namespace ratchet::control
