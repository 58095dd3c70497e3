#pragma once

// The control plane's HTTP API, one call at a time. Blocks; one thread. Ctrl-C ends what waits:
// then calls answer with exit code kExitInterrupted and interrupted() is true.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "controlplane/cli/login.h"
#include "controlplane/cli/problem.h"
#include "proto/net/http_types.h"
#include "proto/net/retry.h"
#include "proto/net/sse.h"

namespace ratchet::control::cli {

using Millis = std::chrono::milliseconds;

// A file on its way: tries in a row without a byte that got through, and the pauses between them.
inline constexpr int kMaxTransferTries = 8;
inline constexpr net::RetryPolicy kBetweenTransferTries{Millis{250}, Millis{15000}, 2};
// A live view that lost its stream.
inline constexpr net::RetryPolicy kReconnect{Millis{250}, Millis{5000}, 2};

// A live view's sources: a stream of events, and a document that is asked for now and then.
struct FollowRequest {
  std::string stream_target;
  std::string last_event_id;  // empty: from the start
  std::string poll_target;
  Millis poll_every{2000};
  Millis tick_every{250};
  // Return false to end. `on_event` may set `poll_soon`.
  std::function<bool(const net::SseEvent& event, bool& poll_soon)> on_event;
  std::function<bool(const nlohmann::json& document)> on_poll;
  std::function<void()> on_tick;
};

class Api {
 public:
  // Fails when the URL or the CA file is unusable; connects with the first call.
  static Answer<std::unique_ptr<Api>> open(const Endpoint& endpoint);
  ~Api();
  Api(const Api&) = delete;
  Api& operator=(const Api&) = delete;

  // JSON of a 2xx answer (null when it has no body), or what went wrong.
  Answer<nlohmann::json> get(const std::string& target);
  // An idempotency key makes a call that was cut off go out again, the same key with it.
  Answer<nlohmann::json> send(net::Method method, const std::string& target,
                              const nlohmann::json* body = nullptr,
                              const std::string& idempotency_key = "");

  // Appends `length` bytes of an open file at `offset` of an upload. Answers with the offset that
  // the upload then has; a wrong offset is no problem but answered with the true one.
  Answer<std::int64_t> upload(const std::string& target, int fd, std::int64_t offset,
                              std::int64_t length);

  // The body of `target` from `offset` on, in pieces, until it ends. Answers with the HTTP status
  // (200, 206; 416 when there is nothing after `offset`).
  using Sink = std::function<Status(std::string_view piece)>;
  Answer<int> download(const std::string& target, std::int64_t offset, const Sink& sink);

  // Until the stream ends (ok), a callback says enough (ok), or the connection breaks.
  Answer<void> follow(const FollowRequest& request);

  // False when Ctrl-C came before the time was over. `tick` is called several times a second.
  bool pause(Millis time, const std::function<void()>& tick = {});
  [[nodiscard]] bool interrupted() const;
  [[nodiscard]] const std::string& url() const;

 private:
  struct Impl;
  explicit Api(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ratchet::control::cli
