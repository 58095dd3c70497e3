#include "controlplane/api/server.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <charconv>
#include <filesystem>

#include "controlplane/api/api.h"
#include "controlplane/api/auth.h"
#include "controlplane/api/metrics.h"
#include "controlplane/api/openapi.h"
#include "controlplane/provision/local_provisioner.h"
#include "controlplane/provision/static_provisioner.h"
#include "controlplane/service/log.h"
#include "controlplane/service/secrets.h"
#include "controlplane/service/sweeper.h"
#include "controlplane/service/webhook_source.h"
#include "controlplane/store/sqlite_store.h"

namespace ratchet::control {

namespace fs = std::filesystem;

namespace {

constexpr int kWorkers = 4;
constexpr std::chrono::milliseconds kStopGrace{5000};

struct Address {
  std::string host;
  std::uint16_t port = 0;
};

Result<Address> parse_listen(const std::string& text) {
  const auto colon = text.rfind(':');
  Address out;
  int port = -1;
  if (colon != std::string::npos) {
    out.host = text.substr(0, colon);
    const auto* first = text.data() + colon + 1;
    const auto [end, error] = std::from_chars(first, text.data() + text.size(), port);
    if (error != std::errc() || end != text.data() + text.size()) port = -1;
  }
  if (out.host.size() > 2 && out.host.front() == '[' && out.host.back() == ']') {
    out.host = out.host.substr(1, out.host.size() - 2);
  }
  if (out.host.empty() || port < 0 || port > 65535) {
    return Error{Code::kInvalidArgument, "The setting listen = " + text +
                                             " must be an address and a port, such as "
                                             "127.0.0.1:7070 or [::1]:7070."};
  }
  out.port = static_cast<std::uint16_t>(port);
  return out;
}

// Thousands of agents hold a connection each.
void raise_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

Status write_private(const fs::path& path, const std::string& text) {
  const auto temporary = path.string() + ".new";
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  bool done = fd >= 0 &&
              ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
              ::fsync(fd) == 0;
  if (fd >= 0) ::close(fd);
  done = done && ::rename(temporary.c_str(), path.c_str()) == 0;
  if (!done) return Error{Code::kIo, "Cannot write " + path.string() + "."};
  return ok();
}

Result<bool> has_admin(const Store& store) {
  std::string cursor;
  do {
    const auto page =
        store.accounts().tokens(std::string(kDefaultTenant), {.limit = kMaxPage, .cursor = cursor});
    if (!page) return page.error();
    for (const auto& row : page->items) {
      if (!row.revoked_at && access_of(row) == Access::kAdmin) return true;
    }
    cursor = page->next_cursor;
  } while (!cursor.empty());
  return false;
}

// The file comes first: a crash in between makes a new token at the next start, not none for ever.
Status make_first_token(Store& store, const fs::path& file) {
  const auto there = has_admin(store);
  if (!there) return there.error();
  if (*there) return ok();
  const auto token = new_token("admin");
  if (auto written = write_private(file, token + "\n"); !written) return written;
  TokenRow row;
  row.id = new_id("tok");
  row.tenant = kDefaultTenant;
  row.name = "first admin";
  row.sha256 = sha256_hex(token);
  row.scopes = {"admin"};
  row.created_at = Service::now().wall;
  Batch batch;
  batch.writes.emplace_back(row);
  const auto done = commit_and_wait(store, std::move(batch));
  if (!done) return done.error();
  return ok();
}

std::string program_beside(const char* name) {
  std::error_code error;
  const auto own = fs::read_symlink("/proc/self/exe", error);
  return error ? std::string(name) : (own.parent_path() / name).string();
}

// Agents on this machine cannot connect to "any address".
std::string reachable(std::string url) {
  for (const std::string_view any : {"//0.0.0.0:", "//[::]:"}) {
    if (const auto at = url.find(any); at != std::string::npos) {
      url.replace(at, any.size(), any == "//0.0.0.0:" ? "//127.0.0.1:" : "//[::1]:");
    }
  }
  return url;
}

}  // namespace

// Members go in reverse: what is borrowed stands before who borrows it.
struct ControlServer::Impl {
  explicit Impl(asio::io_context& loop) : io(loop), stop_signal(loop.get_executor()) {}
  ~Impl() {
    http.reset();
    pool.join();
  }

  Status open(const std::vector<SettingTexts>& layers);
  Status open_stores();
  Status open_service(const Address& address);
  Status listen(const Address& address);
  void start_background();
  std::map<std::string, std::unique_ptr<Provisioner>> make_provisioners();
  std::vector<ControlCore::Provider> providers() const;

  asio::io_context& io;
  Settings settings;
  std::vector<std::pair<std::string, std::string>> effective;
  fs::path state;
  std::string control_url;
  std::unique_ptr<Store> store;
  std::unique_ptr<ArtifactStore> artifacts;
  std::unique_ptr<LogFiles> logs;
  asio::thread_pool pool{kWorkers};
  Signal stop_signal;
  std::unique_ptr<Service> service;
  std::unique_ptr<TokenCache> tokens;
  std::unique_ptr<WebhookSource> webhook_source;
  std::unique_ptr<WebhookDispatcher> dispatcher;
  Metrics metrics;
  std::unique_ptr<Context> context;
  std::unique_ptr<Api> api;
  std::unique_ptr<net::HttpServer> http;
  LocalProvisioner* local = nullptr;
};

std::map<std::string, std::unique_ptr<Provisioner>> ControlServer::Impl::make_provisioners() {
  std::map<std::string, std::unique_ptr<Provisioner>> out;
  out["static"] = std::make_unique<StaticProvisioner>(
      [this](std::function<void()> work) { asio::post(io, std::move(work)); });
  if (settings.local_nodes > 0) {
    auto made = std::make_unique<LocalProvisioner>(
        io.get_executor(),
        LocalOptions{.folder = state / "local",
                     .agent = settings.local_agent.empty() ? program_beside("ratchet-agent")
                                                           : settings.local_agent,
                     .trainer = settings.local_trainer,
                     .control_url = control_url,
                     .ca_file = settings.tls_cert,
                     .allow_plaintext = settings.allow_plaintext && settings.tls_cert.empty(),
                     .nodes_max = settings.local_nodes,
                     .stop_with_us = settings.local_stop == "stop"});
    local = made.get();
    out["local"] = std::move(made);
  }
  return out;
}

std::vector<ControlCore::Provider> ControlServer::Impl::providers() const {
  if (settings.local_nodes == 0) return {};
  ControlCore::Provider local_provider;
  local_provider.name = "local";
  local_provider.max_nodes = settings.local_nodes;
  local_provider.keep = std::min(settings.local_keep, settings.local_nodes);
  local_provider.proves_death = true;
  return {local_provider};
}

Status ControlServer::Impl::open_stores() {
  SqliteOptions store_options;
  store_options.folder = state;
  auto opened = open_sqlite_store(std::move(store_options));
  if (!opened) return opened.error();
  store = *std::move(opened);
  ArtifactOptions options;
  options.folder = state / "artifacts";
  options.reserve = Bytes(settings.disk_reserve_bytes);
  options.tombstone_delay = UnixMillis(settings.artifact_kept_hours * 3600 * 1000);
  auto made = ArtifactStore::open(std::move(options), *store);
  if (!made) return made.error();
  artifacts = *std::move(made);
  logs = std::make_unique<LogFiles>(state / "logs", settings.log_max_bytes);
  return make_first_token(*store, state / "admin.token");
}

Status ControlServer::Impl::listen(const Address& address) {
  net::ServerOptions options;
  options.address = address.host;
  options.port = address.port;
  options.allow_plaintext = settings.allow_plaintext;
  options.file_executor = pool.get_executor();
  if (!settings.tls_cert.empty()) options.tls.emplace(settings.tls_cert, settings.tls_key);
  auto handler = [this](net::Exchange& exchange) { return api->handle(exchange); };
  auto server = net::HttpServer::listen(io.get_executor(), std::move(options), handler);
  if (!server) return server.error();
  http = *std::move(server);
  control_url = settings.public_url.empty() ? reachable(http->url()) : settings.public_url;
  return ok();
}

Status ControlServer::Impl::open_service(const Address& address) {
  auto opened = Service::open({.io = io,
                               .pool = pool,
                               .store = *store,
                               .artifacts = *artifacts,
                               .provisioners = make_provisioners(),
                               .providers = providers(),
                               .core = settings.core});
  if (!opened) return opened.error();
  service = *std::move(opened);
  tokens = std::make_unique<TokenCache>(
      *store, pool,
      Limits{.per_second = static_cast<double>(settings.rate_limit_per_s),
             .burst = static_cast<double>(settings.rate_limit_burst),
             .agent_per_second = static_cast<double>(settings.agent_rate_limit_per_s)});
  AddressPolicy addresses;
  for (const auto& text : settings.webhook_allow) {
    const auto network = parse_network(text);
    if (!network) return network.error();
    addresses.allowed.push_back(*network);
  }
  const bool loopback = net::is_loopback_host(address.host);
  context.reset(new Context{
      .service = *service,
      .store = *store,
      .artifacts = *artifacts,
      .logs = *logs,
      .tokens = *tokens,
      .metrics = metrics,
      .pool = pool,
      .settings = settings,
      .effective_settings = effective,
      .webhook_addresses = addresses,
      .node_paths = settings.node_paths == "yes" || (settings.node_paths == "auto" && loopback),
      .started_at = Service::now().wall,
      .openapi = openapi_document(route_table())});
  webhook_source = std::make_unique<WebhookSource>(*service, *store, pool);
  DispatcherOptions options;
  options.addresses = addresses;
  options.tried = [this](const DeliveryRow& row) { metrics.delivery(row); };
  dispatcher =
      std::make_unique<WebhookDispatcher>(io.get_executor(), *webhook_source, std::move(options));
  return ok();
}

asio::awaitable<void> forward_deliveries(Service& service, WebhookDispatcher& dispatcher,
                                         Signal& stop) {
  const auto seen = stop.version();
  while (stop.version() == seen) {
    const auto version = service.delivery_signal().version();
    co_await service.delivery_signal().wait(version,
                                            Signal::Clock::now() + std::chrono::seconds(60));
    dispatcher.notify();
  }
}

void ControlServer::Impl::start_background() {
  service->start();
  asio::co_spawn(io, dispatcher->run(), asio::detached);
  asio::co_spawn(io, forward_deliveries(*service, *dispatcher, stop_signal), asio::detached);
  asio::co_spawn(io, sweep({*store, *artifacts, *logs, pool, settings, stop_signal}),
                 asio::detached);
}

Status ControlServer::Impl::open(const std::vector<SettingTexts>& layers) {
  auto made = make_settings(layers);
  if (!made) return made.error();
  settings = *std::move(made);
  effective = effective_settings(layers);
  set_log_level(settings.log_level);
  if (settings.state.empty()) {
    return Error{Code::kInvalidArgument, "Name the folder of the state: --state DIR."};
  }
  const auto address = parse_listen(settings.listen);
  if (!address) return address.error();
  std::error_code error;
  state = fs::absolute(settings.state, error).lexically_normal();
  raise_file_limit();
  if (auto opened = open_stores(); !opened) return opened;
  // The port is known before the provisioners, which hand it to their agents; requests wait in the
  // socket until the loop runs.
  if (auto listening = listen(*address); !listening) return listening;
  if (auto opened = open_service(*address); !opened) return opened;
  api = std::make_unique<Api>(*context);
  start_background();
  const auto record =
      "{\"address\":\"" + control_url + "\",\"pid\":" + std::to_string(::getpid()) + "}\n";
  return write_private(state / "control.json", record);
}

ControlServer::ControlServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ControlServer::~ControlServer() = default;

Result<std::unique_ptr<ControlServer>> ControlServer::start(
    asio::io_context& io, const std::vector<SettingTexts>& layers) {
  auto impl = std::make_unique<Impl>(io);
  if (auto opened = impl->open(layers); !opened) return opened.error();
  return std::unique_ptr<ControlServer>(new ControlServer(std::move(impl)));
}

std::string ControlServer::url() const { return impl_->control_url; }

bool ControlServer::has_tls() const { return !impl_->settings.tls_cert.empty(); }

void ControlServer::reload_tls() {
  if (const auto read = impl_->http->reload_tls(); !read) {
    log_line(LogLevel::kError, "tls_reload_failed", {{"message", read.error().message}});
  } else {
    log_line(LogLevel::kInfo, "tls_reloaded", {{"certificate", impl_->settings.tls_cert}});
  }
}

std::string ControlServer::admin_token_file() const {
  return (impl_->state / "admin.token").string();
}

asio::awaitable<void> ControlServer::stop() {
  auto& own = *impl_;
  std::error_code ignored;
  fs::remove(own.state / "control.json", ignored);
  // Long polls and streams look at the server's state when they are woken.
  asio::post(own.io, [&own] {
    own.stop_signal.notify();
    own.service->stop();
  });
  co_await own.http->stop(kStopGrace);
  co_await own.dispatcher->stop(kStopGrace);
}

}  // namespace ratchet::control
