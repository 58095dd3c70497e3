#pragma once

// A name for a socket file that fits into sockaddr_un, whose path has room for 107 bytes (unix(7)):
// a longer path is reached through a descriptor of its folder, /proc/self/fd/N/name. Valid in this
// process while the object lives. Any thread.

#include <filesystem>
#include <string>

#include "proto/result.h"

namespace ratchet {

class SocketPath {
 public:
  // kInvalidArgument when even the file's name does not fit; kNotFound when the folder cannot be
  // opened.
  static Result<SocketPath> open(const std::filesystem::path& path);
  SocketPath(SocketPath&& other) noexcept;
  SocketPath& operator=(SocketPath&&) = delete;
  ~SocketPath();

  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  SocketPath(std::string name, int folder) : name_(std::move(name)), folder_(folder) {}

  std::string name_;
  int folder_ = -1;
};

}  // namespace ratchet
