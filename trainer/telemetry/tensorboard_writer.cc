#include "trainer/telemetry/tensorboard_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <utility>

namespace ratchet::trainer {

namespace {

constexpr std::size_t kBufferBytes = 64 * 1024;
constexpr int kMaxNames = 1000;  // files of one second and process
constexpr std::uint32_t kCastagnoliReflected = 0x82F63B78;

constexpr std::array<std::uint32_t, 256> make_crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < table.size(); ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc & 1U) != 0 ? (crc >> 1U) ^ kCastagnoliReflected : crc >> 1U;
    }
    table[i] = crc;
  }
  return table;
}

void put_little_endian(std::string& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>((value >> (8 * i)) & 0xFFU);
}

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7U) out += static_cast<char>((value & 0x7FU) | 0x80U);
  out += static_cast<char>(value);
}

// Protobuf wire types.
enum class Wire : std::uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

void put_tag(std::string& out, std::uint32_t field, Wire wire) {
  put_varint(out, (field << 3U) | static_cast<std::uint32_t>(wire));
}

void put_bytes(std::string& out, std::uint32_t field, std::string_view bytes) {
  put_tag(out, field, Wire::kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

std::string event_with_time(double wall_time) {
  std::string event;
  put_tag(event, 1, Wire::kFixed64);
  put_little_endian(event, std::bit_cast<std::uint64_t>(wall_time), 8);
  return event;
}

void put_step(std::string& event, std::int64_t step) {
  put_tag(event, 2, Wire::kVarint);
  put_varint(event, static_cast<std::uint64_t>(step));
}

std::string record(std::string_view data) {
  std::string out;
  put_little_endian(out, data.size(), 8);
  put_little_endian(out, masked_crc32c(out), 4);
  out += data;
  put_little_endian(out, masked_crc32c(data), 4);
  return out;
}

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Error board_error(const std::string& what, const std::string& path, int number) {
  return Error{number == ENOSPC ? Code::kNoSpace : Code::kIo,
               what + " the TensorBoard file '" + path + "' failed: " + std::strerror(number) +
                   ". Training goes on without it."};
}

std::string host_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "localhost";
  return name.data();
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  static constexpr auto kTable = make_crc_table();
  std::uint32_t crc = 0xFFFFFFFF;
  for (char c : bytes) crc = kTable[(crc ^ static_cast<unsigned char>(c)) & 0xFFU] ^ (crc >> 8U);
  return crc ^ 0xFFFFFFFF;
}

std::uint32_t masked_crc32c(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xA282EAD8U;
}

std::string tensorboard_version_record(double wall_time) {
  std::string event = event_with_time(wall_time);
  put_bytes(event, 3, "brain.Event:2");
  return record(event);
}

std::string tensorboard_scalar_record(double wall_time, std::int64_t step, std::string_view tag,
                                      float value) {
  std::string entry;
  put_bytes(entry, 1, tag);
  put_tag(entry, 2, Wire::kFixed32);
  put_little_endian(entry, std::bit_cast<std::uint32_t>(value), 4);
  std::string summary;
  put_bytes(summary, 1, entry);
  std::string event = event_with_time(wall_time);
  put_step(event, step);
  put_bytes(event, 5, summary);
  return record(event);
}

std::string tensorboard_session_start_record(double wall_time, std::int64_t step) {
  std::string session;
  put_tag(session, 1, Wire::kVarint);
  put_varint(session, 1);  // SessionLog.START
  std::string event = event_with_time(wall_time);
  put_step(event, step);
  put_bytes(event, 7, session);
  return record(event);
}

Result<std::unique_ptr<TensorBoardWriter>> TensorBoardWriter::create(Options options) {
  if (!options.clock) options.clock = wall_seconds;
  const double now = options.clock();
  std::array<char, 32> seconds{};
  std::snprintf(seconds.data(), seconds.size(), "%010lld", static_cast<long long>(now));
  const std::string stem = options.folder + "/events.out.tfevents." + seconds.data() + "." +
                           host_name() + "." + std::to_string(getpid()) + ".";
  for (int n = 0; n < kMaxNames; ++n) {
    std::string path = stem + std::to_string(n);
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
    if (file < 0 && errno == EEXIST) continue;
    if (file < 0) return board_error("Creating", path, errno);
    const std::int64_t first_step = options.first_step;
    std::unique_ptr<TensorBoardWriter> writer(
        new TensorBoardWriter(std::move(options), std::move(path), file));
    writer->buffer_ = tensorboard_version_record(now);
    if (first_step > 1) writer->buffer_ += tensorboard_session_start_record(now, first_step);
    if (Status status = writer->flush(); !status) return status.error();
    return writer;
  }
  return board_error("Finding a new name for", stem + "*", EEXIST);
}

TensorBoardWriter::TensorBoardWriter(Options options, std::string path, int file)
    : options_(std::move(options)), path_(std::move(path)), file_(file) {}

TensorBoardWriter::~TensorBoardWriter() {
  (void)flush().has_value();
  if (file_ >= 0) ::close(file_);
}

Status TensorBoardWriter::add_scalar(std::string_view tag, std::int64_t step, double value) {
  if (file_ < 0) return failure_;
  buffer_ += tensorboard_scalar_record(options_.clock(), step, tag, static_cast<float>(value));
  if (buffer_.size() < kBufferBytes) return ok();
  return flush();
}

Status TensorBoardWriter::flush() {
  if (file_ < 0) return failure_;
  std::size_t done = 0;
  while (done < buffer_.size()) {
    const ssize_t n = ::write(file_, buffer_.data() + done, buffer_.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      failure_ = board_error("Writing", path_, n < 0 ? errno : EIO);
      ::close(std::exchange(file_, -1));
      buffer_.clear();
      return failure_;
    }
    done += static_cast<std::size_t>(n);
  }
  buffer_.clear();
  return ok();
}

}  // namespace ratchet::trainer
