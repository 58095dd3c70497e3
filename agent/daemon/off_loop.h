#pragma once

// Blocking work from a coroutine: runs a function on the pool and comes back to the coroutine's own
// executor with what it returned. The function must not throw. Give it a name before: GCC 12
// destroys a closure that is written inside the co_await expression twice.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <type_traits>
#include <utility>

namespace ratchet::agent {

template <class F>
boost::asio::awaitable<std::invoke_result_t<F>> call_in_place(F work) {
  co_return work();
}

template <class F>
boost::asio::awaitable<std::invoke_result_t<F>> off_loop(boost::asio::thread_pool& pool, F work) {
  co_return co_await boost::asio::co_spawn(pool, call_in_place<F>(std::move(work)),
                                           boost::asio::use_awaitable);
}

inline boost::asio::awaitable<void> sleep_for(std::chrono::milliseconds time) {
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, time);
  co_await timer.async_wait(boost::asio::use_awaitable);
}

}  // namespace ratchet::agent
