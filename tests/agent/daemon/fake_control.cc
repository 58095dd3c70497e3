#include "tests/agent/daemon/fake_control.h"

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <charconv>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "agent/daemon/files.h"
#include "agent/daemon/off_loop.h"

namespace ratchet::testing {
namespace {

using net::Exchange;
using net::Method;
using net::Response;

std::string key_of(const JobId& job, std::int64_t epoch) {
  return job.str() + "/" + std::to_string(epoch);
}

nlohmann::json describe(const std::string& id, const FakeArtifact& artifact) {
  nlohmann::json files = nlohmann::json::array();
  for (const auto& [path, file] : artifact.files) {
    files.push_back({{"path", path},
                     {"bytes", file.size},
                     {"sha256", file.sha256},
                     {"received_bytes", file.bytes.size()}});
  }
  return {{"id", id},
          {"kind", artifact.kind},
          {"state", artifact.sealed ? "sealed" : "open"},
          {"files", files}};
}

Response json_response(int status, const std::string& body) {
  Response response;
  response.status = status;
  response.headers.set("Content-Type", "application/json");
  response.body = body;
  return response;
}

}  // namespace

FakeControl::FakeControl() {
  auto server = net::HttpServer::listen(io_.get_executor(), {},
                                        [this](Exchange& exchange) { return handle(exchange); });
  if (!server) std::abort();
  server_ = *std::move(server);
  url_ = server_->url();
  thread_ = std::thread([this] {
    const auto guard = boost::asio::make_work_guard(io_);
    io_.run();
  });
}

FakeControl::~FakeControl() {
  boost::asio::post(io_, [this] {
    server_.reset();
    io_.stop();
  });
  thread_.join();
}

void FakeControl::desire(std::vector<DesiredAttempt> attempts) {
  const std::lock_guard lock(mutex_);
  desired_ = std::move(attempts);
  ++rev_;
}

void FakeControl::want_node(NodeWant want) {
  const std::lock_guard lock(mutex_);
  node_want_ = want;
  ++rev_;
}

std::string FakeControl::add_artifact(const std::string& kind,
                                      std::map<std::string, std::string> files) {
  const std::lock_guard lock(mutex_);
  const std::string id = "given-" + std::to_string(seen_.artifacts.size());
  FakeArtifact artifact{kind, true, {}};
  for (auto& [path, bytes] : files) {
    const auto size = static_cast<std::int64_t>(bytes.size());
    artifact.files[path] = {agent::sha256_text(bytes), size, std::move(bytes)};
  }
  seen_.artifacts[id] = std::move(artifact);
  return id;
}

bool FakeControl::wait_for(const std::function<bool(const Seen&)>& predicate,
                           std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, [&] { return predicate(seen_); });
}

FakeControl::Seen FakeControl::seen() {
  const std::lock_guard lock(mutex_);
  return seen_;
}

boost::asio::awaitable<void> FakeControl::handle(Exchange& exchange) {
  const std::string path = exchange.request().path;
  if (path == "/healthz") {
    co_await exchange.send(json_response(200, "{}"));
  } else if (path.rfind("/v1/", 0) != 0) {
    co_await handle_metadata(exchange);
  } else if (path == "/v1/agent/sync") {
    co_await handle_sync(exchange);
  } else if (path.rfind("/v1/agent/", 0) == 0) {
    co_await handle_agent(exchange);
  } else {
    co_await handle_artifact(exchange);
  }
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

boost::asio::awaitable<void> FakeControl::handle_metadata(Exchange& exchange) {
  const net::Request& request = exchange.request();
  Response response;
  if (request.path == "/latest/api/token") {
    response.body = "token";
  } else if (request.path == "/latest/meta-data/spot/instance-action" && preempting) {
    response.body = R"({"action":"terminate","time":"2099-01-01T00:00:00Z"})";
  } else if (request.path.rfind("/latest/", 0) == 0) {
    response.status = 404;
  } else if (request.path == "/computeMetadata/v1/instance/preempted") {
    while (request.parameter("last_etag") == std::string_view("before") && !preempting &&
           !exchange.should_end()) {
      co_await agent::sleep_for(Millis(10));
    }
    response.headers.set("ETag", preempting ? "after" : "before");
    response.body = preempting ? "TRUE" : "FALSE";
  } else if (request.path == "/metadata/instance/compute/name") {
    response.body = "vm0";
  } else if (request.method == Method::kPost) {
    ++acknowledged;
  } else if (preempting) {
    response.body = R"({"DocumentIncarnation":2,"Events":[{"EventId":"A1","EventType":"Preempt",)"
                    R"("Resources":["vm0"],"NotBefore":"Thu, 1 Jan 2099 00:00:00 GMT"}]})";
  } else {
    response.body = R"({"DocumentIncarnation":1,"Events":[]})";
  }
  co_await exchange.send(std::move(response));
}

boost::asio::awaitable<void> FakeControl::handle_agent(Exchange& exchange) {
  const auto body = co_await exchange.read_body(kMaxSyncBytes);
  if (!body) co_return;
  while (silent && !exchange.should_end()) co_await agent::sleep_for(Millis(20));
  const std::string path = exchange.request().path;
  std::string answer;
  if (path == "/v1/agent/hello") {
    const auto hello = decode_hello_request(*body);
    if (!hello) {
      co_await exchange.send(json_response(400, "{}"));
      co_return;
    }
    HelloResponse response;
    response.node_id = hello->node_id.empty() ? "node-1" : hello->node_id;
    if (hello->node_id.empty()) response.node_token = "token-of-node-1";
    response.boot_id = "boot-1";
    response.heartbeat = Millis(200);
    response.sync_wait = Millis(2000);
    response.authority_ttl = Millis(authority_ms);
    const std::lock_guard lock(mutex_);
    seen_.hellos.push_back(*hello);
    seen_.facts = hello->facts;
    seen_.hello_tokens.emplace_back(net::bearer_token(exchange.request().headers));
    answer = encode(response);
  } else if (path == "/v1/agent/heartbeat" || path == "/v1/agent/notice") {
    const std::lock_guard lock(mutex_);
    if (path == "/v1/agent/heartbeat") {
      ++seen_.heartbeats;
    } else if (const auto notice = decode_notice_request(*body)) {
      seen_.notices.push_back(*notice);
    }
    answer = encode(HeartbeatResponse{"boot-1", rev_, Millis(15000), Millis(authority_ms)});
  } else {
    const std::lock_guard lock(mutex_);
    std::string& log = seen_.logs[path];
    const std::string offset(exchange.request().headers.get("Upload-Offset"));
    if (offset == std::to_string(log.size())) log += *body;
    answer = "{}";
  }
  co_await exchange.send(json_response(200, answer));
}

boost::asio::awaitable<void> FakeControl::handle_sync(Exchange& exchange) {
  const auto body = co_await exchange.read_body(kMaxSyncBytes);
  const auto request =
      body ? decode_sync_request(*body) : Result<SyncRequest>(Error{Code::kCorrupt, "no body"});
  if (!request) {
    co_await exchange.send(json_response(400, "{}"));
    co_return;
  }
  while (silent && !exchange.should_end()) co_await agent::sleep_for(Millis(20));
  take(*request);
  const auto until = std::chrono::steady_clock::now() + request->wait;
  while (!exchange.should_end() && std::chrono::steady_clock::now() < until) {
    {
      const std::lock_guard lock(mutex_);
      if (rev_ != request->desired_rev || latest_sync_ != request->seq) break;
    }
    co_await agent::sleep_for(Millis(20));
  }
  co_await exchange.send(json_response(200, encode(answer_to(*request))));
}

void FakeControl::take(const SyncRequest& request) {
  const std::lock_guard lock(mutex_);
  latest_sync_ = request.seq;
  seen_.facts = request.facts;
  for (const AttemptReport& report : request.attempts) {
    seen_.reports[key_of(report.job_id, report.epoch)] = report;
  }
  for (const TrainerLine& line : request.lines) {
    std::uint64_t& acked = acked_[key_of(line.job_id, line.attempt_no)];
    if (line.seq > acked + 1) ++seen_.line_gaps;
    if (line.seq == acked + 1) acked = line.seq;
    seen_.lines[line.seq] = line.line;
  }
  changed_.notify_all();
}

SyncResponse FakeControl::answer_to(const SyncRequest& request) {
  const std::lock_guard lock(mutex_);
  SyncResponse response;
  response.boot_id = "boot-1";
  response.desired_rev = rev_;
  response.contact_ttl = Millis(15000);
  response.authority_ttl = Millis(authority_ms);
  response.node_want = node_want_;
  for (const DesiredAttempt& desired : desired_) {
    const auto report = seen_.reports.find(key_of(desired.job_id, desired.epoch));
    const bool ended = report != seen_.reports.end() && report->second.exit.has_value();
    if (!ended) response.desired.push_back(desired);
  }
  for (const AttemptReport& report : request.attempts) {
    for (const SealedCheckpoint& sealed : report.sealed) {
      if (sealed.artifact_id.empty()) continue;
      response.verdicts.push_back({report.job_id, report.epoch, sealed.step, sealed.manifest_sha256,
                                   PublishVerdict::kCommitted, ""});
    }
    const auto acked = acked_.find(key_of(report.job_id, report.attempt_no));
    if (acked != acked_.end()) {
      response.acked_lines.push_back({report.job_id, report.attempt_no, acked->second});
    }
    if (report.exit) response.acked_ends.push_back({report.job_id, report.attempt_no, 0});
  }
  return response;
}

boost::asio::awaitable<void> FakeControl::handle_artifact(Exchange& exchange) {
  const std::string path = exchange.request().path;
  const Method method = exchange.request().method;
  const std::string prefix = "/v1/artifacts";
  if (method == Method::kPost && path == prefix) {
    const auto body = co_await exchange.read_body(kMaxSyncBytes);
    const auto object = nlohmann::json::parse(body ? *body : "{}");
    std::string answer;
    {
      const std::lock_guard lock(mutex_);
      const std::string id = "made-" + agent::sha256_text(*body).substr(0, 8);
      FakeArtifact& artifact = seen_.artifacts[id];
      artifact.kind = object["kind"];
      for (const auto& file : object["files"]) {
        FakeFile& known = artifact.files[file["path"]];
        known.sha256 = file["sha256"];
        known.size = file["bytes"];
      }
      answer = describe(id, artifact).dump();
    }
    co_await exchange.send(json_response(201, answer));
    co_return;
  }
  const std::string rest = path.substr(std::min(path.size(), prefix.size() + 1));
  const std::string id = rest.substr(0, rest.find('/'));
  const std::string tail = rest.find('/') == std::string::npos ? "" : rest.substr(id.size() + 1);
  if (method == Method::kPut) {
    co_await handle_put(exchange, id, tail.substr(std::string("files/").size()));
    co_return;
  }
  Response response;
  {
    const std::lock_guard lock(mutex_);
    const auto found = seen_.artifacts.find(id);
    if (found == seen_.artifacts.end()) {
      response.status = 404;
    } else if (method == Method::kPost) {
      bool whole = true;
      for (const auto& [name, file] : found->second.files) {
        whole = whole && agent::sha256_text(file.bytes) == file.sha256;
      }
      found->second.sealed = whole;
      response = json_response(whole ? 200 : 422, describe(id, found->second).dump());
    } else if (tail.empty()) {
      response = json_response(200, describe(id, found->second).dump());
    } else {
      const FakeFile& file = found->second.files[tail.substr(std::string("files/").size())];
      response.headers.set("Upload-Offset", std::to_string(file.bytes.size()));
      const auto range =
          net::parse_range(exchange.request().headers.get("Range"), file.bytes.size());
      response.status = range.kind == net::RangeAnswer::Kind::kPart ? 206 : 200;
      if (method == Method::kGet) response.body = file.bytes.substr(range.range.offset);
      if (method == Method::kGet && break_gets.fetch_sub(1) > 0) {
        response.body.assign(response.body.size(), '?');
      }
    }
  }
  co_await exchange.send(std::move(response));
}

boost::asio::awaitable<void> FakeControl::handle_put(Exchange& exchange, std::string id,
                                                     std::string path) {
  const auto body = co_await exchange.read_body(64 * 1024 * 1024);
  if (!body) co_return;
  Response response;
  const bool cut = cut_puts.fetch_sub(1) > 0;
  {
    const std::lock_guard lock(mutex_);
    ++seen_.puts;
    FakeFile& file = seen_.artifacts[id].files[path];
    const std::string offset(exchange.request().headers.get("Upload-Offset"));
    if (offset != std::to_string(file.bytes.size())) {
      response.status = 409;
    } else {
      file.bytes += cut ? body->substr(0, body->size() / 2) : *body;
      response.status = cut ? 503 : 200;
    }
    response.headers.set("Upload-Offset", std::to_string(file.bytes.size()));
  }
  co_await exchange.send(std::move(response));
}

}  // namespace ratchet::testing
