#pragma once

// TLS settings (OpenSSL, TLS 1.2 and 1.3). A context is made once and shared by its connections.

#include <memory>
#include <string>

#include "proto/result.h"

struct ssl_ctx_st;

namespace ratchet::net {

struct TlsServerFiles {
  std::string certificate;  // PEM, the chain
  std::string key;          // PEM
};

struct TlsClientOptions {
  std::string ca_file;  // PEM; empty: the system's certificate authorities
};

// Owns an SSL_CTX. Immutable, so connections of one thread may share it.
class TlsContext {
 public:
  // Fail when a file cannot be read, or certificate and key do not belong together.
  static Result<std::shared_ptr<TlsContext>> server(const TlsServerFiles& files);
  // Peers are verified: chain, dates and host name. There is no way to switch that off.
  static Result<std::shared_ptr<TlsContext>> client(const TlsClientOptions& options);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;
  [[nodiscard]] ssl_ctx_st* native() const { return context_; }

 private:
  explicit TlsContext(ssl_ctx_st* context) : context_(context) {}
  ssl_ctx_st* context_;
};

}  // namespace ratchet::net
