#pragma once

// Work that blocks (disk, database reads), away from the loop's thread:
//
//   auto rows = co_await run_in(pool, std::function([&store] { return store.jobs().jobs({}); }));
//
// The coroutine goes on where it was. The work must not throw and must own what it uses, or be
// outlived by it: it runs to its end also when the coroutine is gone.

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <utility>

namespace ratchet::control {

template <class R>
boost::asio::awaitable<R> run_in(boost::asio::thread_pool& pool, std::function<R()> work) {
  auto start = [&pool](auto handler, std::function<R()> job) {
    auto executor = boost::asio::get_associated_executor(handler);
    auto held = boost::asio::prefer(executor, boost::asio::execution::outstanding_work.tracked);
    auto run = [handler = std::move(handler), job = std::move(job), held]() mutable {
      auto finish = [handler = std::move(handler), value = job()]() mutable {
        std::move(handler)(std::move(value));
      };
      boost::asio::post(held, std::move(finish));
    };
    boost::asio::post(pool, std::move(run));
  };
  R value = co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>&, void(R)>(
      std::move(start), boost::asio::use_awaitable, std::move(work));
  co_return value;
}

}  // namespace ratchet::control
