#include "proto/net/stream.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <climits>

namespace ratchet::net {

namespace {

constexpr std::size_t kPieceBytes = 64 * 1024;

int fd_of(BIO* bio) { return static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio))); }

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

int bio_read(BIO* bio, char* data, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t count = ::recv(fd_of(bio), data, static_cast<std::size_t>(size), 0);
  if (count < 0 && would_block()) BIO_set_retry_read(bio);
  return static_cast<int>(count);
}

// OpenSSL's own socket BIO would raise SIGPIPE.
int bio_write(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t count = ::send(fd_of(bio), data, static_cast<std::size_t>(size), MSG_NOSIGNAL);
  if (count < 0 && would_block()) BIO_set_retry_write(bio);
  return static_cast<int>(count);
}

long bio_control(BIO* /*bio*/, int command, long /*number*/, void* /*pointer*/) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

BIO_METHOD* socket_method() {
  static BIO_METHOD* const kMethod = [] {
    BIO_METHOD* method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "ratchet socket");
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_control);
    return method;
  }();
  return kMethod;
}

}  // namespace

Stream::Stream(asio::ip::tcp::socket socket) : socket_(std::move(socket)) {}

Stream::~Stream() { SSL_free(ssl_); }

void Stream::begin() {
  boost::system::error_code ignored;
  ::fcntl(socket_.native_handle(), F_SETFD, FD_CLOEXEC);  // not for the programs that we start
  socket_.native_non_blocking(true, ignored);
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
}

bool Stream::make_tls(const TlsContext& context) {
  ERR_clear_error();
  ssl_ = SSL_new(context.native());
  BIO* bio = ssl_ ? BIO_new(socket_method()) : nullptr;
  if (!bio) return false;
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<std::intptr_t>(socket_.native_handle())));
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
  return true;
}

asio::awaitable<IoFault> Stream::accept_tls(const TlsContext& context) {
  if (!make_tls(context)) co_return IoFault::kCut;
  SSL_set_accept_state(ssl_);
  co_return co_await handshake();
}

asio::awaitable<IoFault> Stream::connect_tls(const TlsContext& context, const std::string& host) {
  if (!make_tls(context)) co_return IoFault::kCut;
  boost::system::error_code is_name;
  asio::ip::make_address(host, is_name);
  bool bound = true;
  if (is_name) {
    SSL_set_tlsext_host_name(ssl_, host.c_str());
    bound = SSL_set1_host(ssl_, host.c_str()) == 1;
  } else {
    bound = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_), host.c_str()) == 1;
  }
  if (!bound) co_return IoFault::kCut;
  SSL_set_connect_state(ssl_);
  co_return co_await handshake();
}

asio::awaitable<IoFault> Stream::handshake() {
  while (true) {
    if (expired_) co_return IoFault::kExpired;
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl_);
    if (result == 1) co_return IoFault::kNone;
    const Step step = tls_step(result);
    if (step == Step::kEnd || step == Step::kCut) {
      note_tls_fault();
      co_return IoFault::kCut;
    }
    if (const IoFault fault = co_await wait(step); fault != IoFault::kNone) co_return fault;
  }
}

void Stream::note_tls_fault() {
  const long verdict = SSL_get_verify_result(ssl_);
  if (verdict != X509_V_OK) {
    certificate_refused_ = true;
    tls_fault_ = X509_verify_cert_error_string(verdict);
  } else if (const unsigned long code = ERR_peek_last_error(); code != 0) {
    if (const char* reason = ERR_reason_error_string(code)) tls_fault_ = reason;
  }
  ERR_clear_error();
}

Stream::Step Stream::tls_step(int result) {
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ:
      return Step::kWaitRead;
    case SSL_ERROR_WANT_WRITE:
      return Step::kWaitWrite;
    case SSL_ERROR_ZERO_RETURN:
      return Step::kEnd;
    default:
      return Step::kCut;
  }
}

Stream::Step Stream::try_read(char* data, std::size_t size, std::size_t& done) {
  if (ssl_) {
    ERR_clear_error();
    const int result = SSL_read_ex(ssl_, data, size, &done);
    return result == 1 ? Step::kDone : tls_step(result);
  }
  const ssize_t count = ::recv(socket_.native_handle(), data, size, 0);
  if (count > 0) {
    done = static_cast<std::size_t>(count);
    return Step::kDone;
  }
  if (count == 0) return Step::kEnd;
  return would_block() ? Step::kWaitRead : Step::kCut;
}

Stream::Step Stream::try_write(const char* data, std::size_t size, std::size_t& done) {
  if (ssl_) {
    ERR_clear_error();
    const int result = SSL_write_ex(ssl_, data, size, &done);
    return result == 1 ? Step::kDone : tls_step(result);
  }
  const ssize_t count = ::send(socket_.native_handle(), data, size, MSG_NOSIGNAL);
  if (count >= 0) {
    done = static_cast<std::size_t>(count);
    return Step::kDone;
  }
  return would_block() ? Step::kWaitWrite : Step::kCut;
}

asio::awaitable<IoFault> Stream::wait(Step step) {
  const auto what = step == Step::kWaitRead ? asio::ip::tcp::socket::wait_read
                                            : asio::ip::tcp::socket::wait_write;
  const auto [fault] = co_await socket_.async_wait(what, asio::as_tuple(asio::use_awaitable));
  if (expired_) co_return IoFault::kExpired;
  co_return fault ? IoFault::kCut : IoFault::kNone;
}

asio::awaitable<IoFault> Stream::read_append(std::string& out) {
  // Shared by all connections of the thread: it is filled and emptied without a pause in between.
  thread_local std::array<char, kPieceBytes> scratch;
  while (true) {
    if (expired_) co_return IoFault::kExpired;
    if (!socket_.is_open()) co_return IoFault::kCut;
    std::size_t done = 0;
    const Step step = try_read(scratch.data(), scratch.size(), done);
    if (step == Step::kDone) {
      out.append(scratch.data(), done);
      co_return IoFault::kNone;
    }
    if (step == Step::kEnd) co_return IoFault::kEnd;
    if (step == Step::kCut) co_return IoFault::kCut;
    if (const IoFault fault = co_await wait(step); fault != IoFault::kNone) co_return fault;
  }
}

asio::awaitable<IoFault> Stream::write_all(std::string_view data) {
  while (!data.empty()) {
    if (expired_) co_return IoFault::kExpired;
    if (!socket_.is_open()) co_return IoFault::kCut;
    std::size_t done = 0;
    const Step step = try_write(data.data(), data.size(), done);
    if (step == Step::kDone) {
      data.remove_prefix(done);
      continue;
    }
    if (step == Step::kEnd || step == Step::kCut) co_return IoFault::kCut;
    if (const IoFault fault = co_await wait(step); fault != IoFault::kNone) co_return fault;
  }
  co_return IoFault::kNone;
}

bool Stream::is_quiet() {
  if (!socket_.is_open()) return false;
  char byte = 0;
  if (ssl_) {
    ERR_clear_error();
    std::size_t done = 0;
    const int result = SSL_peek_ex(ssl_, &byte, 1, &done);
    return result != 1 && tls_step(result) == Step::kWaitRead;
  }
  return ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && would_block();
}

bool Stream::peer_closed() {
  if (!socket_.is_open()) return true;
  char byte = 0;
  const ssize_t count = ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (count < 0) return !would_block();
  if (count == 0) return true;
  if (!ssl_) return false;
  // Bytes: data, or TLS's goodbye.
  ERR_clear_error();
  std::size_t done = 0;
  const int result = SSL_peek_ex(ssl_, &byte, 1, &done);
  if (result == 1) return false;
  const Step step = tls_step(result);
  return step == Step::kEnd || step == Step::kCut;
}

void Stream::expire() {
  expired_ = true;
  boost::system::error_code ignored;
  socket_.cancel(ignored);
}

void Stream::shutdown_send() {
  if (!socket_.is_open()) return;
  if (ssl_) {
    ERR_clear_error();
    SSL_shutdown(ssl_);  // one goodbye, not waited for
    ERR_clear_error();
  }
  boost::system::error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
}

void Stream::close() {
  if (!socket_.is_open()) return;
  boost::system::error_code ignored;
  socket_.close(ignored);
}

}  // namespace ratchet::net
