#include "tests/support/simulated_disk.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace ratchet::trainer {
namespace {

constexpr std::size_t kSector = 512;

std::vector<std::string> parts_of(const std::string& path) {
  std::vector<std::string> parts;
  std::string part;
  for (const char c : path + "/") {
    if (c != '/') {
      part += c;
    } else if (!part.empty()) {
      parts.push_back(std::exchange(part, {}));
    }
  }
  return parts;
}

}  // namespace

SimulatedDisk::SimulatedDisk() {
  nodes_.emplace_back();
  nodes_[0].folder = true;
}

bool SimulatedDisk::find(const std::string& path, Inode& node) const {
  node = 0;
  for (const std::string& part : parts_of(path)) {
    const auto it = nodes_[node].entries.find(part);
    if (it == nodes_[node].entries.end()) return false;
    node = it->second;
  }
  return true;
}

bool SimulatedDisk::find_parent(const std::string& path, Inode& folder, std::string& name) const {
  auto parts = parts_of(path);
  if (parts.empty()) return false;
  name = parts.back();
  parts.pop_back();
  std::string parent = "/";
  for (const std::string& part : parts) parent += part + "/";
  return find(parent, folder) && nodes_[folder].folder;
}

void SimulatedDisk::apply(const Call& call) {
  Node& node = nodes_[call.node];
  switch (call.op) {
    case Op::kWrite:
      if (node.data.size() < call.offset + call.data.size()) {
        node.data.resize(call.offset + call.data.size());
      }
      std::copy(call.data.begin(), call.data.end(),
                node.data.begin() + static_cast<std::ptrdiff_t>(call.offset));
      break;
    case Op::kResize:
      node.data.resize(std::max<std::size_t>(node.data.size(), call.offset));
      break;
    case Op::kLink:
      node.entries[call.name] = call.child;
      break;
    case Op::kUnlink:
      node.entries.erase(call.name);
      break;
    case Op::kRename:
      node.entries.erase(call.name);
      node.entries[call.other_name] = call.child;
      break;
    case Op::kExchange: {
      // When an earlier call was lost, one of the two may not be there.
      const auto from = node.entries.find(call.name);
      const auto to = node.entries.find(call.other_name);
      if (from != node.entries.end() && to != node.entries.end()) {
        std::swap(from->second, to->second);
      }
      break;
    }
    case Op::kSync:
      break;
  }
}

void SimulatedDisk::record(Call call) {
  apply(call);
  log_.push_back(std::move(call));
}

int SimulatedDisk::add(const std::string& path, bool folder, Inode& child) {
  Inode parent = 0;
  std::string name;
  if (!find_parent(path, parent, name)) return -ENOENT;
  if (nodes_[parent].entries.contains(name)) return -EEXIST;
  child = nodes_.size();
  nodes_.emplace_back();
  nodes_[child].folder = folder;
  record({.op = Op::kLink, .node = parent, .child = child, .name = name});
  return 0;
}

int SimulatedDisk::open(const std::string& path, Open mode) {
  Inode node = 0;
  const bool exists = find(path, node);
  if (mode == Open::kCreateNew && exists) return -EEXIST;
  if (!exists) {
    if (mode == Open::kRead || mode == Open::kFolder) return -ENOENT;
    if (const int rc = add(path, false, node); rc < 0) return rc;
  }
  if (nodes_[node].folder != (mode == Open::kFolder)) return -EINVAL;
  handles_[next_fd_] = {node, mode == Open::kAppend, path};
  return next_fd_++;
}

int SimulatedDisk::close(int fd) { return handles_.erase(fd) == 1 ? 0 : -EBADF; }

int SimulatedDisk::allocate(int fd, std::uint64_t bytes) {
  record({.op = Op::kResize, .node = handles_.at(fd).node, .offset = bytes});
  return 0;
}

std::int64_t SimulatedDisk::write_at(int fd, const void* data, std::size_t bytes,
                                     std::uint64_t offset) {
  const Handle& handle = handles_.at(fd);
  if (handle.append) offset = nodes_[handle.node].data.size();
  const auto* begin = static_cast<const std::byte*>(data);
  record({.op = Op::kWrite,
          .node = handle.node,
          .offset = offset,
          .data = std::vector<std::byte>(begin, begin + bytes)});
  return static_cast<std::int64_t>(bytes);
}

std::int64_t SimulatedDisk::read_at(int fd, void* data, std::size_t bytes, std::uint64_t offset) {
  const auto& content = nodes_[handles_.at(fd).node].data;
  if (offset >= content.size()) return 0;
  const std::size_t n = std::min<std::size_t>(bytes, content.size() - offset);
  std::memcpy(data, content.data() + offset, n);
  return static_cast<std::int64_t>(n);
}

int SimulatedDisk::sync(int fd) {
  const Handle& handle = handles_.at(fd);
  if (lying_sync && lying_sync(handle.path)) return 0;
  record({.op = Op::kSync, .node = handle.node});
  return 0;
}

int SimulatedDisk::rename(const std::string& from, const std::string& to, Rename how) {
  Inode folder = 0, other = 0;
  std::string name, other_name;
  if (!find_parent(from, folder, name) || !find_parent(to, other, other_name)) return -ENOENT;
  if (folder != other) return -EXDEV;
  const auto& entries = nodes_[folder].entries;
  const auto it = entries.find(name);
  if (it == entries.end()) return -ENOENT;
  const bool exists = entries.contains(other_name);
  if (how == Rename::kNoReplace && exists) return -EEXIST;
  if (how == Rename::kExchange && !exists) return -ENOENT;
  record({.op = how == Rename::kExchange ? Op::kExchange : Op::kRename,
          .node = folder,
          .child = it->second,
          .name = name,
          .other_name = other_name});
  return 0;
}

int SimulatedDisk::make_folder(const std::string& path) {
  Inode child = 0;
  return add(path, true, child);
}

int SimulatedDisk::remove(const std::string& path, Kind kind) {
  Inode node = 0, folder = 0;
  std::string name;
  if (!find(path, node) || !find_parent(path, folder, name)) return -ENOENT;
  if (nodes_[node].folder != (kind == Kind::kFolder)) return -EISDIR;
  if (!nodes_[node].entries.empty()) return -ENOTEMPTY;
  record({.op = Op::kUnlink, .node = folder, .name = name});
  return 0;
}

int SimulatedDisk::list(const std::string& path, std::vector<Entry>& entries) {
  entries.clear();
  Inode folder = 0;
  if (!find(path, folder)) return -ENOENT;
  if (!nodes_[folder].folder) return -ENOTDIR;
  for (const auto& [name, child] : nodes_[folder].entries) {
    const Node& node = nodes_[child];
    entries.push_back({name, node.folder ? Kind::kFolder : Kind::kFile, node.data.size()});
  }
  return 0;
}

std::unique_ptr<SimulatedDisk> SimulatedDisk::crash_image(std::size_t calls,
                                                          std::mt19937_64& random) const {
  auto image = std::make_unique<SimulatedDisk>();
  image->nodes_.resize(nodes_.size());
  for (std::size_t i = 0; i < nodes_.size(); ++i) image->nodes_[i].folder = nodes_[i].folder;
  std::map<Inode, std::size_t> last_sync;
  for (std::size_t i = 0; i < calls; ++i) {
    if (log_[i].op == Op::kSync) last_sync[log_[i].node] = i;
  }
  std::vector<Call> unsynced;
  for (std::size_t i = 0; i < calls; ++i) {
    const auto it = last_sync.find(log_[i].node);
    if (it != last_sync.end() && i < it->second) {
      image->apply(log_[i]);
    } else if (log_[i].op != Op::kSync && (random() & 1) != 0) {
      unsynced.push_back(log_[i]);
    }
  }
  if ((random() & 1) != 0) std::shuffle(unsynced.begin(), unsynced.end(), random);
  for (Call& call : unsynced) {
    if (call.op != Op::kWrite || (random() & 1) != 0) {
      image->apply(call);
      continue;
    }
    for (std::size_t at = 0; at < call.data.size(); at += kSector) {
      if ((random() & 1) == 0) continue;
      const auto end = std::min(at + kSector, call.data.size());
      Call sector = {.op = Op::kWrite, .node = call.node, .offset = call.offset + at};
      sector.data.assign(call.data.begin() + static_cast<std::ptrdiff_t>(at),
                         call.data.begin() + static_cast<std::ptrdiff_t>(end));
      image->apply(sector);
    }
  }
  return image;
}

}  // namespace ratchet::trainer
