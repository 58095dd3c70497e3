#pragma once

// A file system in memory that remembers what was synced. After any prefix of its calls it can say
// what a power loss might have left: everything synced, and of the rest any subset, in any order,
// writes torn at 512-byte sectors. Stricter than real file systems, which keep some order.
//
// Folder entries are durable once the folder is synced, file contents once the file is. The root
// "/" always exists. Paths are absolute. Not thread-safe.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "trainer/checkpoint/file_system.h"

namespace ratchet::trainer {

class SimulatedDisk final : public FileSystem {
 public:
  SimulatedDisk();

  int open(const std::string& path, Open mode) override;
  int close(int fd) override;
  int allocate(int fd, std::uint64_t bytes) override;
  std::int64_t write_at(int fd, const void* data, std::size_t bytes, std::uint64_t offset) override;
  std::int64_t read_at(int fd, void* data, std::size_t bytes, std::uint64_t offset) override;
  int sync(int fd) override;
  int rename(const std::string& from, const std::string& to, Rename how) override;
  int make_folder(const std::string& path) override;
  int remove(const std::string& path, Kind kind) override;
  int list(const std::string& path, std::vector<Entry>& entries) override;

  // Number of changing calls so far; a point in time for crash_image().
  [[nodiscard]] std::size_t now() const { return log_.size(); }

  // One possible disk after a power loss right after the first `calls` changing calls.
  [[nodiscard]] std::unique_ptr<SimulatedDisk> crash_image(std::size_t calls,
                                                           std::mt19937_64& random) const;

  // For mutation checks: a sync of a path for which this returns true reports success and does
  // nothing.
  std::function<bool(const std::string& path)> lying_sync;

 private:
  using Inode = std::size_t;
  struct Node {
    bool folder = false;
    std::vector<std::byte> data = {};
    std::map<std::string, Inode> entries;
  };
  enum class Op { kWrite, kResize, kLink, kUnlink, kRename, kExchange, kSync };
  struct Call {
    Op op = Op::kSync;
    Inode node = 0;  // the file, or the folder whose entries change
    Inode child = 0;
    std::string name = {}, other_name = {};  // kRename and kExchange: from `name` to `other_name`
    std::uint64_t offset = 0;                // kResize: the size
    std::vector<std::byte> data = {};
  };
  struct Handle {
    Inode node = 0;
    bool append = false;
    std::string path;
  };

  bool find(const std::string& path, Inode& node) const;
  bool find_parent(const std::string& path, Inode& folder, std::string& name) const;
  int add(const std::string& path, bool folder, Inode& child);
  void apply(const Call& call);
  void record(Call call);

  std::vector<Node> nodes_;
  std::vector<Call> log_;
  std::map<int, Handle> handles_;
  int next_fd_ = 3;
};

}  // namespace ratchet::trainer
