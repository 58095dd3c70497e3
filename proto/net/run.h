#pragma once

// Coroutines from code that is none: programs that do one thing at a time (the CLI), and tests.
//
//   asio::io_context io;
//   const auto answer = run_blocking(io, client.send(std::move(request)));

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <optional>
#include <utility>

namespace ratchet::net {

// Runs the loop until the coroutine has ended; returns what it returned, throws what it threw.
template <class T>
T run_blocking(boost::asio::io_context& io, boost::asio::awaitable<T> work) {
  std::optional<T> value;
  std::exception_ptr failure;
  bool done = false;
  boost::asio::co_spawn(io, std::move(work), [&](std::exception_ptr error, T result) {
    failure = error;
    if (!error) value.emplace(std::move(result));
    done = true;
  });
  io.restart();
  while (!done && io.run_one() > 0) {
  }
  if (failure) std::rethrow_exception(failure);
  return std::move(value).value();
}

inline void run_blocking(boost::asio::io_context& io, boost::asio::awaitable<void> work) {
  std::exception_ptr failure;
  bool done = false;
  boost::asio::co_spawn(io, std::move(work), [&](std::exception_ptr error) {
    failure = error;
    done = true;
  });
  io.restart();
  while (!done && io.run_one() > 0) {
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace ratchet::net
