#include <unistd.h>

#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

#include "controlplane/api/api.h"
#include "controlplane/api/bodies.h"
#include "controlplane/api/forms.h"
#include "controlplane/api/handlers.h"

namespace ratchet::control {

using nlohmann::json;

namespace {

constexpr std::size_t kPiece = 1024 * 1024;

std::variant<Manifest, ApiError> read_manifest(const Call& call) {
  Manifest manifest;
  Body body(call.body, {.max_bytes = kManifestBody});
  {
    auto root = body.root();
    root.require("kind", "what it is: " + list_words<ArtifactKind>());
    root.require("files", "its files");
    root.word("kind", manifest.kind);
    for (auto& entry : root.objects("files", kMaxArtifactFiles)) {
      ArtifactFile file;
      entry.require("path", "the file's path in the artifact");
      entry.require("bytes", "the file's size");
      entry.require("sha256", "64 lower-case hex digits");
      entry.text("path", file.path, {.min_length = 1, .max_length = kMaxArtifactPath});
      entry.integer("bytes", file.bytes, {0, kMaxArtifactFileBytes});
      entry.text("sha256", file.sha256, {.min_length = 64, .max_length = 64});
      manifest.files.push_back(std::move(file));
    }
  }
  if (auto refused = body.refused()) return *std::move(refused);
  if (const auto valid = check_manifest(manifest); !valid) {
    return problem(ApiErrorCode::kInvalidRequest, valid.error().message);
  }
  return manifest;
}

ApiError artifact_problem(const Error& error) {
  if (error.code == Code::kInvalidArgument) {
    return problem(ApiErrorCode::kInvalidRequest, error.message);
  }
  return problem_of(error, ApiErrorCode::kArtifactNotFound);
}

// What stands in the way of an upload, and where it would go on.
Answer upload_conflict(const Context& context, const Call& call, const Error& error) {
  const auto& id = call.parameter("id");
  const auto& path = call.parameter("path");
  auto code = ApiErrorCode::kUploadBusy;
  const auto artifact = context.artifacts.status(id, call.who.tenant);
  const auto file = context.artifacts.file_status(id, call.who.tenant, path);
  const auto given = call.request->headers.get("Upload-Offset");
  if (artifact && artifact->row.state == ArtifactState::kSealed) {
    code = ApiErrorCode::kArtifactSealed;
  } else if (file && given != std::to_string(file->received)) {
    code = ApiErrorCode::kUploadOffsetMismatch;
  }
  auto refused = problem(code, error.message);
  refused.request_id = call.request_id;
  Reply reply{.status = 409, .body = encode_api_error(refused), .headers = {}};
  if (file) reply.headers.set("Upload-Offset", std::to_string(file->received));
  return reply;
}

Answer upload_problem(const Context& context, const Call& call, const Error& error) {
  switch (error.code) {
    case Code::kFailedPrecondition:
      return upload_conflict(context, call, error);
    case Code::kCorrupt:
      return problem(ApiErrorCode::kDigestMismatch, error.message);
    case Code::kInvalidArgument:
      return problem(ApiErrorCode::kBodyTooLarge, error.message);
    default:
      return problem_of(error, ApiErrorCode::kFileNotFound);
  }
}

net::Headers file_headers(const FileStatus& status) {
  net::Headers out;
  out.set("Upload-Offset", std::to_string(status.received));
  out.set("Upload-Length", std::to_string(status.file.bytes));
  return out;
}

using Begun = std::variant<std::shared_ptr<Upload>, Answer>;

Begun begin_upload(const Context& context, const Call& call, std::int64_t offset) {
  auto upload = context.artifacts.upload(call.parameter("id"), call.who.tenant,
                                         call.parameter("path"), offset);
  if (!upload) return upload_problem(context, call, upload.error());
  return std::shared_ptr<Upload>(*std::move(upload));
}

// The body, piece by piece to the disk; what arrived before a break stays.
asio::awaitable<Status> receive(Context& context, net::Exchange& exchange,
                                std::shared_ptr<Upload> upload) {
  const auto buffer = std::make_shared<std::vector<char>>(kPiece);
  for (;;) {
    std::size_t filled = 0;
    while (filled < buffer->size()) {
      const std::span<char> room(buffer->data() + filled, buffer->size() - filled);
      const auto count = co_await exchange.read_some(room);
      if (!count) {
        std::function<Status()> keep = [upload, buffer, filled] {
          return upload->write(std::as_bytes(std::span(buffer->data(), filled)));
        };
        [[maybe_unused]] const auto kept = co_await run_in(context.pool, std::move(keep));
        co_return count.error();
      }
      if (*count == 0) break;
      filled += *count;
    }
    if (filled == 0) co_return ok();
    std::function<Status()> write = [upload, buffer, filled] {
      return upload->write(std::as_bytes(std::span(buffer->data(), filled)));
    };
    const auto written = co_await run_in(context.pool, std::move(write));
    if (!written) co_return written.error();
    if (filled < buffer->size()) co_return ok();
  }
}

}  // namespace

asio::awaitable<Answer> create_artifact(Context& context, const Call& call) {
  auto manifest = read_manifest(call);
  if (auto* refused = std::get_if<ApiError>(&manifest)) co_return std::move(*refused);
  std::function<Result<ArtifactStatus>()> make = [&context, &call,
                                                  &wanted = std::get<Manifest>(manifest)] {
    const auto& who = call.who;
    return context.artifacts.create(wanted, who.tenant,
                                    who.node_id.empty() ? who.name : who.node_id);
  };
  const auto status = co_await run_in(context.pool, std::move(make));
  if (!status) co_return artifact_problem(status.error());
  Reply reply{.status = 201, .body = to_text(artifact_form(*status)), .headers = {}};
  reply.headers.set("Location", "/v1/artifacts/" + status->row.id);
  co_return reply;
}

Answer list_artifacts(const Context& context, const Call& call) {
  const auto args = page_query(call);
  if (!args) return problem(ApiErrorCode::kInvalidRequest, args.error().message);
  ArtifactQuery query;
  query.tenant = call.who.tenant;
  query.page = {args->limit, args->cursor};
  if (const auto kind = call.query("kind"); !kind.empty()) {
    query.kind = from_word<ArtifactKind>(kind);
    if (!query.kind) {
      return problem(ApiErrorCode::kInvalidRequest,
                     "The query parameter kind must be " + list_words<ArtifactKind>() + ".");
    }
  }
  const auto page = context.store.artifacts().artifacts(query);
  if (!page && page.error().code == Code::kInvalidArgument) {
    return problem(ApiErrorCode::kInvalidCursor);
  }
  if (!page) return problem_of(page.error());
  auto items = json::array();
  for (const auto& row : page->items) items.push_back(artifact_form(row));
  return Reply{.status = 200,
               .body = to_text(list_form(std::move(items), page->next_cursor)),
               .headers = {}};
}

Answer show_artifact(const Context& context, const Call& call) {
  const auto status = context.artifacts.status(call.parameter("id"), call.who.tenant);
  if (!status) return artifact_problem(status.error());
  return Reply{.status = 200, .body = to_text(artifact_form(*status)), .headers = {}};
}

asio::awaitable<Answer> seal_artifact(Context& context, const Call& call) {
  std::function<Answer()> seal = [&context, &call]() -> Answer {
    const auto row = context.artifacts.seal(call.parameter("id"), call.who.tenant);
    if (!row && row.error().code == Code::kFailedPrecondition) {
      return problem(ApiErrorCode::kArtifactOpen, row.error().message);
    }
    if (!row) return artifact_problem(row.error());
    return show_artifact(context, call);
  };
  auto answer = co_await run_in(context.pool, std::move(seal));
  context.service.inputs_changed();
  co_return answer;
}

Answer show_file(const Context& context, const Call& call) {
  const auto status =
      context.artifacts.file_status(call.parameter("id"), call.who.tenant, call.parameter("path"));
  if (!status) return problem_of(status.error(), ApiErrorCode::kFileNotFound);
  return Reply{.status = 200, .body = "", .headers = file_headers(*status)};
}

asio::awaitable<std::optional<Answer>> upload_file(Context& context, const Call& call,
                                                   net::Exchange& exchange) {
  const auto given = call.request->headers.get("Upload-Offset");
  std::int64_t offset = 0;
  const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), offset);
  if (given.empty() || error != std::errc() || end != given.data() + given.size() || offset < 0) {
    co_return Answer(problem(ApiErrorCode::kInvalidRequest,
                             "The header Upload-Offset must say where the bytes belong."));
  }
  std::function<Begun()> begin = [&context, &call, offset] {
    return begin_upload(context, call, offset);
  };
  auto begun = co_await run_in(context.pool, std::move(begin));
  if (auto* refused = std::get_if<Answer>(&begun)) co_return std::move(*refused);
  auto upload = std::get<std::shared_ptr<Upload>>(std::move(begun));
  const auto received = co_await receive(context, exchange, upload);
  std::function<Answer()> finish = [&context, &call, upload, received]() -> Answer {
    const auto status = upload->finish();
    if (!received && received.error().code != Code::kUnavailable) {
      return upload_problem(context, call, received.error());
    }
    if (!received) return problem(ApiErrorCode::kRequestTimeout);
    if (!status) return upload_problem(context, call, status.error());
    return Reply{.status = 204, .body = "", .headers = file_headers(*status)};
  };
  begun = Begun(std::shared_ptr<Upload>());
  co_return co_await run_in(context.pool, std::move(finish));
}

asio::awaitable<std::optional<Answer>> download_file(Context& context, const Call& call,
                                                     net::Exchange& exchange) {
  using Opened = Result<std::shared_ptr<ArtifactReader>>;
  std::function<Opened()> open = [&context, &call]() -> Opened {
    auto reader =
        context.artifacts.read(call.parameter("id"), call.who.tenant, call.parameter("path"));
    if (!reader) return reader.error();
    return std::make_shared<ArtifactReader>(*std::move(reader));
  };
  const auto reader = co_await run_in(context.pool, std::move(open));
  if (!reader && reader.error().code == Code::kFailedPrecondition) {
    co_return Answer(problem(ApiErrorCode::kArtifactOpen, reader.error().message));
  }
  if (!reader) co_return Answer(problem_of(reader.error(), ApiErrorCode::kFileNotFound));
  const auto& file = (*reader)->file();
  const auto size = static_cast<std::uint64_t>(file.bytes);
  const auto wanted = net::parse_range(call.request->headers.get("Range"), size);
  if (wanted.kind == net::RangeAnswer::Kind::kUnsatisfiable) {
    co_return Answer(problem(ApiErrorCode::kRangeNotSatisfiable));
  }
  net::Response response{.status = 200, .headers = common_headers(context, call), .body = ""};
  response.headers.set("Content-Type", "application/octet-stream");
  response.headers.set("Accept-Ranges", "bytes");
  response.headers.set("ETag", "\"" + file.sha256 + "\"");
  net::FileRange range{.fd = (*reader)->fd(), .offset = 0, .length = size};
  if (wanted.kind == net::RangeAnswer::Kind::kPart) {
    response.status = 206;
    response.headers.set("Content-Range", net::content_range(wanted.range, size));
    range.offset = wanted.range.offset;
    range.length = wanted.range.length;
  }
  [[maybe_unused]] const auto sent = co_await exchange.send_file(std::move(response), range);
  co_return std::nullopt;
}

}  // namespace ratchet::control
