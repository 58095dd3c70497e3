#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <charconv>
#include <nlohmann/json.hpp>

#include "controlplane/api/api.h"
#include "controlplane/api/forms.h"
#include "controlplane/api/handlers.h"
#include "controlplane/api/jobs.h"
#include "proto/net/sse.h"

namespace ratchet::control {

namespace {

using std::chrono::steady_clock;

constexpr std::chrono::seconds kKeepAlive{15};
constexpr std::chrono::seconds kPeerLook{1};  // how soon a peer that is gone is noticed
constexpr std::chrono::seconds kLogWait{20};
constexpr std::int64_t kEventsAtOnce = 200;
constexpr std::size_t kLogPiece = 1024 * 1024;
constexpr std::size_t kLogBody = 4 * 1024 * 1024;
constexpr std::int64_t kMaxOffset = std::int64_t{1} << 60;

struct More {
  Result<std::vector<EventRecord>> events = std::vector<EventRecord>{};
  bool ended = false;  // the job is terminal, and these are its last events
};

// The row is read before the events: when it says terminal, its last event is among them or before.
More read_more(const Store& store, const JobId& id, std::int64_t after) {
  More out;
  const auto view = store.jobs().job(id, "");
  if (!view) {
    out.events = view.error();
    return out;
  }
  out.events = store.events().job_events(id, after, kEventsAtOnce);
  if (!out.events) return out;
  const auto last = out.events->empty() ? after : out.events->back().row.seq;
  out.ended = is_terminal(view->row.phase) && last >= view->row.event_seq;
  return out;
}

std::int64_t number_or_zero(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value > 0 ? value : 0;
}

std::int64_t resume_point(const Call& call) {
  const auto header = call.request->headers.get("Last-Event-ID");
  return number_or_zero(header.empty() ? call.query("after") : header);
}

std::string events_text(const std::vector<EventRecord>& events) {
  std::string out;
  for (const auto& event : events) {
    out += net::format_sse(
        {.type = "job", .id = std::to_string(event.row.seq), .data = to_text(event_form(event))});
  }
  return out;
}

// Sends what there is, waits, and so on until the job has ended or the reader is gone.
asio::awaitable<void> follow(Context& context, net::Exchange& exchange, JobId id,
                             std::int64_t after) {
  const auto signal = context.service.job_signal(id);
  auto spoke = steady_clock::now();
  UnixMillis step_seen{-1};
  bool look_for_events = true;
  while (!exchange.should_end()) {
    const auto version = signal->version();
    std::string text;
    bool ended = false;
    if (look_for_events) {
      std::function<More()> read = [&context, id, after] {
        return read_more(context.store, id, after);
      };
      const auto more = co_await run_in(context.pool, std::move(read));
      if (!more.events) co_return;  // the reader comes back with the last id that it saw
      text = events_text(*more.events);
      if (!more.events->empty()) after = more.events->back().row.seq;
      ended = more.ended;
    }
    if (const auto step = context.service.last_step(id); step && step->time != step_seen) {
      step_seen = step->time;
      text += net::format_sse({.type = "step", .id = "", .data = to_text(step_form(*step))});
    }
    const auto now = steady_clock::now();
    if (text.empty() && now - spoke >= kKeepAlive) text = net::format_sse_comment("");
    if (!text.empty()) {
      spoke = now;
      if (!co_await exchange.write(std::move(text))) co_return;
    }
    if (ended) co_return;
    co_await signal->wait(version, steady_clock::now() + kPeerLook);
    look_for_events = signal->version() != version;
  }
}

asio::awaitable<std::variant<JobView, ApiError>> job_of(Context& context, const Call& call) {
  std::function<std::variant<JobView, ApiError>()> find = [&context, &call] {
    return find_job(context.store, call);
  };
  co_return co_await run_in(context.pool, std::move(find));
}

std::optional<std::int64_t> attempt_number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > 1000000) {
    return std::nullopt;
  }
  return value;
}

net::Headers log_headers(const LogPiece& piece, std::int64_t attempt_no) {
  net::Headers out;
  out.set("Content-Type", "text/plain; charset=utf-8");
  out.set("Log-Attempt", std::to_string(attempt_no));
  out.set("Log-Offset", std::to_string(piece.offset));
  out.set("Log-Next-Offset",
          std::to_string(piece.offset + static_cast<std::int64_t>(piece.text.size())));
  out.set("Log-Size", std::to_string(piece.size));
  return out;
}

struct LogCheck {
  std::optional<ApiError> refused;
  std::int64_t size = 0;
};

// A log belongs to an attempt of this node, also when the attempt is over or fenced.
LogCheck check_log(const Context& context, const Call& call, std::int64_t attempt_no) {
  LogCheck out;
  const auto job = find_job(context.store, call);
  if (const auto* refused = std::get_if<ApiError>(&job)) {
    out.refused = *refused;
    return out;
  }
  const auto& id = std::get<JobView>(job).row.id;
  const auto attempts = context.store.jobs().attempts(id);
  if (!attempts) {
    out.refused = problem_of(attempts.error());
    return out;
  }
  const auto own = std::any_of(attempts->begin(), attempts->end(), [&](const AttemptRow& row) {
    return row.attempt_no == attempt_no && row.node_id == call.who.node_id;
  });
  if (!own) out.refused = problem(ApiErrorCode::kAttemptNotFound);
  out.size = context.logs.size(id, attempt_no);
  return out;
}

Answer at_offset(int status, std::int64_t offset) {
  Reply out{.status = status, .body = "", .headers = {}};
  out.headers.set("Upload-Offset", std::to_string(offset));
  return out;
}

}  // namespace

asio::awaitable<std::optional<Answer>> stream_job(Context& context, const Call& call,
                                                  net::Exchange& exchange) {
  auto job = co_await job_of(context, call);
  if (auto* refused = std::get_if<ApiError>(&job)) co_return Answer(std::move(*refused));
  net::Response begin{.status = 200, .headers = common_headers(context, call), .body = ""};
  begin.headers.set("Content-Type", "text/event-stream");
  if (!co_await exchange.begin_stream(std::move(begin))) co_return std::nullopt;
  co_await follow(context, exchange, std::get<JobView>(job).row.id, resume_point(call));
  [[maybe_unused]] const auto ended = co_await exchange.end_stream();
  co_return std::nullopt;
}

asio::awaitable<std::optional<Answer>> read_log(Context& context, const Call& call,
                                                net::Exchange& exchange) {
  const auto offset = integer_query(call, "offset", -1, kMaxOffset);
  if (!offset) {
    co_return Answer(problem(ApiErrorCode::kInvalidRequest, offset.error().message));
  }
  const auto attempt = integer_query(call, "attempt", 1, 1000000);
  if (!attempt) {
    co_return Answer(problem(ApiErrorCode::kInvalidRequest, attempt.error().message));
  }
  auto job = co_await job_of(context, call);
  if (auto* refused = std::get_if<ApiError>(&job)) co_return Answer(std::move(*refused));
  const auto& row = std::get<JobView>(job).row;
  const auto number = attempt->value_or(std::max<std::int64_t>(row.attempts, 1));
  if (number > std::max<std::int64_t>(row.attempts, 1)) {
    co_return Answer(problem(ApiErrorCode::kAttemptNotFound));
  }
  const auto until = steady_clock::now() + kLogWait;
  const bool wait = call.query("follow") == "true";
  for (;;) {
    std::function<Result<LogPiece>()> read = [&context, id = row.id, number,
                                              at = offset->value_or(0)] {
      return context.logs.read(id, number, at, kLogPiece);
    };
    auto piece = co_await run_in(context.pool, std::move(read));
    if (!piece) co_return Answer(problem_of(piece.error()));
    const auto* live = context.service.job(row.id);
    const bool grows = live != nullptr && live->attempts <= number;
    if (!piece->text.empty() || !wait || !grows || exchange.should_end() ||
        steady_clock::now() >= until) {
      Reply reply{.status = 200, .body = "", .headers = log_headers(*piece, number)};
      reply.body = std::move(piece->text);
      co_return Answer(std::move(reply));
    }
    const auto signal = context.service.job_signal(row.id);
    co_await signal->wait(signal->version(), steady_clock::now() + kPeerLook);
  }
}

asio::awaitable<std::optional<Answer>> append_log(Context& context, const Call& call,
                                                  net::Exchange& exchange) {
  const auto number = attempt_number(call.parameter("attempt_no"));
  const auto given = call.request->headers.get("Upload-Offset");
  std::int64_t offset = -1;
  std::from_chars(given.data(), given.data() + given.size(), offset);
  if (!number) co_return Answer(problem(ApiErrorCode::kAttemptNotFound));
  if (offset < 0) {
    co_return Answer(problem(ApiErrorCode::kInvalidRequest,
                             "The header Upload-Offset must say where the bytes belong."));
  }
  std::function<LogCheck()> check = [&context, &call, number] {
    return check_log(context, call, *number);
  };
  auto checked = co_await run_in(context.pool, std::move(check));
  if (checked.refused) co_return Answer(*std::move(checked.refused));
  auto body = co_await exchange.read_body(kLogBody);
  if (!body) co_return Answer(problem(ApiErrorCode::kBodyTooLarge, body.error().message));
  const JobId id(call.parameter("id"));
  std::function<Result<std::int64_t>()> append = [&context, id, number, offset,
                                                  text = *std::move(body)] {
    return context.logs.append(id, *number, offset, text);
  };
  const auto size = co_await run_in(context.pool, std::move(append));
  if (size) {
    context.service.job_signal(id)->notify();
    co_return at_offset(200, *size);
  }
  if (size.error().code == Code::kInvalidArgument) {
    co_return Answer(problem(ApiErrorCode::kBodyTooLarge, size.error().message));
  }
  if (size.error().code != Code::kFailedPrecondition) co_return Answer(problem_of(size.error()));
  auto conflict = problem(ApiErrorCode::kUploadOffsetMismatch, size.error().message);
  conflict.request_id = call.request_id;
  auto answer = at_offset(409, checked.size);
  std::get<Reply>(answer).body = encode_api_error(conflict);
  co_return answer;
}

}  // namespace ratchet::control
