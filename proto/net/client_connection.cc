#include "proto/net/client_connection.h"

#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace ratchet::net {

namespace http = boost::beast::http;
using asio::ip::tcp;
using std::chrono::steady_clock;

namespace {

constexpr std::size_t kBodyPieceBytes = 64 * 1024;
constexpr std::size_t kRequestTogether = 16 * 1024;

Error corrupt(const std::string& why) {
  return {Code::kCorrupt, "The peer's answer is no HTTP: " + why + "."};
}

std::string fault_text(IoFault fault) {
  switch (fault) {
    case IoFault::kExpired:
      return "it took too long";
    case IoFault::kEnd:
    case IoFault::kCut:
      return "the connection was cut";
    case IoFault::kNone:
      break;
  }
  return "it failed";
}

}  // namespace

Error unavailable(const Url& base, const std::string& why) {
  return {Code::kUnavailable, "No answer from " +
                                  (base.https ? std::string("https://") : "http://") +
                                  base.authority() + ": " + why + "."};
}

ClientConnection::ClientConnection(asio::any_io_executor executor, std::size_t max_header_bytes)
    : executor_(std::move(executor)),
      stream_(std::make_unique<Stream>(tcp::socket(executor_))),
      max_header_bytes_(max_header_bytes) {}

asio::awaitable<Status> ClientConnection::connect(Url base, std::string pinned_address,
                                                  Millis timeout, std::shared_ptr<TlsContext> tls) {
  const auto addresses =
      co_await resolve_host(pinned_address.empty() ? base.host : pinned_address, timeout);
  if (!addresses) co_return addresses.error();
  Status connected = unavailable(base, "it has no address");
  for (const std::string& address : *addresses) {
    connected = co_await connect_to(address, base);
    if (connected) break;
  }
  if (!connected || !tls) co_return connected;
  const IoFault fault = co_await stream_->connect_tls(*tls, base.host);
  if (fault == IoFault::kNone) co_return ok();
  if (stream_->certificate_refused()) {
    co_return Error{Code::kFailedPrecondition,
                    "The certificate of " + base.authority() + " is not trusted (" +
                        stream_->tls_fault() +
                        "). Give the file of the authority that signed it, or check the name."};
  }
  std::string why = "the TLS handshake failed";
  if (fault == IoFault::kExpired) why = "the TLS handshake took too long";
  if (!stream_->tls_fault().empty()) why += " (" + stream_->tls_fault() + ")";
  co_return unavailable(base, why);
}

asio::awaitable<Status> ClientConnection::connect_to(std::string address, const Url& base) {
  boost::system::error_code fault;
  const tcp::endpoint endpoint(asio::ip::make_address(address, fault), base.port);
  if (fault) co_return unavailable(base, "\"" + address + "\" is no address");
  if (stream_->is_expired()) co_return unavailable(base, "the connection took too long");
  stream_->close();
  auto [failed] =
      co_await stream_->socket().async_connect(endpoint, asio::as_tuple(asio::use_awaitable));
  if (failed) {
    const bool expired = failed == asio::error::operation_aborted;
    co_return unavailable(base, expired ? "the connection took too long" : failed.message());
  }
  stream_->begin();
  co_return ok();
}

asio::awaitable<IoFault> ClientConnection::write(std::string_view header, std::string_view body) {
  got_bytes_ = false;
  clean_ = false;
  parser_.reset();
  if (body.size() <= kRequestTogether) {
    const std::string both = std::string(header).append(body);
    co_return co_await stream_->write_all(both);
  }
  const IoFault fault = co_await stream_->write_all(header);
  if (fault != IoFault::kNone) co_return fault;
  co_return co_await stream_->write_all(body);
}

asio::awaitable<IoFault> ClientConnection::write_file(FileRange range) {
  std::string piece;
  while (range.length > 0) {
    piece.resize(static_cast<std::size_t>(std::min<std::uint64_t>(range.length, kBodyPieceBytes)));
    const ssize_t count =
        ::pread(range.fd, piece.data(), piece.size(), static_cast<off_t>(range.offset));
    if (count <= 0) co_return IoFault::kCut;
    piece.resize(static_cast<std::size_t>(count));
    const IoFault fault = co_await stream_->write_all(piece);
    if (fault != IoFault::kNone) co_return fault;
    range.offset += piece.size();
    range.length -= piece.size();
  }
  co_return IoFault::kNone;
}

asio::awaitable<IoFault> ClientConnection::fill() {
  if (parsed_ == input_.size()) {
    input_.clear();
    parsed_ = 0;
  }
  const IoFault fault = co_await stream_->read_append(input_);
  if (fault == IoFault::kNone) got_bytes_ = true;
  co_return fault;
}

asio::awaitable<Result<ClientResponse>> ClientConnection::read_header(Method method) {
  while (true) {
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(max_header_bytes_));
    parser_->body_limit(boost::none);
    if (method == Method::kHead) parser_->skip(true);
    while (!parser_->is_header_done()) {
      boost::system::error_code fault;
      parsed_ +=
          parser_->put(asio::buffer(input_.data() + parsed_, input_.size() - parsed_), fault);
      if (parser_->is_header_done()) break;
      if (fault && fault != http::error::need_more) co_return corrupt(fault.message());
      if (input_.size() - parsed_ > max_header_bytes_) co_return corrupt("its header is too large");
      const IoFault io = co_await fill();
      if (io != IoFault::kNone) co_return Error{Code::kUnavailable, fault_text(io)};
    }
    const int status = static_cast<int>(parser_->get().result_int());
    if (status >= 200) break;
  }
  ClientResponse response;
  const auto& message = parser_->get();
  response.status = static_cast<int>(message.result_int());
  for (const auto& field : message) {
    response.headers.add(std::string_view(field.name_string().data(), field.name_string().size()),
                         std::string_view(field.value().data(), field.value().size()));
  }
  clean_ = parser_->is_done();
  co_return response;
}

bool ClientConnection::parse_body_piece(std::size_t& done, bool& broken) {
  auto& body = parser_->get().body();
  piece_.resize(kBodyPieceBytes);
  while (!parser_->is_done() && parsed_ < input_.size()) {
    body.data = piece_.data();
    body.size = piece_.size();
    boost::system::error_code fault;
    parsed_ += parser_->put(asio::buffer(input_.data() + parsed_, input_.size() - parsed_), fault);
    done = piece_.size() - body.size;
    if (fault && fault != http::error::need_buffer && fault != http::error::need_more) {
      broken = true;
      return true;
    }
    if (done > 0 || fault == http::error::need_more) break;
  }
  return done > 0 || parser_->is_done();
}

asio::awaitable<Result<std::string_view>> ClientConnection::read_body() {
  while (!parser_->is_done()) {
    std::size_t done = 0;
    bool broken = false;
    if (parse_body_piece(done, broken)) {
      if (broken) co_return corrupt("its body is framed wrongly");
      clean_ = parser_->is_done();
      if (done > 0) co_return std::string_view(piece_).substr(0, done);
      continue;
    }
    if (input_.size() - parsed_ > max_header_bytes_)
      co_return corrupt("a chunk's head is too long");
    const IoFault fault = co_await fill();
    if (fault == IoFault::kNone) continue;
    if (fault == IoFault::kEnd && parser_->need_eof()) co_return std::string_view();
    co_return Error{Code::kUnavailable, fault_text(fault)};
  }
  clean_ = true;
  std::string().swap(piece_);
  co_return std::string_view();
}

bool ClientConnection::reusable() const {
  return clean_ && parser_ && parser_->keep_alive() && parsed_ == input_.size();
}

}  // namespace ratchet::net
