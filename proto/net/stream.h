#pragma once

// A connected socket, in plaintext or TLS, for HTTP client and server only.
//
// OpenSSL works on the socket itself: a connection that waits holds no buffer (a pair of memory
// BIOs would hold 34 KiB). Reads and writes are tried first and waited for second. One thread.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <string>
#include <string_view>

#include "proto/net/tls.h"
#include "proto/result.h"

struct ssl_st;

namespace ratchet::net {

namespace asio = boost::asio;

enum class IoFault {
  kNone,
  kEnd,      // the peer closed in order
  kCut,      // reset, TLS fault, or closed without TLS's goodbye
  kExpired,  // expire() was called
};

class Stream {
 public:
  explicit Stream(asio::ip::tcp::socket socket);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  asio::ip::tcp::socket& socket() { return socket_; }
  // After the socket is connected: sets it up for reads and writes.
  void begin();

  asio::awaitable<IoFault> accept_tls(const TlsContext& context);
  asio::awaitable<IoFault> connect_tls(const TlsContext& context, const std::string& host);
  // Why the last TLS step failed, for people; empty when nothing is known.
  [[nodiscard]] const std::string& tls_fault() const { return tls_fault_; }
  [[nodiscard]] bool certificate_refused() const { return certificate_refused_; }

  // Appends what has arrived, at least one byte unless it fails.
  asio::awaitable<IoFault> read_append(std::string& out);
  asio::awaitable<IoFault> write_all(std::string_view data);

  // Nothing to read and not closed: fit to be used again.
  [[nodiscard]] bool is_quiet();
  [[nodiscard]] bool peer_closed();

  // Lets the operation that waits, and all later ones, end with kExpired until renew().
  void expire();
  void renew() { expired_ = false; }
  [[nodiscard]] bool is_expired() const { return expired_; }
  void shutdown_send();
  void close();

 private:
  enum class Step { kDone, kWaitRead, kWaitWrite, kEnd, kCut };
  Step try_read(char* data, std::size_t size, std::size_t& done);
  Step try_write(const char* data, std::size_t size, std::size_t& done);
  Step tls_step(int result);
  void note_tls_fault();
  bool make_tls(const TlsContext& context);
  asio::awaitable<IoFault> handshake();
  asio::awaitable<IoFault> wait(Step step);

  asio::ip::tcp::socket socket_;
  ssl_st* ssl_ = nullptr;
  bool expired_ = false;
  bool certificate_refused_ = false;
  std::string tls_fault_;
};

}  // namespace ratchet::net
