#include "proto/net/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <array>

namespace ratchet::net {

namespace {

// The last reason that OpenSSL gives, and forget all others.
std::string take_openssl_reason() {
  std::array<char, 256> text{};
  const unsigned long code = ERR_peek_last_error();
  ERR_error_string_n(code, text.data(), text.size());
  ERR_clear_error();
  return code == 0 ? "no reason given" : text.data();
}

Error file_error(const std::string& what, const std::string& path) {
  return {Code::kInvalidArgument, "The " + what + " \"" + path +
                                      "\" cannot be used: " + take_openssl_reason() +
                                      ". Check that it is a readable PEM file."};
}

void set_common(SSL_CTX* context) {
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  // Buffers are only held while they hold bytes: thousands of idle agents stay cheap.
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(context, 1);
}

}  // namespace

Result<std::shared_ptr<TlsContext>> TlsContext::server(const TlsServerFiles& files) {
  ERR_clear_error();
  SSL_CTX* raw = SSL_CTX_new(TLS_server_method());
  if (!raw) return Error{Code::kInternal, "OpenSSL gives no context: " + take_openssl_reason()};
  const std::shared_ptr<TlsContext> context(new TlsContext(raw));
  set_common(raw);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(raw, 1);
  if (SSL_CTX_use_certificate_chain_file(raw, files.certificate.c_str()) != 1) {
    return file_error("TLS certificate", files.certificate);
  }
  if (SSL_CTX_use_PrivateKey_file(raw, files.key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return file_error("TLS key", files.key);
  }
  if (SSL_CTX_check_private_key(raw) != 1) {
    ERR_clear_error();
    return Error{Code::kInvalidArgument, "The TLS key \"" + files.key +
                                             "\" does not belong to the certificate \"" +
                                             files.certificate + "\". Give the pair that does."};
  }
  return context;
}

Result<std::shared_ptr<TlsContext>> TlsContext::client(const TlsClientOptions& options) {
  ERR_clear_error();
  SSL_CTX* raw = SSL_CTX_new(TLS_client_method());
  if (!raw) return Error{Code::kInternal, "OpenSSL gives no context: " + take_openssl_reason()};
  const std::shared_ptr<TlsContext> context(new TlsContext(raw));
  set_common(raw);
  SSL_CTX_set_verify(raw, SSL_VERIFY_PEER, nullptr);
  if (options.ca_file.empty()) {
    SSL_CTX_set_default_verify_paths(raw);
  } else if (SSL_CTX_load_verify_file(raw, options.ca_file.c_str()) != 1) {
    return file_error("file of certificate authorities", options.ca_file);
  }
  return context;
}

TlsContext::~TlsContext() { SSL_CTX_free(context_); }

}  // namespace ratchet::net
