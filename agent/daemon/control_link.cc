#include "agent/daemon/control_link.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <utility>

#include "agent/daemon/artifact_client.h"
#include "proto/api_error.h"
#include "proto/net/retry.h"

namespace ratchet::agent {
namespace {

constexpr Millis kHelloTimeout{10000};
constexpr Millis kHeartbeatTimeout{5000};
constexpr Millis kSyncTimeout{10000};  // beyond its wait
constexpr Millis kNoticeTimeout{3000};
constexpr Millis kWarmTimeout{3000};

template <class Answered, class Response>
Input answered(std::uint64_t number, Result<Response> decoded) {
  if (!decoded) return CallFailed{number, CallError::kUnreachable, decoded.error().message};
  return Answered{number, *std::move(decoded)};
}

CallError error_of(int status, std::string_view body) {
  const auto error = decode_api_error(body);
  // What is not in the control plane's form does not come from it.
  if (!error || net::is_transient_status(status)) return CallError::kUnreachable;
  return error->code == to_word(ApiErrorCode::kNeedsHello) ? CallError::kNeedsHello
                                                           : CallError::kRefused;
}

}  // namespace

Result<std::unique_ptr<ControlLink>> ControlLink::create(asio::any_io_executor executor,
                                                         LinkSettings settings, Answer answer) {
  const auto url = net::parse_url(settings.url);
  if (!url) return url.error();
  net::ClientOptions options;
  options.tls.ca_file = settings.ca_file;
  options.allow_plaintext = settings.allow_plaintext;
  options.user_agent = "ratchet-agent";
  options.bearer_token = settings.node_token.empty() ? settings.join_token : settings.node_token;
  std::unique_ptr<ControlLink> link(
      new ControlLink(executor, std::move(settings), std::move(answer)));
  auto control = net::HttpClient::create(executor, *url, options);
  if (!control) return control.error();
  auto notices = net::HttpClient::create(executor, *url, options);
  if (!notices) return notices.error();
  link->control_ = *std::move(control);
  link->notices_ = *std::move(notices);
  link->all_ = std::make_shared<net::CancelSource>();
  return link;
}

ControlLink::~ControlLink() = default;

void ControlLink::send(SendHello call) {
  start({call.call, "/v1/agent/hello", encode(call.request), kHelloTimeout, all_, false, true},
        Kind::kHello);
}

void ControlLink::send(SendHeartbeat call) {
  start({call.call, "/v1/agent/heartbeat", encode(call.request), kHeartbeatTimeout, all_},
        Kind::kHeartbeat);
}

void ControlLink::send(SendSync call) {
  if (sync_) sync_->cancel();
  sync_ = std::make_shared<net::CancelSource>();
  start(
      {call.call, "/v1/agent/sync", encode(call.request), call.request.wait + kSyncTimeout, sync_},
      Kind::kSync);
}

void ControlLink::send(SendNotice call) {
  start({call.call, "/v1/agent/notice", encode(call.request), kNoticeTimeout, all_, true},
        Kind::kNotice);
}

void ControlLink::set_node_token(std::string token) {
  settings_.node_token = std::move(token);
  use_join_token_ = false;
  control_->set_bearer_token(settings_.node_token);
  notices_->set_bearer_token(settings_.node_token);
}

void ControlLink::warm_up() {
  if (!closed_) asio::co_spawn(executor_, keep_open(), asio::detached);
}

void ControlLink::close() {
  closed_ = true;
  all_->cancel();
  if (sync_) sync_->cancel();
}

void ControlLink::start(Call call, Kind kind) {
  if (!closed_) asio::co_spawn(executor_, run(std::move(call), kind), asio::detached);
}

asio::awaitable<void> ControlLink::run(Call call, Kind kind) {
  ++under_way_;
  net::ClientRequest request;
  request.method = net::Method::kPost;
  request.target = call.target;
  request.body = std::move(call.body);
  request.headers.set("Content-Type", "application/json");
  request.total_timeout = call.timeout;
  request.cancel = call.cancel.get();
  net::HttpClient& client = call.notice ? *notices_ : *control_;
  const auto answer = co_await client.send(std::move(request));
  --under_way_;
  if (!closed_) answer_(to_input(call, kind, answer));
}

Input ControlLink::to_input(const Call& call, Kind kind,
                            const Result<net::ClientResponse>& answer) {
  if (!answer) return CallFailed{call.number, CallError::kUnreachable, answer.error().message};
  if (answer->status >= 300) {
    if (call.hello && answer->status == 401 && !settings_.join_token.empty()) {
      // A control plane that does not know this node's token may still take its join token.
      use_join_token_ = !use_join_token_;
      control_->set_bearer_token(use_join_token_ || settings_.node_token.empty()
                                     ? settings_.join_token
                                     : settings_.node_token);
    }
    return CallFailed{call.number, error_of(answer->status, answer->body),
                      answer_error("POST " + call.target, answer->status, answer->body).message};
  }
  switch (kind) {
    case Kind::kHello:
      return answered<HelloAnswered>(call.number, decode_hello_response(answer->body));
    case Kind::kHeartbeat:
      return answered<HeartbeatAnswered>(call.number, decode_heartbeat_response(answer->body));
    case Kind::kSync:
      return answered<SyncAnswered>(call.number, decode_sync_response(answer->body));
    case Kind::kNotice:
      return answered<NoticeAnswered>(call.number, decode_heartbeat_response(answer->body));
  }
  return CallFailed{call.number, CallError::kUnreachable, "An unknown kind of call."};
}

asio::awaitable<void> ControlLink::keep_open() {
  ++under_way_;
  net::ClientRequest request;
  request.target = "/healthz";
  request.total_timeout = kWarmTimeout;
  request.cancel = all_.get();
  // What it answers does not matter: the connection does.
  static_cast<void>(co_await notices_->send(std::move(request)));
  --under_way_;
}

}  // namespace ratchet::agent
