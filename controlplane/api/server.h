#pragma once

// The control plane put together: store, artifacts, core's rim, provisioners, webhooks, HTTP.
//
//   state folder: ratchet.db, control.lock, store.key   (controlplane/store)
//                 artifacts/, logs/, local/<node>/
//                 admin.token    made at the first start, mode 0600
//                 control.json   {"address": "http://..", "pid": N} while it serves

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>
#include <vector>

#include "controlplane/service/settings.h"
#include "proto/result.h"

namespace ratchet::control {

class ControlServer {
 public:
  // Serves when it returns; the loop must then run. Errors are sentences for the operator.
  static Result<std::unique_ptr<ControlServer>> start(boost::asio::io_context& io,
                                                      const std::vector<SettingTexts>& layers);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  [[nodiscard]] std::string url() const;
  [[nodiscard]] bool has_tls() const;
  [[nodiscard]] std::string admin_token_file() const;
  // SIGHUP: reads the TLS certificate and key again; what came of it is logged.
  void reload_tls();
  // Answers what is under way, at most for a few seconds.
  boost::asio::awaitable<void> stop();

 private:
  struct Impl;
  explicit ControlServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ratchet::control
