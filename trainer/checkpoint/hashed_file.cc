#include "trainer/checkpoint/hashed_file.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "trainer/checkpoint/layout.h"

namespace ratchet::trainer {

using SteadyClock = std::chrono::steady_clock;

Status CommitClock::check() const {
  if (options_.stop.stop_requested()) {
    return Error{Code::kUnavailable, "The checkpoint was stopped to make room for a newer one."};
  }
  if (options_.deadline && SteadyClock::now() > *options_.deadline) {
    return Error{Code::kUnavailable,
                 "The checkpoint could not be committed before its deadline and was dropped."};
  }
  return ok();
}

Status CommitClock::timed_sync(const std::function<Status()>& sync) {
  const auto start = SteadyClock::now();
  Status status = sync();
  sync_time_ += std::chrono::duration_cast<std::chrono::microseconds>(SteadyClock::now() - start);
  return status;
}

Status HashedFileWriter::append(std::span<const std::byte> data) {
  while (!data.empty()) {
    const std::size_t room = std::min(data.size(), buffer_.size() - buffered_);
    if (room == 0) {
      return Error{Code::kInternal, "'" + file_.path() + "' grew beyond its announced size."};
    }
    std::memcpy(buffer_.data() + buffered_, data.data(), room);
    buffered_ += room;
    data = data.subspan(room);
    if (buffered_ == kChunkBytes) {
      if (auto status = flush(); !status) return status;
    }
  }
  return ok();
}

Status HashedFileWriter::flush() {
  if (buffered_ == 0) return ok();
  if (auto status = clock_.check(); !status) return status;
  const std::span<const std::byte> chunk(buffer_.data(), buffered_);
  sha_.update(chunk);
  xxh_.update(chunk);
  chunks_.push_back(to_hex(xxh3_128(chunk)));
  if (auto status = file_.write_all(chunk, written_); !status) return status;
  written_ += buffered_;
  buffered_ = 0;
  clock_.point("chunk_written");
  return ok();
}

Result<FileRecord> HashedFileWriter::finish(std::string name) {
  if (auto status = flush(); !status) return status.error();
  if (auto status = clock_.check(); !status) return status.error();
  clock_.point("before_sync");
  if (auto status = clock_.timed_sync([&] { return file_.sync(); }); !status) {
    return status.error();
  }
  clock_.point("after_sync");
  if (auto status = file_.close(); !status) return status.error();
  FileRecord record;
  record.name = std::move(name);
  record.bytes = written_;
  record.sha256 = to_hex(sha_.finish());
  record.xxh3_128 = to_hex(xxh_.finish());
  record.chunk_xxh3 = std::move(chunks_);
  return record;
}

Status verify_hashed_file(
    File& file, const FileRecord& record, std::vector<std::byte>& buffer,
    const std::function<void(std::span<const std::byte> chunk, std::uint64_t offset)>& on_chunk) {
  buffer.resize(static_cast<std::size_t>(std::min(record.bytes, kChunkBytes)));
  Sha256 sha;
  Xxh3 xxh;
  std::string fault;
  for (std::size_t i = 0; i < record.chunk_xxh3.size(); ++i) {
    const std::uint64_t begin = i * kChunkBytes;
    const std::uint64_t end = std::min(begin + kChunkBytes, record.bytes);
    const std::span<std::byte> chunk(buffer.data(), static_cast<std::size_t>(end - begin));
    if (auto status = file.read_exact(chunk, begin); !status) return status;
    sha.update(chunk);
    xxh.update(chunk);
    if (fault.empty() && to_hex(xxh3_128(chunk)) != record.chunk_xxh3[i]) {
      fault = "bytes " + std::to_string(begin) + " to " + std::to_string(end) + " (chunk " +
              std::to_string(i) + ") are not those that were written";
    }
    if (on_chunk) on_chunk(chunk, begin);
  }
  const bool whole = to_hex(sha.finish()) == record.sha256;
  const bool fast = to_hex(xxh.finish()) == record.xxh3_128;
  if (fault.empty() && (!whole || !fast)) fault = "its hash is not the manifest's";
  if (fault.empty()) return ok();
  return Error{Code::kCorrupt, record.name + ": " + fault + "."};
}

}  // namespace ratchet::trainer
