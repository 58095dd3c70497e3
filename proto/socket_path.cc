#include "proto/socket_path.h"

#include <fcntl.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace ratchet {

namespace {
constexpr std::size_t kLongest = sizeof(sockaddr_un::sun_path) - 1;
}

Result<SocketPath> SocketPath::open(const std::filesystem::path& path) {
  if (path.native().size() <= kLongest) return SocketPath(path.native(), -1);
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  const int fd = ::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    return Error{Code::kNotFound,
                 "Cannot open the folder '" + folder.string() + "': " + std::strerror(errno) + "."};
  }
  SocketPath out("/proc/self/fd/" + std::to_string(fd) + "/" + path.filename().string(), fd);
  if (out.name_.size() > kLongest) {
    return Error{Code::kInvalidArgument, "The name '" + path.filename().string() +
                                             "' is too long for a socket: at most 80 bytes."};
  }
  return out;
}

SocketPath::SocketPath(SocketPath&& other) noexcept
    : name_(std::move(other.name_)), folder_(std::exchange(other.folder_, -1)) {}

SocketPath::~SocketPath() {
  if (folder_ >= 0) ::close(folder_);
}

}  // namespace ratchet
