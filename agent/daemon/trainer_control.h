#pragma once

// One request to a trainer over its control socket (out/control.sock).

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <filesystem>

#include "proto/control_message.h"
#include "proto/result.h"

namespace ratchet::agent {

// kNotFound: there is no socket (the trainer is not that far, or gone). kUnavailable: no answer
// within `timeout`, which should exceed the request's own deadline.
boost::asio::awaitable<Result<ControlResponse>> ask_trainer(std::filesystem::path socket,
                                                            ControlRequest request,
                                                            std::chrono::milliseconds timeout);

}  // namespace ratchet::agent
