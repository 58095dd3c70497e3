// ratchet-control: the control plane's server.

#include <CLI/CLI.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <functional>
#include <sstream>

#include "controlplane/api/server.h"
#include "controlplane/service/log.h"
#include "proto/version.h"

namespace {

namespace asio = boost::asio;
using ratchet::control::SettingTexts;

constexpr std::streamsize kMaxSettingsFile = 1 << 20;
constexpr int kExitUsage = 2;

int refuse(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  return 1;
}

ratchet::Result<SettingTexts> read_file(const std::string& name) {
  std::ifstream in(name, std::ios::binary);
  std::string text(kMaxSettingsFile, '\0');
  in.read(text.data(), kMaxSettingsFile);
  if (in.bad() || (in.gcount() == 0 && !in.eof())) {
    return ratchet::Error{ratchet::Code::kIo, "Cannot read the settings file " + name + "."};
  }
  text.resize(static_cast<std::size_t>(in.gcount()));
  return ratchet::control::parse_settings_file(name, text);
}

int serve(const std::vector<SettingTexts>& layers) {
  asio::io_context io{1};
  auto server = ratchet::control::ControlServer::start(io, layers);
  if (!server) return refuse(server.error().message);
  std::printf("ratchet-control serves %s\nadmin token: %s\n", (*server)->url().c_str(),
              (*server)->admin_token_file().c_str());
  std::fflush(stdout);
  asio::signal_set signals(io, SIGTERM, SIGINT);
  signals.async_wait([&](const boost::system::error_code& error, int /*number*/) {
    if (error) return;
    asio::co_spawn(io, (*server)->stop(), [&io](const std::exception_ptr&) { io.stop(); });
  });
  // Without TLS a hangup ends the program, as people at a terminal expect.
  asio::signal_set hangup(io);
  std::function<void()> listen_for_hangup = [&] {
    hangup.async_wait([&](const boost::system::error_code& error, int /*number*/) {
      if (error) return;
      (*server)->reload_tls();
      listen_for_hangup();
    });
  };
  if ((*server)->has_tls()) {
    hangup.add(SIGHUP);
    listen_for_hangup();
  }
  const auto guard = asio::make_work_guard(io);
  io.run();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "The control plane: takes jobs, gives them to nodes, and brings them back after every "
      "death.",
      "ratchet-control"};
  app.set_version_flag("--version", std::string("ratchet-control ") + ratchet::kVersion);
  std::string file;
  bool print_template = false;
  SettingTexts flags;
  app.add_option("--settings", file, "File of settings, lines of key = value");
  app.add_flag("--print-settings", print_template, "Print every setting with its default, and end");
  for (const auto& setting : ratchet::control::setting_table()) {
    const std::string key(setting.key);
    app.add_option_function<std::string>(
        ratchet::control::setting_flag(key),
        [&flags, key](const std::string& value) { flags[key] = value; },
        std::string(setting.meaning) +
            (setting.fallback.empty() ? "" : " [" + std::string(setting.fallback) + "]"));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  if (print_template) {
    std::fputs(ratchet::control::settings_template().c_str(), stdout);
    return 0;
  }
  std::signal(SIGPIPE, SIG_IGN);
  std::vector<SettingTexts> layers;
  if (!file.empty()) {
    auto texts = read_file(file);
    if (!texts) return refuse(texts.error().message);
    layers.push_back(*std::move(texts));
  }
  layers.push_back(ratchet::control::settings_from_environment(std::getenv));
  layers.push_back(flags);
  return serve(layers);
}
