#include "controlplane/cli/files.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <system_error>
#include <utility>

namespace ratchet::control::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = 1 << 20;
constexpr int kMaxFolders = 16;  // within each other; also ends loops of links

Error io_error(const std::string& what, const std::string& path) {
  const Code code = errno == ENOENT ? Code::kNotFound : Code::kIo;
  return {code, "Cannot " + what + " '" + path + "': " + std::strerror(errno) + "."};
}

std::string to_hex(std::span<const unsigned char> bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : bytes) {
    text += kDigits[byte >> 4U];
    text += kDigits[byte & 15U];
  }
  return text;
}

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr);
  }
  void add(std::string_view piece) { EVP_DigestUpdate(context_.get(), piece.data(), piece.size()); }
  std::string hex() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned int size = 0;
    EVP_DigestFinal_ex(context_.get(), digest.data(), &size);
    return to_hex(std::span(digest).first(size));
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

Status write_all(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error("write", path);
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return ok();
}

Status list_folder(const fs::path& folder, const std::string& inside, int depth,
                   std::vector<LocalFile>& files) {
  if (depth > kMaxFolders) {
    return Error{Code::kInvalidArgument, "'" + folder.string() + "' lies more than " +
                                             std::to_string(kMaxFolders) +
                                             " folders deep. Name a folder nearer to the files."};
  }
  std::error_code failed;
  fs::directory_iterator entries(folder, failed);
  if (failed) {
    return Error{Code::kIo, "Cannot list '" + folder.string() + "': " + failed.message() + "."};
  }
  for (const fs::directory_entry& entry : entries) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with('.')) continue;
    const std::string path = inside.empty() ? name : inside + "/" + name;
    if (entry.is_directory(failed)) {
      if (auto listed = list_folder(entry.path(), path, depth + 1, files); !listed) return listed;
    } else if (entry.is_regular_file(failed)) {
      files.push_back({entry.path().string(), path,
                       Bytes(static_cast<std::int64_t>(entry.file_size(failed))), ""});
      if (failed) {
        return Error{Code::kIo,
                     "Cannot read '" + entry.path().string() + "': " + failed.message() + "."};
      }
      if (files.size() > kMaxArtifactFiles) break;
    }
  }
  return ok();
}

}  // namespace

Result<std::string> read_small_file(const std::string& path, std::size_t max_bytes) {
  std::error_code failed;
  if (fs::is_directory(path, failed)) {
    return Error{Code::kInvalidArgument, "'" + path + "' is a folder; name a file."};
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) return io_error("open", path);
  std::string text(max_bytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  const auto got = static_cast<std::size_t>(file.gcount());
  if (got > max_bytes) {
    return Error{Code::kInvalidArgument, "'" + path + "' is larger than " +
                                             std::to_string(max_bytes) +
                                             " bytes, which is too much for this document."};
  }
  text.resize(got);
  return text;
}

Status write_private_file(const std::string& path, std::string_view text) {
  const std::string beside = path + ".new-" + random_key().substr(0, 8);
  const Descriptor file(::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (file.get() < 0) return io_error("write", path);
  auto written = write_all(file.get(), text, beside);
  if (written && (::fsync(file.get()) != 0 || ::rename(beside.c_str(), path.c_str()) != 0)) {
    written = io_error("write", path);
  }
  if (!written) ::unlink(beside.c_str());
  return written;
}

Result<std::vector<LocalFile>> list_files(const std::string& path) {
  struct stat facts{};
  if (::stat(path.c_str(), &facts) != 0) return io_error("read", path);
  std::vector<LocalFile> files;
  if (S_ISREG(facts.st_mode)) {
    files.push_back({path, fs::path(path).filename().string(), Bytes(facts.st_size), ""});
    return files;
  }
  if (auto listed = list_folder(path, "", 0, files); !listed) return listed.error();
  if (files.empty() || files.size() > kMaxArtifactFiles) {
    return Error{Code::kInvalidArgument,
                 "'" + path + "' holds " +
                     (files.empty() ? std::string("no file")
                                    : "more than " + std::to_string(kMaxArtifactFiles) + " files") +
                     ". Name the folder that holds the model's or adapter's files."};
  }
  std::ranges::sort(files, {}, &LocalFile::inside);
  return files;
}

Result<std::string> hash_file(const std::string& path, const ByteProgress& progress) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return io_error("open", path);
  Sha256 sum;
  std::string piece(kPiece, '\0');
  for (;;) {
    const ssize_t n = ::read(file.get(), piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error("read", path);
    if (n == 0) return sum.hex();
    sum.add(std::string_view(piece).substr(0, static_cast<std::size_t>(n)));
    if (progress && !progress(n)) return Error{Code::kUnavailable, "Stopped."};
  }
}

std::string hash_text(std::string_view text) {
  Sha256 sum;
  sum.add(text);
  return sum.hex();
}

bool is_safe_inside(std::string_view path) {
  if (path.empty() || path.size() > 1024 || path.front() == '/' || path.back() == '/') return false;
  if (std::ranges::any_of(path, [](char c) { return static_cast<unsigned char>(c) < 0x20; })) {
    return false;
  }
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  return true;
}

std::string random_key() {
  std::array<unsigned char, 16> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) std::abort();
  return to_hex(bytes);
}

}  // namespace ratchet::control::cli
