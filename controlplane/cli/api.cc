#include "controlplane/cli/api.h"

#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <charconv>
#include <csignal>
#include <optional>
#include <utility>

#include "controlplane/cli/format.h"
#include "controlplane/cli/json_values.h"
#include "proto/net/http_client.h"
#include "proto/net/retry.h"
#include "proto/net/run.h"

namespace ratchet::control::cli {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kMaxAnswerBytes = 64 * 1024 * 1024;
constexpr int kTries = 4;  // of a call with an idempotency key
constexpr net::RetryPolicy kBetweenTries{Millis{200}, Millis{2000}, 2};
constexpr Millis kUploadTime{300000};
constexpr Millis kStreamSilence{60000};  // comments come more often
constexpr Millis kTick{100};

Problem unreachable(const Error& error, const std::string& url) {
  Problem problem = problem_of(error);
  if (error.code == Code::kUnavailable) {
    problem.code = "control_plane_unreachable";
    problem.message = "The control plane at " + url + " does not answer: " + error.message;
    problem.next_step =
        "Running jobs train on without it. Check that ratchet-control runs there (on this machine "
        "'ratchet up' starts it) and that the URL is right: 'ratchet login URL' changes it.";
  }
  return problem;
}

net::ClientRequest request_for(net::Method method, const std::string& target) {
  net::ClientRequest request;
  request.method = method;
  request.target = target;
  return request;
}

std::optional<std::int64_t> header_number(const net::Headers& headers, std::string_view name) {
  const std::string_view text = headers.get(name);
  std::int64_t value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc{} || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

}  // namespace

struct Api::Impl {
  asio::io_context io{1};
  asio::signal_set signals{io};
  std::string url;
  std::unique_ptr<net::HttpClient> client;
  net::CancelSource* running = nullptr;  // of the call in hand
  bool interrupted = false;

  void watch_signals() {
    signals.add(SIGINT);
    signals.add(SIGTERM);
    signals.async_wait([this](const boost::system::error_code& failed, int) {
      if (failed) return;
      interrupted = true;
      if (running != nullptr) running->cancel();
      // A second one ends the process at once.
      std::signal(SIGINT, SIG_DFL);
      std::signal(SIGTERM, SIG_DFL);
    });
  }

  // Runs a call that Ctrl-C ends.
  template <class T>
  Result<T> run(net::CancelSource& cancel, asio::awaitable<Result<T>> work) {
    running = &cancel;
    auto result = net::run_blocking(io, std::move(work));
    running = nullptr;
    return result;
  }

  [[nodiscard]] Problem explain(const Error& error) const {
    return interrupted ? interrupted_problem() : unreachable(error, url);
  }

  Answer<net::ClientResponse> call(net::ClientRequest request) {
    if (interrupted) return interrupted_problem();
    net::CancelSource cancel;
    request.cancel = &cancel;
    auto response = run(cancel, client->send(std::move(request)));
    if (!response) return explain(response.error());
    return *std::move(response);
  }

  asio::awaitable<void> keep_polling(const FollowRequest& request, net::CancelSource& cancel,
                                     bool& poll_soon, bool& ended);
};

Api::Api(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Api::~Api() = default;

Answer<std::unique_ptr<Api>> Api::open(const Endpoint& endpoint) {
  const auto base = net::parse_url(endpoint.url);
  if (!base) return problem_of(base.error());
  auto impl = std::make_unique<Impl>();
  impl->url = endpoint.url;
  net::ClientOptions options;
  options.tls.ca_file = endpoint.ca_file;
  options.bearer_token = endpoint.token;
  options.user_agent = "ratchet-cli";
  options.max_response_bytes = kMaxAnswerBytes;
  auto client = net::HttpClient::create(impl->io.get_executor(), *base, std::move(options));
  if (!client) return problem_of(client.error());
  impl->client = *std::move(client);
  impl->watch_signals();
  return std::unique_ptr<Api>(new Api(std::move(impl)));
}

Answer<Json> Api::get(const std::string& target) { return send(net::Method::kGet, target); }

Answer<Json> Api::send(net::Method method, const std::string& target, const Json* body,
                       const std::string& idempotency_key) {
  net::Backoff backoff(kBetweenTries, static_cast<std::uint64_t>(::getpid()));
  for (int tries = 1;; ++tries) {
    auto request = request_for(method, target);
    if (body != nullptr) {
      request.headers.set("Content-Type", "application/json");
      request.body = body->dump();
    }
    if (!idempotency_key.empty()) request.headers.set("Idempotency-Key", idempotency_key);
    auto response = impl_->call(std::move(request));
    const bool again = !idempotency_key.empty() && tries < kTries && !impl_->interrupted &&
                       (response ? net::is_transient_status(response->status)
                                 : response.error().exit == kExitUnreachable);
    if (again && pause(backoff.next())) continue;
    if (!response) return response.error();
    if (response->status >= 300) {
      return problem_of_answer(response->status, response->body, impl_->url);
    }
    if (response->body.empty()) return Json();
    Json parsed = parse_json(response->body, kMaxAnswerBytes);
    if (parsed.is_null()) return problem_of_answer(response->status, response->body, impl_->url);
    return parsed;
  }
}

Answer<std::int64_t> Api::upload(const std::string& target, int fd, std::int64_t offset,
                                 std::int64_t length) {
  auto request = request_for(net::Method::kPut, target);
  request.headers.set("Upload-Offset", std::to_string(offset));
  request.headers.set("Content-Type", "application/octet-stream");
  request.body =
      net::FileRange{fd, static_cast<std::uint64_t>(offset), static_cast<std::uint64_t>(length)};
  request.total_timeout = kUploadTime;
  const auto response = impl_->call(std::move(request));
  if (!response) return response.error();
  const auto reached = header_number(response->headers, "Upload-Offset");
  if (response->status < 300) return reached.value_or(offset + length);
  if (response->status == 409 && reached && *reached != offset) return *reached;
  return problem_of_answer(response->status, response->body, impl_->url);
}

Answer<int> Api::download(const std::string& target, std::int64_t offset, const Sink& sink) {
  if (impl_->interrupted) return interrupted_problem();
  net::CancelSource cancel;
  auto request = request_for(net::Method::kGet, target);
  request.cancel = &cancel;
  request.total_timeout = kStreamSilence;
  if (offset > 0) request.headers.set("Range", "bytes=" + std::to_string(offset) + "-");
  auto response = impl_->run(cancel, impl_->client->download(std::move(request), sink));
  if (!response) return impl_->explain(response.error());
  if (response->status >= 300 && response->status != 416) {
    return problem_of_answer(response->status, response->body, impl_->url);
  }
  return response->status;
}

asio::awaitable<void> Api::Impl::keep_polling(const FollowRequest& request,
                                              net::CancelSource& cancel, bool& poll_soon,
                                              bool& ended) {
  asio::steady_timer timer(io);
  auto due = std::chrono::steady_clock::now();
  while (!ended && !interrupted) {
    if (poll_soon || std::chrono::steady_clock::now() >= due) {
      poll_soon = false;
      due = std::chrono::steady_clock::now() + request.poll_every;
      auto poll = request_for(net::Method::kGet, request.poll_target);
      poll.cancel = &cancel;
      const auto response = co_await client->send(std::move(poll));
      if (response && response->status == 200) {
        const Json document = parse_json(response->body, kMaxAnswerBytes);
        if (!request.on_poll(document)) ended = true;
      }
    }
    if (request.on_tick) request.on_tick();
    if (ended) break;
    timer.expires_after(request.tick_every);
    co_await timer.async_wait(asio::use_awaitable);
  }
  cancel.cancel();
}

Answer<void> Api::follow(const FollowRequest& request) {
  if (impl_->interrupted) return interrupted_problem();
  net::CancelSource cancel;
  bool ended = false;
  bool poll_soon = true;
  bool poller_done = false;
  auto stream = request_for(net::Method::kGet, request.stream_target);
  stream.headers.set("Accept", "text/event-stream");
  if (!request.last_event_id.empty()) stream.headers.set("Last-Event-ID", request.last_event_id);
  stream.cancel = &cancel;
  asio::co_spawn(impl_->io, impl_->keep_polling(request, cancel, poll_soon, ended),
                 [&poller_done](std::exception_ptr) { poller_done = true; });
  const auto on_event = [&](const net::SseEvent& event) -> Status {
    if (ended || !request.on_event(event, poll_soon)) {
      ended = true;
      return Error{Code::kUnavailable, "Enough."};
    }
    return ok();
  };
  const auto response =
      impl_->run(cancel, impl_->client->stream(std::move(stream), kStreamSilence, on_event));
  const bool wanted = ended;
  ended = true;
  cancel.cancel();
  // The poller uses what lives on this stack.
  while (!poller_done && impl_->io.run_one() > 0) {
  }
  if (impl_->interrupted) return interrupted_problem();
  if (wanted) return {};
  if (!response) return impl_->explain(response.error());
  if (response->status >= 300) {
    return problem_of_answer(response->status, response->body, impl_->url);
  }
  return {};
}

bool Api::pause(Millis time, const std::function<void()>& tick) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (!impl_->interrupted) {
    const auto now = std::chrono::steady_clock::now();
    if (now >= end) return true;
    impl_->io.restart();
    impl_->io.run_one_until(std::min(end, now + kTick));
    if (tick) tick();
  }
  return false;
}

bool Api::interrupted() const { return impl_->interrupted; }
const std::string& Api::url() const { return impl_->url; }

}  // namespace ratchet::control::cli
