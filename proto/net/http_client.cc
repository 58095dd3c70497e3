#include "proto/net/http_client.h"

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <list>

#include "proto/net/client_connection.h"

namespace ratchet::net {

using std::chrono::steady_clock;
using ConnectionPtr = std::shared_ptr<ClientConnection>;

// CancelSource ------------------------------------------------------------------------------------

struct CancelSource::Impl {
  bool cancelled = false;
  std::list<std::weak_ptr<ClientConnection>> targets;
};

CancelSource::CancelSource() : impl_(std::make_shared<Impl>()) {}
CancelSource::~CancelSource() = default;
bool CancelSource::cancelled() const { return impl_->cancelled; }

void CancelSource::cancel() {
  impl_->cancelled = true;
  for (const auto& target : impl_->targets) {
    if (const auto connection = target.lock()) connection->expire();
  }
}

namespace {

// Registers a connection with a cancel source for as long as it lives.
class CancelScope {
 public:
  CancelScope(CancelSource* source, const ConnectionPtr& connection) {
    if (!source) return;
    impl_ = source->impl();
    place_ = impl_->targets.insert(impl_->targets.end(), connection);
    if (impl_->cancelled) connection->expire();
  }
  ~CancelScope() {
    if (impl_) impl_->targets.erase(place_);
  }
  CancelScope(const CancelScope&) = delete;
  CancelScope& operator=(const CancelScope&) = delete;

 private:
  std::shared_ptr<CancelSource::Impl> impl_;
  std::list<std::weak_ptr<ClientConnection>>::iterator place_;
};

// Ends a connection's operations when its time is over.
class DeadlineTimer {
 public:
  DeadlineTimer(const asio::any_io_executor& executor, const ConnectionPtr& connection)
      : timer_(executor), connection_(connection) {}
  ~DeadlineTimer() {
    ++*turn_;
    timer_.cancel();
  }
  DeadlineTimer(const DeadlineTimer&) = delete;
  DeadlineTimer& operator=(const DeadlineTimer&) = delete;

  void set(steady_clock::time_point deadline) {
    timer_.expires_at(deadline);
    // A wait that has ended but not been told yet must not end what came after it.
    timer_.async_wait([target = connection_, turn = ++*turn_,
                       now = turn_](const boost::system::error_code& fault) {
      if (fault || turn != *now) return;
      if (const auto connection = target.lock()) connection->expire();
    });
  }

 private:
  asio::steady_timer timer_;
  std::weak_ptr<ClientConnection> connection_;
  std::shared_ptr<int> turn_ = std::make_shared<int>(0);
};

bool is_repeatable(const ClientRequest& request) {
  return request.method == Method::kGet || request.method == Method::kHead ||
         request.method == Method::kPut || request.method == Method::kDelete ||
         request.repeatable || request.headers.has("Idempotency-Key");
}

std::uint64_t body_size(const ClientRequest& request) {
  if (const auto* file = std::get_if<FileRange>(&request.body)) return file->length;
  return std::get<std::string>(request.body).size();
}

}  // namespace

// HttpClient --------------------------------------------------------------------------------------

struct HttpClient::Impl {
  asio::any_io_executor executor;
  Url base;
  ClientOptions options;
  std::shared_ptr<TlsContext> tls;
  std::list<ConnectionPtr> idle;

  // How an answer's body is taken in.
  struct Intake {
    Sink sink;          // empty: into the response
    Millis silence{0};  // 0: one deadline for everything
  };
  struct Outcome {
    Result<ClientResponse> response = ClientResponse{};
    bool stale = false;  // a kept connection was closed before any byte of an answer
  };

  std::string header_text(const ClientRequest& request) const;
  ConnectionPtr take_idle();
  void keep(const ConnectionPtr& connection);
  asio::awaitable<Result<ClientResponse>> run(ClientRequest request, Intake intake);
  asio::awaitable<Outcome> exchange(ConnectionPtr connection, bool kept,
                                    const ClientRequest& request, const Intake& intake,
                                    steady_clock::time_point deadline);
  asio::awaitable<Status> take_body(ConnectionPtr connection, const ClientRequest& request,
                                    const Intake& intake, DeadlineTimer& timer,
                                    ClientResponse& response);
};

std::string HttpClient::Impl::header_text(const ClientRequest& request) const {
  Headers headers = request.headers;
  headers.set("Host", base.authority());
  headers.set("User-Agent", options.user_agent);
  if (!options.bearer_token.empty()) {
    headers.set("Authorization", "Bearer " + options.bearer_token);
  }
  const std::uint64_t size = body_size(request);
  const bool has_body = request.method == Method::kPost || request.method == Method::kPut ||
                        request.method == Method::kPatch || size > 0;
  if (has_body) headers.set("Content-Length", std::to_string(size));
  std::string out(method_name(request.method));
  out.append(" ").append(join_target(base, request.target)).append(" HTTP/1.1\r\n");
  for (const Headers::Field& field : headers.fields()) {
    out.append(field.name).append(": ").append(field.value).append("\r\n");
  }
  return out.append("\r\n");
}

ConnectionPtr HttpClient::Impl::take_idle() {
  const auto oldest = steady_clock::now() - options.idle_timeout;
  while (!idle.empty()) {
    const ConnectionPtr connection = idle.back();
    idle.pop_back();
    if (connection->idle_since >= oldest && connection->is_quiet()) return connection;
  }
  return nullptr;
}

void HttpClient::Impl::keep(const ConnectionPtr& connection) {
  connection->idle_since = steady_clock::now();
  idle.push_back(connection);
  if (idle.size() > options.max_idle_connections) idle.pop_front();
}

asio::awaitable<Status> HttpClient::Impl::take_body(ConnectionPtr connection,
                                                    const ClientRequest& request,
                                                    const Intake& intake, DeadlineTimer& timer,
                                                    ClientResponse& response) {
  const bool into_sink = intake.sink && response.status >= 200 && response.status < 300;
  const std::size_t most =
      request.max_response_bytes != 0 ? request.max_response_bytes : options.max_response_bytes;
  while (true) {
    if (intake.silence.count() > 0) timer.set(steady_clock::now() + intake.silence);
    const auto piece = co_await connection->read_body();
    if (!piece) {
      if (piece.error().code == Code::kUnavailable) {
        co_return unavailable(base, piece.error().message);
      }
      co_return piece.error();
    }
    if (piece->empty()) co_return ok();
    if (into_sink) {
      Status taken = intake.sink(*piece);
      if (!taken) co_return taken;
      continue;
    }
    if (response.body.size() + piece->size() > most) {
      co_return Error{Code::kInvalidArgument, "The answer of " + base.authority() +
                                                  " is larger than " + std::to_string(most) +
                                                  " bytes."};
    }
    response.body.append(*piece);
  }
}

asio::awaitable<HttpClient::Impl::Outcome> HttpClient::Impl::exchange(
    ConnectionPtr connection, bool kept, const ClientRequest& request, const Intake& intake,
    steady_clock::time_point deadline) {
  Outcome outcome;
  DeadlineTimer timer(executor, connection);
  CancelScope cancel(request.cancel, connection);
  if (!kept) {
    timer.set(std::min(deadline, steady_clock::now() + options.connect_timeout));
    const Status connected =
        co_await connection->connect(base, options.pinned_address, options.connect_timeout, tls);
    if (!connected) {
      outcome.response = connected.error();
      co_return outcome;
    }
  }
  timer.set(deadline);
  const std::string header = header_text(request);
  IoFault fault = IoFault::kNone;
  if (const auto* file = std::get_if<FileRange>(&request.body)) {
    fault = co_await connection->write(header, "");
    if (fault == IoFault::kNone) fault = co_await connection->write_file(*file);
  } else {
    fault = co_await connection->write(header, std::get<std::string>(request.body));
  }
  Result<ClientResponse> response = Error{Code::kUnavailable, "it took too long"};
  if (fault != IoFault::kExpired) response = co_await connection->read_header(request.method);
  if (!response) {
    outcome.stale = kept && !connection->got_bytes() && fault != IoFault::kExpired;
    const Error& error = response.error();
    outcome.response = error.code == Code::kUnavailable ? unavailable(base, error.message) : error;
    co_return outcome;
  }
  const Status taken = co_await take_body(connection, request, intake, timer, *response);
  if (request.ignore_body) {
    response->body.clear();
    if (!taken) {  // the rest stays unread, so the connection is of no further use
      outcome.response = std::move(response);
      co_return outcome;
    }
  }
  if (!taken) {
    outcome.response = taken.error();
    co_return outcome;
  }
  if (fault == IoFault::kNone && connection->reusable()) keep(connection);
  outcome.response = std::move(response);
  co_return outcome;
}

asio::awaitable<Result<ClientResponse>> HttpClient::Impl::run(ClientRequest request,
                                                              Intake intake) {
  // The caller may be cancelled by Asio's own means; that too is reported as an error.
  try {
    if (!options.bearer_token.empty() && !base.https && !options.allow_plaintext &&
        !is_loopback_host(base.host)) {
      co_return Error{Code::kFailedPrecondition,
                      "Sending a token to http://" + base.authority() +
                          " is refused: it would cross the network in clear. Use https, or allow "
                          "plaintext by name."};
    }
    const Millis total =
        request.total_timeout.count() != 0 ? request.total_timeout : options.total_timeout;
    const auto deadline = steady_clock::now() + total;
    ConnectionPtr connection = take_idle();
    if (connection) {
      Outcome outcome = co_await exchange(connection, true, request, intake, deadline);
      const bool cancelled = request.cancel && request.cancel->cancelled();
      if (!outcome.stale || !is_repeatable(request) || cancelled) {
        co_return std::move(outcome.response);
      }
    }
    connection = std::make_shared<ClientConnection>(executor, options.max_header_bytes);
    Outcome outcome = co_await exchange(connection, false, request, intake, deadline);
    co_return std::move(outcome.response);
  } catch (const boost::system::system_error& error) {
    co_return unavailable(base, error.code().message());
  } catch (const std::exception& error) {
    co_return Error{Code::kInternal, error.what()};
  }
}

HttpClient::HttpClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpClient::~HttpClient() = default;

Result<std::unique_ptr<HttpClient>> HttpClient::create(asio::any_io_executor executor, Url base,
                                                       ClientOptions options) {
  auto impl = std::make_unique<Impl>();
  impl->executor = std::move(executor);
  if (base.https) {
    auto tls = TlsContext::client(options.tls);
    if (!tls) return tls.error();
    impl->tls = *std::move(tls);
  }
  impl->base = std::move(base);
  impl->options = std::move(options);
  return std::unique_ptr<HttpClient>(new HttpClient(std::move(impl)));
}

asio::awaitable<Result<ClientResponse>> HttpClient::send(ClientRequest request) {
  return impl_->run(std::move(request), {});
}

asio::awaitable<Result<ClientResponse>> HttpClient::download(ClientRequest request, Sink sink) {
  const Millis silence =
      request.total_timeout.count() != 0 ? request.total_timeout : impl_->options.total_timeout;
  return impl_->run(std::move(request), {std::move(sink), silence});
}

asio::awaitable<Result<ClientResponse>> HttpClient::stream(ClientRequest request, Millis silence,
                                                           EventSink sink) {
  request.headers.set("Accept", "text/event-stream");
  const auto parser = std::make_shared<SseParser>();
  return impl_->run(std::move(request), {[parser, sink = std::move(sink)](std::string_view piece) {
                                           return parser->push(piece, sink);
                                         },
                                         silence});
}

void HttpClient::set_bearer_token(std::string token) {
  impl_->options.bearer_token = std::move(token);
}

const Url& HttpClient::base() const { return impl_->base; }

void HttpClient::close_idle() { impl_->idle.clear(); }

}  // namespace ratchet::net
