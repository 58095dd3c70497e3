#include "tests/controlplane/cli/stand_in_server.h"

#include <utility>

#include "tests/net/http_testing.h"

namespace ratchet::control::cli {

constexpr std::size_t kMaxBody = 64 * 1024 * 1024;

StandInServer::StandInServer(Script script)
    : script_(std::move(script)),
      server_(std::make_unique<net::testing::ServerThread>(
          net::ServerOptions{}, [this](net::Exchange& exchange) { return handle(exchange); })) {}

StandInServer::~StandInServer() = default;

std::string StandInServer::url() const { return server_->url(); }

std::vector<Seen> StandInServer::seen(const std::string& prefix) const {
  const std::scoped_lock lock(mutex_);
  std::vector<Seen> out;
  for (const Seen& request : seen_) {
    if ((request.method + " " + request.target).starts_with(prefix)) out.push_back(request);
  }
  return out;
}

net::asio::awaitable<void> StandInServer::handle(net::Exchange& exchange) {
  const net::Request& request = exchange.request();
  Seen seen;
  seen.method = net::method_name(request.method);
  seen.target = request.path;
  if (!request.query.empty()) seen.target += "?" + net::format_query(request.query);
  seen.headers = request.headers;
  auto body = co_await exchange.read_body(kMaxBody);
  if (!body) co_return;
  seen.body = *std::move(body);
  Play play;
  {
    const std::scoped_lock lock(mutex_);
    seen_.push_back(seen);
  }
  play = script_(seen);
  net::Response response;
  response.status = play.status;
  for (const auto& [name, value] : play.headers) response.headers.set(name, value);
  if (!play.cut) {
    response.body = play.body;
    (void)co_await exchange.send(std::move(response));
    co_return;
  }
  // A stream that is begun and not ended closes the connection.
  if (co_await exchange.begin_stream(std::move(response))) {
    (void)co_await exchange.write(play.body);
  }
}

}  // namespace ratchet::control::cli
