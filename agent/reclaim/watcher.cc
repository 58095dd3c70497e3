#include "agent/reclaim/watcher.h"

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <set>
#include <utility>

#include "agent/reclaim/notices.h"

namespace ratchet::agent {
namespace {

using net::ClientRequest;
using net::Method;
using SteadyClock = std::chrono::steady_clock;

constexpr std::size_t kMaxTold = 10000;
constexpr std::chrono::seconds kTokenTtl{21600};
constexpr std::chrono::seconds kTokenSpare{300};
constexpr const char* kAwsAction = "/latest/meta-data/spot/instance-action";
constexpr const char* kAwsRebalance = "/latest/meta-data/events/recommendations/rebalance";
constexpr const char* kAwsMaintenance = "/latest/meta-data/events/maintenance/scheduled";
constexpr const char* kGcpPreempted = "/computeMetadata/v1/instance/preempted";
constexpr const char* kAzureEvents = "/metadata/scheduledevents?api-version=2020-07-01";
constexpr const char* kAzureName =
    "/metadata/instance/compute/name?api-version=2021-02-01&format=text";

UnixMillis wall_now() {
  return std::chrono::duration_cast<UnixMillis>(
      std::chrono::system_clock::now().time_since_epoch());
}

Error refused(int status) {
  return Error{Code::kUnavailable, "The metadata service answered " + std::to_string(status) + "."};
}

Result<std::unique_ptr<net::HttpClient>> metadata_client(const asio::any_io_executor& executor,
                                                         const std::string& url,
                                                         const WatcherSettings& settings) {
  const auto base = net::parse_url(url);
  if (!base) return base.error();
  net::ClientOptions options;
  // Metadata services speak plain HTTP on a link-local address; no secret of ours goes there.
  options.allow_plaintext = true;
  options.connect_timeout = settings.answer_limit;
  options.total_timeout = settings.answer_limit;
  options.max_response_bytes = kMaxMetadataBytes;
  options.user_agent = "ratchet-agent";
  return net::HttpClient::create(executor, *base, options);
}

}  // namespace

std::span<const Word<Cloud>> word_table(Cloud) {
  static constexpr std::array<Word<Cloud>, 3> kTable{{
      {Cloud::kAws, "aws"},
      {Cloud::kGcp, "gcp"},
      {Cloud::kAzure, "azure"},
  }};
  return kTable;
}

struct ReclaimWatcher::Impl {
  Impl(asio::any_io_executor loop, Cloud kind, WatcherSettings chosen, WatcherHooks callbacks)
      : executor(loop),
        cloud(kind),
        settings(std::move(chosen)),
        hooks(std::move(callbacks)),
        timer(loop) {}

  asio::any_io_executor executor;
  Cloud cloud;
  WatcherSettings settings;
  WatcherHooks hooks;
  std::unique_ptr<net::HttpClient> http;
  net::CancelSource cancel;
  asio::steady_timer timer;
  bool stopped = false;

  std::set<std::string> told;
  std::string last_trouble;
  int failures = 0;

  std::string token;  // of AWS
  SteadyClock::time_point token_until;
  SteadyClock::time_point slow_at;
  std::string etag;     // of GCP
  std::string machine;  // name of this machine at Azure
  std::int64_t incarnation = -1;
  bool answered = false;
  std::set<std::string> to_acknowledge;

  asio::awaitable<void> pause(Millis time) {
    if (stopped) co_return;
    timer.expires_after(time);
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }

  asio::awaitable<Result<net::ClientResponse>> get(std::string target, std::string header,
                                                   std::string value, Millis limit) {
    ClientRequest request;
    request.target = std::move(target);
    request.headers.set(header, value);
    request.total_timeout = limit;
    request.cancel = &cancel;
    co_return co_await http->send(std::move(request));
  }

  void tell(ReclaimNotice notice) {
    if (stopped || told.size() >= kMaxTold || !told.insert(notice.event_id).second) return;
    hooks.on_notice(std::move(notice));
  }

  void trouble(const Error& error) {
    ++failures;
    if (!stopped && std::exchange(last_trouble, error.message) != error.message) {
      hooks.log("Watching for reclaim notices: " + error.message);
    }
  }

  asio::awaitable<Status> renew_token() {
    ClientRequest put;
    put.method = Method::kPut;
    put.target = "/latest/api/token";
    put.headers.set("X-aws-ec2-metadata-token-ttl-seconds", std::to_string(kTokenTtl.count()));
    put.total_timeout = settings.answer_limit;
    put.cancel = &cancel;
    const auto answer = co_await http->send(std::move(put));
    if (!answer) co_return answer.error();
    const bool usable = answer->status == 200 && !answer->body.empty() &&
                        answer->body.size() <= 4096 &&
                        answer->body.find_first_of("\r\n") == std::string::npos;
    if (!usable) co_return refused(answer->status);
    token = answer->body;
    token_until = SteadyClock::now() + kTokenTtl - kTokenSpare;
    co_return ok();
  }

  // A value of AWS' metadata; empty: there is none (404). A 401 costs the token and one more try.
  asio::awaitable<Result<std::string>> aws_value(const char* target) {
    for (int tries = 0; tries < 2; ++tries) {
      if (token.empty() || SteadyClock::now() >= token_until) {
        const Status renewed = co_await renew_token();
        if (!renewed) co_return renewed.error();
      }
      auto answer = co_await get(target, "X-aws-ec2-metadata-token", token, settings.answer_limit);
      if (!answer) co_return answer.error();
      if (answer->status == 404) co_return std::string();
      if (answer->status == 200) co_return std::move(answer->body);
      if (answer->status != 401) co_return refused(answer->status);
      token.clear();
    }
    co_return refused(401);
  }

  asio::awaitable<Status> ask_aws() {
    const auto action = co_await aws_value(kAwsAction);
    if (!action) co_return action.error();
    if (!action->empty()) {
      auto notice = parse_aws_action(*action, wall_now());
      if (!notice) co_return notice.error();
      tell(*std::move(notice));
    }
    if (SteadyClock::now() < slow_at) co_return ok();
    slow_at = SteadyClock::now() + settings.slow_poll;
    const auto rebalance = co_await aws_value(kAwsRebalance);
    if (!rebalance) co_return rebalance.error();
    if (!rebalance->empty()) {
      auto notice = parse_aws_rebalance(*rebalance);
      if (!notice) co_return notice.error();
      tell(*std::move(notice));
    }
    const auto maintenance = co_await aws_value(kAwsMaintenance);
    if (!maintenance) co_return maintenance.error();
    if (maintenance->empty()) co_return ok();
    auto notices = parse_aws_maintenance(*maintenance, wall_now());
    if (!notices) co_return notices.error();
    for (ReclaimNotice& notice : *notices) tell(std::move(notice));
    co_return ok();
  }

  asio::awaitable<Status> ask_gcp() {
    std::string target = kGcpPreempted;
    Millis limit = settings.answer_limit;
    if (!etag.empty()) {
      const auto wait = std::chrono::duration_cast<std::chrono::seconds>(settings.hang_limit);
      target += "?wait_for_change=true&timeout_sec=" + std::to_string(wait.count()) +
                "&last_etag=" + net::url_escape(etag);
      limit = settings.hang_limit + settings.answer_limit;
    }
    const auto answer = co_await get(target, "Metadata-Flavor", "Google", limit);
    if (!answer) co_return answer.error();
    if (answer->status != 200) co_return refused(answer->status);
    auto notice = parse_gcp_preempted(answer->body);
    if (!notice) co_return notice.error();
    etag = std::string(answer->headers.get("ETag"));
    if (*notice) tell(**std::move(notice));
    co_return ok();
  }

  asio::awaitable<Status> ask_azure() {
    if (machine.empty()) {
      const auto name = co_await get(kAzureName, "Metadata", "true", settings.answer_limit);
      if (!name) co_return name.error();
      if (name->status != 200 || name->body.empty()) co_return refused(name->status);
      machine = name->body;
    }
    const Millis limit = answered ? settings.answer_limit : settings.first_limit;
    const auto answer = co_await get(kAzureEvents, "Metadata", "true", limit);
    if (!answer) co_return answer.error();
    if (answer->status != 200) co_return refused(answer->status);
    answered = true;
    auto events = parse_azure_events(answer->body, machine, wall_now());
    if (!events) co_return events.error();
    if (std::exchange(incarnation, events->incarnation) != events->incarnation) {
      for (ReclaimNotice& notice : events->notices) {
        const bool ends = notice.kind == NoticeKind::kReclaim;
        if (ends && told.count(notice.event_id) == 0) to_acknowledge.insert(notice.event_id);
        tell(std::move(notice));
      }
    }
    co_return co_await acknowledge_azure();
  }

  asio::awaitable<Status> acknowledge_azure() {
    if (to_acknowledge.empty() || !hooks.is_saved()) co_return ok();
    ClientRequest post;
    post.method = Method::kPost;
    post.target = kAzureEvents;
    post.headers.set("Metadata", "true");
    post.headers.set("Content-Type", "application/json");
    post.body = azure_start_request(*to_acknowledge.begin());
    post.total_timeout = settings.answer_limit;
    post.cancel = &cancel;
    const auto answer = co_await http->send(std::move(post));
    if (!answer) co_return answer.error();
    // Asked once: the event is gone, or comes at its own time.
    to_acknowledge.erase(to_acknowledge.begin());
    co_return answer->status == 200 ? ok() : Status(refused(answer->status));
  }

  asio::awaitable<Status> ask() {
    switch (cloud) {
      case Cloud::kAws:
        return ask_aws();
      case Cloud::kGcp:
        return ask_gcp();
      case Cloud::kAzure:
        return ask_azure();
    }
    return ask_aws();
  }

  static asio::awaitable<void> loop(std::shared_ptr<Impl> self) {
    while (!self->stopped) {
      const Status asked = co_await self->ask();
      if (asked) {
        self->failures = 0;
        self->last_trouble.clear();
        // The hanging GET is its own wait; without an ETag it would not hang.
        const bool hung = self->cloud == Cloud::kGcp && !self->etag.empty();
        if (!hung) co_await self->pause(self->settings.poll);
        continue;
      }
      self->trouble(asked.error());
      const Millis wait = self->settings.poll * (1 << std::min(self->failures - 1, 10));
      co_await self->pause(std::min(wait, self->settings.longest_wait));
    }
  }
};

Result<std::unique_ptr<ReclaimWatcher>> ReclaimWatcher::create(asio::any_io_executor executor,
                                                               Cloud cloud,
                                                               WatcherSettings settings,
                                                               WatcherHooks hooks) {
  const std::string url = cloud == Cloud::kAws   ? settings.aws_url
                          : cloud == Cloud::kGcp ? settings.gcp_url
                                                 : settings.azure_url;
  auto impl = std::make_shared<Impl>(executor, cloud, std::move(settings), std::move(hooks));
  auto http = metadata_client(executor, url, impl->settings);
  if (!http) return http.error();
  impl->http = *std::move(http);
  return std::unique_ptr<ReclaimWatcher>(new ReclaimWatcher(std::move(impl)));
}

ReclaimWatcher::ReclaimWatcher(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
ReclaimWatcher::~ReclaimWatcher() { stop(); }

void ReclaimWatcher::start() { asio::co_spawn(impl_->executor, Impl::loop(impl_), asio::detached); }

void ReclaimWatcher::stop() {
  if (std::exchange(impl_->stopped, true)) return;
  impl_->cancel.cancel();
  impl_->timer.cancel();
}

asio::awaitable<std::optional<Cloud>> detect_cloud(WatcherSettings settings) {
  const auto executor = co_await asio::this_coro::executor;
  // Each by what only it understands.
  auto gcp = metadata_client(executor, settings.gcp_url, settings);
  if (gcp) {
    ClientRequest get;
    get.target = "/computeMetadata/v1/";
    get.headers.set("Metadata-Flavor", "Google");
    const auto answer = co_await (*gcp)->send(std::move(get));
    if (answer && answer->headers.get("Metadata-Flavor") == "Google") co_return Cloud::kGcp;
  }
  auto azure = metadata_client(executor, settings.azure_url, settings);
  if (azure) {
    ClientRequest get;
    get.target = kAzureName;
    get.headers.set("Metadata", "true");
    const auto answer = co_await (*azure)->send(std::move(get));
    if (answer && answer->status == 200) co_return Cloud::kAzure;
  }
  auto aws = metadata_client(executor, settings.aws_url, settings);
  if (aws) {
    ClientRequest put;
    put.method = Method::kPut;
    put.target = "/latest/api/token";
    put.headers.set("X-aws-ec2-metadata-token-ttl-seconds", "60");
    const auto answer = co_await (*aws)->send(std::move(put));
    if (answer && answer->status == 200 && !answer->body.empty()) co_return Cloud::kAws;
  }
  co_return std::nullopt;
}

}  // namespace ratchet::agent
