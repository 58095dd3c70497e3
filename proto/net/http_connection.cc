#include "proto/net/http_connection.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <ctime>

#include "proto/api_error.h"

namespace ratchet::net {

namespace http = boost::beast::http;
using std::chrono::steady_clock;

namespace {

constexpr std::size_t kDrainBytes = 64 * 1024;    // of a body that no handler wanted
constexpr std::size_t kLingerBytes = 256 * 1024;  // read after the last answer, so that it arrives
constexpr Millis kLingerTime{2000};
constexpr std::size_t kKeptInput = 4 * 1024;  // capacity that a waiting connection may keep
constexpr std::size_t kTogether = 16 * 1024;  // header and body up to here leave in one piece
constexpr std::uint64_t kSlowestBytesPerSecond = 4 * 1024;

Error gone() { return {Code::kUnavailable, "The peer has closed the connection."}; }
Error too_slow() { return {Code::kUnavailable, "The peer sent nothing for too long."}; }
Error broken_body() { return {Code::kCorrupt, "The request's body is framed wrongly."}; }

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 40> text{};
  std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return text.data();
}

bool has_no_body(int status) { return status == 204 || status == 304 || status < 200; }

std::string hex(std::size_t value) {
  std::array<char, 24> text{};
  std::snprintf(text.data(), text.size(), "%zx", value);
  return text.data();
}

// A piece of a file; empty at its end or when it cannot be read.
asio::awaitable<std::string> read_file_piece(int fd, std::uint64_t offset, std::size_t size) {
  std::string out(size, '\0');
  const ssize_t count = ::pread(fd, out.data(), size, static_cast<off_t>(offset));
  out.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  co_return out;
}

int status_of_parse_error(const boost::system::error_code& fault) {
  if (fault == http::error::header_limit) return 431;
  if (fault == http::error::bad_version) return 505;
  return 400;
}

ApiErrorCode refusal_code(int status) {
  switch (status) {
    case 408:
      return ApiErrorCode::kRequestTimeout;
    case 413:
      return ApiErrorCode::kBodyTooLarge;
    case 414:
      return ApiErrorCode::kUriTooLong;
    case 431:
      return ApiErrorCode::kHeadersTooLarge;
    case 501:
      return ApiErrorCode::kNotSupported;
    default:
      return status < 500 ? ApiErrorCode::kInvalidRequest : ApiErrorCode::kInternal;
  }
}

}  // namespace

Connection::Connection(asio::ip::tcp::socket socket, std::string remote_address,
                       std::shared_ptr<ServerState> state)
    : state_(std::move(state)),
      stream_(std::move(socket)),
      remote_address_(std::move(remote_address)) {
  stream_.begin();
}

void Connection::set_deadline(SteadyTime deadline) {
  deadline_ = deadline;
  stream_.renew();
}

void Connection::sweep(SteadyTime now) {
  if (now < deadline_) return;
  deadline_ = kNoDeadline;
  ++state_->stats.timed_out;
  stream_.expire();
}

asio::awaitable<void> Connection::serve() {
  if (state_->tls) {
    set_deadline(steady_clock::now() + state_->options.header_timeout);
    const auto tls = state_->tls;  // reload_tls() may replace it meanwhile
    if (co_await stream_.accept_tls(*tls) != IoFault::kNone) co_return;
  }
  while (!state_->stopping) {
    if (!co_await wait_for_request()) co_return;
    if (!co_await read_header()) co_return;
    const int refusal = make_request();
    if (refusal != 0) {
      co_await refuse(refusal);
      co_return;
    }
    ++state_->stats.requests;
    if (co_await answer_request() == Next::kClose) co_return;
  }
}

// True when the first byte of a request is there.
asio::awaitable<bool> Connection::wait_for_request() {
  input_.erase(0, parsed_);
  parsed_ = 0;
  parser_.reset();
  request_ = Request();
  // Some clients end a body with an empty line more than they should (RFC 9112, 2.2).
  while (true) {
    const std::size_t begin = std::min(input_.find_first_not_of("\r\n"), input_.size());
    input_.erase(0, begin);
    if (!input_.empty()) co_return true;
    if (input_.capacity() > kKeptInput) std::string().swap(input_);
    set_deadline(steady_clock::now() + state_->options.idle_timeout);
    idle_ = true;
    const IoFault fault = co_await stream_.read_append(input_);
    idle_ = false;
    if (fault != IoFault::kNone) co_return false;
  }
}

asio::awaitable<bool> Connection::read_header() {
  parser_.emplace();
  parser_->header_limit(static_cast<std::uint32_t>(state_->options.max_header_bytes));
  parser_->body_limit(boost::none);
  const SteadyTime deadline = steady_clock::now() + state_->options.header_timeout;
  while (true) {
    boost::system::error_code fault;
    parsed_ += parser_->put(asio::buffer(input_.data() + parsed_, input_.size() - parsed_), fault);
    if (parser_->is_header_done()) co_return true;
    if (fault && fault != http::error::need_more) {
      co_await refuse(status_of_parse_error(fault));
      co_return false;
    }
    if (input_.size() - parsed_ > state_->options.max_header_bytes) {
      co_await refuse(431);
      co_return false;
    }
    const IoFault io = co_await fill(deadline);
    if (io == IoFault::kNone) continue;
    if (io == IoFault::kExpired) co_await refuse(408);
    co_return false;
  }
}

// Reads what the peer has sent into input_.
asio::awaitable<IoFault> Connection::fill(SteadyTime deadline) {
  if (parsed_ == input_.size()) {
    input_.clear();
    parsed_ = 0;
  }
  set_deadline(deadline);
  const IoFault fault = co_await stream_.read_append(input_);
  deadline_ = kNoDeadline;
  co_return fault;
}

int Connection::make_request() {
  const auto& message = parser_->get();
  const std::string_view target(message.target().data(), message.target().size());
  keep_alive_ = parser_->keep_alive();
  chunked_ = message.version() == 11;
  answered_ = streaming_ = failed_ = false;
  body_bytes_ = 0;
  body_began_ = steady_clock::now();
  const auto method =
      method_from(std::string_view(message.method_string().data(), message.method_string().size()));
  if (!method) return 501;
  request_.method = *method;
  std::size_t fields = 0;
  for (const auto& field : message) {
    if (++fields > state_->options.max_header_fields) return 431;
    request_.headers.add(std::string_view(field.name_string().data(), field.name_string().size()),
                         std::string_view(field.value().data(), field.value().size()));
  }
  if (message.version() == 11 && !request_.headers.has("Host")) return 400;
  if (target.size() > kMaxUrlBytes) return 414;
  if (!target.starts_with('/')) return 400;
  const std::size_t question = target.find('?');
  request_.raw_path = target.substr(0, question);
  if (!url_unescape(request_.raw_path, request_.path)) return 400;
  if (question != std::string_view::npos &&
      !parse_query(target.substr(question + 1), request_.query)) {
    return 400;
  }
  request_.remote_address = remote_address_;
  request_.tls = state_->tls != nullptr;
  continue_wanted_ = equal_without_case(request_.headers.get("Expect"), "100-continue");
  return 0;
}

// Answers what no handler may see, and closes.
asio::awaitable<void> Connection::refuse(int status) {
  ++state_->stats.malformed;
  keep_alive_ = false;
  request_.method = Method::kGet;
  Response response;
  response.status = status;
  response.headers.set("Content-Type", "application/json");
  response.body = encode_api_error(make_api_error(refusal_code(status)));
  answered_ = false;
  failed_ = false;
  const Status sent = co_await send(std::move(response));
  if (sent) co_await linger();
}

asio::awaitable<Connection::Next> Connection::answer_request() {
  bool threw = false;
  try {
    co_await state_->handler(*this);
  } catch (...) {
    threw = true;
  }
  if (threw) ++state_->stats.handler_failures;
  if (!answered_ && !failed_) {
    Response response;
    response.status = 500;
    response.headers.set("Content-Type", "application/json");
    response.body = encode_api_error(make_api_error(ApiErrorCode::kInternal));
    const Status sent = co_await send(std::move(response));
    if (!sent) co_return Next::kClose;
  }
  if (failed_ || streaming_) co_return Next::kClose;  // a stream that was not ended is cut
  const bool drained = parser_->is_done() || co_await drain_body();
  if (drained && keep_alive_ && !state_->stopping) co_return Next::kKeep;
  if (!failed_) co_await linger();
  co_return Next::kClose;
}

// What the handler left of the body; false when it is too much to be skipped.
asio::awaitable<bool> Connection::drain_body() {
  std::array<char, 4096> buffer;
  std::size_t skipped = 0;
  while (!parser_->is_done()) {
    const auto length = parser_->content_length_remaining();
    const bool waits = continue_wanted_;  // the peer will send nothing more
    if (waits || skipped > kDrainBytes || (length && *length > kDrainBytes)) co_return false;
    const auto piece = co_await read_some(buffer);
    if (!piece) co_return false;
    skipped += *piece;
  }
  co_return true;
}

// Closing with unread bytes would reset the connection and could destroy the answer on its way.
asio::awaitable<void> Connection::linger() {
  stream_.shutdown_send();
  const SteadyTime deadline = steady_clock::now() + kLingerTime;
  std::size_t bytes = 0;
  while (bytes < kLingerBytes) {
    input_.clear();
    parsed_ = 0;
    if (co_await fill(deadline) != IoFault::kNone) break;
    bytes += input_.size();
  }
}

std::optional<std::uint64_t> Connection::content_length() const {
  const auto length = parser_->content_length();
  if (!length) return std::nullopt;
  return *length;
}

asio::awaitable<Result<std::string>> Connection::read_body(std::size_t max_bytes) {
  const Error too_large{Code::kInvalidArgument, "The request's body is larger than " +
                                                    std::to_string(max_bytes) + " bytes."};
  std::string body;
  const auto length = content_length();
  if (length && *length > max_bytes) co_return too_large;
  if (length) body.reserve(static_cast<std::size_t>(*length));
  std::array<char, 8192> buffer;
  while (true) {
    const auto piece = co_await read_some(buffer);
    if (!piece) co_return piece.error();
    if (*piece == 0) co_return body;
    if (body.size() + *piece > max_bytes) co_return too_large;
    body.append(buffer.data(), *piece);
  }
}

// Parses what is in input_ into the buffer. True when the body is done or bytes came out.
bool Connection::parse_body_piece(std::span<char> buffer, std::size_t& done, bool& broken) {
  auto& body = parser_->get().body();
  while (!parser_->is_done() && parsed_ < input_.size()) {
    body.data = buffer.data();
    body.size = buffer.size();
    boost::system::error_code fault;
    parsed_ += parser_->put(asio::buffer(input_.data() + parsed_, input_.size() - parsed_), fault);
    done = buffer.size() - body.size;
    if (fault == http::error::need_buffer) fault = {};
    if (fault && fault != http::error::need_more) {
      broken = true;
      return true;
    }
    if (done > 0 || fault == http::error::need_more) break;
  }
  return done > 0 || parser_->is_done();
}

asio::awaitable<Result<std::size_t>> Connection::read_some(std::span<char> buffer) {
  while (true) {
    std::size_t done = 0;
    bool broken = false;
    if (parse_body_piece(buffer, done, broken)) {
      if (broken) {
        keep_alive_ = false;
        co_return broken_body();
      }
      body_bytes_ += done;
      co_return done;
    }
    if (failed_) co_return gone();
    if (input_.size() - parsed_ > state_->options.max_header_bytes) co_return broken_body();
    if (continue_wanted_) {
      continue_wanted_ = false;
      const Status told = co_await write_bytes("HTTP/1.1 100 Continue\r\n\r\n");
      if (!told) co_return told.error();
    }
    // A peer that sends drop by drop does not hold a connection for ever.
    const auto earned = std::chrono::seconds(body_bytes_ / kSlowestBytesPerSecond);
    const SteadyTime deadline = std::min(steady_clock::now() + state_->options.body_timeout,
                                         body_began_ + state_->options.body_timeout + earned);
    const IoFault fault = co_await fill(deadline);
    if (fault == IoFault::kNone) continue;
    keep_alive_ = false;
    if (fault == IoFault::kExpired) co_return too_slow();
    failed_ = true;
    co_return gone();
  }
}

std::string Connection::header_text(const Response& response, std::optional<std::uint64_t> length) {
  std::string out = "HTTP/1.1 " + std::to_string(response.status) + " ";
  out.append(status_reason(response.status)).append("\r\n");
  for (const Headers::Field& field : response.headers.fields()) {
    out.append(field.name).append(": ").append(field.value).append("\r\n");
  }
  if (length) {
    if (!has_no_body(response.status)) {
      out.append("Content-Length: ").append(std::to_string(*length)).append("\r\n");
    }
  } else if (chunked_) {
    out.append("Transfer-Encoding: chunked\r\n");
  } else {
    keep_alive_ = false;  // HTTP/1.0: the end of the connection is the end of the body
  }
  out.append("Date: ").append(http_date()).append("\r\n");
  if (!keep_alive_ || state_->stopping) out.append("Connection: close\r\n");
  out.append("\r\n");
  return out;
}

asio::awaitable<Status> Connection::write_bytes(std::string_view bytes) {
  if (failed_) co_return gone();
  set_deadline(steady_clock::now() + state_->options.write_timeout);
  const IoFault fault = co_await stream_.write_all(bytes);
  deadline_ = kNoDeadline;
  if (fault == IoFault::kNone) co_return ok();
  failed_ = true;
  co_return gone();
}

asio::awaitable<Status> Connection::send(Response response) {
  if (answered_) co_return Error{Code::kFailedPrecondition, "The request was answered before."};
  answered_ = true;
  std::string out = header_text(response, response.body.size());
  if (request_.method == Method::kHead || has_no_body(response.status)) response.body.clear();
  if (response.body.size() <= kTogether) {
    out += response.body;
    co_return co_await write_bytes(out);
  }
  const Status sent = co_await write_bytes(out);
  if (!sent) co_return sent;
  co_return co_await write_bytes(response.body);
}

asio::awaitable<Status> Connection::send_file(Response response, FileRange range) {
  if (answered_) co_return Error{Code::kFailedPrecondition, "The request was answered before."};
  answered_ = true;
  const std::string header = header_text(response, range.length);
  const Status begun = co_await write_bytes(header);
  if (!begun || request_.method == Method::kHead) co_return begun;
  constexpr std::uint64_t kPiece = 128 * 1024;
  while (range.length > 0) {
    const auto size = static_cast<std::size_t>(std::min(range.length, kPiece));
    std::string piece;
    if (state_->options.file_executor) {
      piece = co_await asio::co_spawn(state_->options.file_executor,
                                      read_file_piece(range.fd, range.offset, size),
                                      asio::use_awaitable);
    } else {
      piece = co_await read_file_piece(range.fd, range.offset, size);
    }
    if (piece.empty()) {
      failed_ = true;  // fewer bytes than announced: only a cut tells the peer
      co_return Error{Code::kIo, "The file ended or failed while it was being sent."};
    }
    const Status sent = co_await write_bytes(piece);
    if (!sent) co_return sent;
    range.offset += piece.size();
    range.length -= piece.size();
  }
  co_return ok();
}

asio::awaitable<Status> Connection::begin_stream(Response response) {
  if (answered_) co_return Error{Code::kFailedPrecondition, "The request was answered before."};
  answered_ = true;
  streaming_ = true;
  const std::string header = header_text(response, std::nullopt);
  co_return co_await write_bytes(header);
}

asio::awaitable<Status> Connection::write(std::string piece) {
  if (!streaming_) co_return Error{Code::kFailedPrecondition, "No stream was begun."};
  if (piece.empty() || request_.method == Method::kHead) co_return ok();
  if (chunked_) piece = hex(piece.size()) + "\r\n" + piece + "\r\n";
  co_return co_await write_bytes(piece);
}

asio::awaitable<Status> Connection::end_stream() {
  if (!streaming_) co_return Error{Code::kFailedPrecondition, "No stream was begun."};
  streaming_ = false;
  if (!chunked_ || request_.method == Method::kHead) co_return ok();
  co_return co_await write_bytes("0\r\n\r\n");
}

bool Connection::should_end() const { return failed_ || state_->stopping || stream_.peer_closed(); }

}  // namespace ratchet::net
