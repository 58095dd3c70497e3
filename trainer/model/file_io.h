#pragma once

// Small POSIX file helpers of the model room: bounded whole-file reads, positioned exact reads and
// writes. Errors carry errno's text and the path.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "proto/result.h"

namespace ratchet::trainer {

// Of a JSON file of a model; and what is moved at once.
inline constexpr std::uint64_t kMaxConfigBytes = std::uint64_t{16} << 20;
inline constexpr std::size_t kPieceBytes = std::size_t{4} << 20;

// Joins its arguments (strings, integers, floating-point values) into one string.
template <class... Parts>
std::string cat(const Parts&... parts);

// An open file descriptor; closed by the destructor. Move-only.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd();
  Fd(Fd&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Fd& operator=(Fd&& other) noexcept;

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool open() const { return fd_ >= 0; }
  // Closes now and reports what close() says; a no-op on a closed descriptor.
  [[nodiscard]] int close_now();

 private:
  int fd_ = -1;
};

// `doing` completes the sentence "Could not <doing> '<path>': <errno text>."
Error io_error(std::string_view doing, const std::filesystem::path& path, int error_number);

// Opens a regular file for reading (symbolic links are followed). A folder, a socket or a device
// is kInvalidArgument; an absent file is kNotFound.
Result<Fd> open_for_read(const std::filesystem::path& path);

Result<std::uint64_t> file_size(const Fd& fd, const std::filesystem::path& path);

// Fills `dst` from `offset`; a short file is kCorrupt.
Status read_at(const Fd& fd, const std::filesystem::path& path, std::uint64_t offset,
               std::span<std::byte> dst);

// Writes all of `src` at `offset`; a full disk is kNoSpace.
Status write_at(const Fd& fd, const std::filesystem::path& path, std::uint64_t offset,
                std::span<const std::byte> src);

// The whole file; larger than `max_bytes` is kInvalidArgument.
Result<std::string> read_text_file(const std::filesystem::path& path, std::uint64_t max_bytes);

// Makes a rename into a folder outlive a power loss: fsync of the folder that holds `path`.
Status sync_parent(const std::filesystem::path& path);

// Writes `text` to a new file beside `path`, fdatasyncs it, renames it over `path` and syncs the
// folder.
Status write_text_file(const std::filesystem::path& path, std::string_view text);

// Creates a folder that must be new or empty (with its parents); anything else is kAlreadyExists.
Status create_empty_folder(const std::filesystem::path& folder);

namespace detail {
inline void append_part(std::string& out, std::string_view part) { out.append(part); }
inline void append_part(std::string& out, char part) { out.push_back(part); }
void append_part(std::string& out, double part);
template <class T>
  requires std::is_integral_v<T>
void append_part(std::string& out, T part) {
  out.append(std::to_string(part));
}
}  // namespace detail

template <class... Parts>
std::string cat(const Parts&... parts) {
  std::string out;
  (detail::append_part(out, parts), ...);
  return out;
}

}  // namespace ratchet::trainer
