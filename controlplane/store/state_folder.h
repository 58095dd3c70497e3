#pragma once

// The state folder: who owns it, and the key of its secrets.

#include <filesystem>
#include <memory>

#include "controlplane/store/secret_box.h"
#include "proto/result.h"

namespace ratchet::control {

// Holds control.lock by flock for as long as it lives: the lock goes with the process, however it
// ends. The descriptor is not inherited by programs that the process starts.
class FolderLock {
 public:
  // kFailedPrecondition when another process holds it; its pid is in the message.
  static Result<std::unique_ptr<FolderLock>> take(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  explicit FolderLock(int fd) : fd_(fd) {}
  int fd_;
};

// Reads store.key, or makes it (mode 0600) when it is missing and `may_make`.
Result<SecretBox::Key> folder_key(const std::filesystem::path& folder, bool may_make);

}  // namespace ratchet::control
