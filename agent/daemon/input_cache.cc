#include "agent/daemon/input_cache.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <system_error>
#include <utility>
#include <vector>

#include "agent/daemon/files.h"
#include "agent/daemon/off_loop.h"
#include "proto/ids.h"

namespace ratchet::agent {
namespace {

namespace fs = std::filesystem;

// Left free on the disk besides what is being fetched.
constexpr Bytes kDiskMargin = mebibytes(256);
constexpr net::Millis kWaitForOther{200};

}  // namespace

InputCache::InputCache(fs::path folder, Bytes limit, ArtifactClient& client)
    : folder_(std::move(folder)), limit_(limit), client_(client) {
  std::vector<std::pair<fs::file_time_type, std::string>> found;
  std::error_code failed;
  fs::directory_iterator entry(folder_, failed);
  for (; !failed && entry != fs::directory_iterator(); entry.increment(failed)) {
    const std::string name = entry->path().filename().string();
    if (entry->is_directory(failed) && entry->path().extension() != ".part") {
      found.emplace_back(entry->last_write_time(failed), name);
    }
  }
  std::sort(found.begin(), found.end());
  for (const auto& [time, id] : found) {
    entries_[id] = Entry{disk_use(folder_ / id), ++clock_, {}};
  }
}

fs::path InputCache::find(const std::string& id) const {
  return entries_.count(id) > 0 ? folder_ / id : fs::path();
}

asio::awaitable<Result<fs::path>> InputCache::get(std::string id, std::string holder,
                                                  net::CancelSource* cancel) {
  if (!is_valid_id(id)) co_return Error{Code::kInvalidArgument, "'" + id + "' is no artifact id."};
  while (fetching_.count(id) > 0) co_await sleep_for(kWaitForOther);
  if (entries_.count(id) == 0) {
    fetching_.insert(id);
    const Status fetched = co_await fetch(id, cancel);
    fetching_.erase(id);
    if (!fetched) co_return fetched.error();
  }
  hold(id, holder);
  touch(id);
  co_return folder_ / id;
}

asio::awaitable<Status> InputCache::fetch(std::string id, net::CancelSource* cancel) {
  const auto artifact = co_await client_.describe(id, cancel);
  if (!artifact) co_return artifact.error();
  if (!artifact->sealed) {
    co_return Error{Code::kUnavailable, "The artifact '" + id + "' is not complete yet."};
  }
  Bytes size;
  for (const ArtifactFile& file : artifact->files) size = size + file.size;
  const fs::path part = folder_ / (id + ".part");
  if (Status room = make_room(size - disk_use(part)); !room) co_return room;
  const Status got = co_await client_.download(*artifact, part, cancel);
  if (!got) co_return got;
  const fs::path whole = folder_ / id;
  if (::rename(part.c_str(), whole.c_str()) != 0) {
    co_return io_error("Cannot rename '" + part.string() + "'", errno);
  }
  if (Status synced = sync_folder(folder_); !synced) co_return synced;
  entries_[id] = Entry{disk_use(whole), ++clock_, {}};
  co_return ok();
}

Status InputCache::make_room(Bytes wanted) {
  const auto disk = disk_space(folder_);
  if (!disk) return disk.error();
  const Bytes over_limit = used() + wanted - limit_;
  const Bytes over_disk = wanted + kDiskMargin - disk->free;
  const Bytes must_go = std::max(over_limit, over_disk);
  if (must_go.count() <= 0 || evict(must_go) >= must_go) return ok();
  // The limit is a wish; the disk is not.
  if (const auto now = disk_space(folder_); now && now->free > wanted + kDiskMargin) return ok();
  return Error{Code::kNoSpace, "There is no room for an input of " +
                                   std::to_string(wanted.count()) + " bytes below '" +
                                   folder_.string() + "'. Free some space on this disk."};
}

void InputCache::hold(const std::string& id, const std::string& holder) {
  if (const auto found = entries_.find(id); found != entries_.end()) {
    found->second.holders.insert(holder);
  }
}

void InputCache::release(const std::string& holder) {
  for (auto& [id, entry] : entries_) entry.holders.erase(holder);
}

void InputCache::touch(const std::string& id) {
  entries_[id].last_use = ++clock_;
  ::utimensat(AT_FDCWD, (folder_ / id).c_str(), nullptr, 0);
}

Bytes InputCache::evict(Bytes wanted) {
  Bytes gone;
  while (gone < wanted) {
    auto oldest = entries_.end();
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
      if (!entry->second.holders.empty()) continue;
      if (oldest == entries_.end() || entry->second.last_use < oldest->second.last_use) {
        oldest = entry;
      }
    }
    if (oldest == entries_.end()) break;
    // By another name first, so that a half-removed folder is never taken for an input.
    const fs::path whole = folder_ / oldest->first;
    const fs::path part = folder_ / (oldest->first + ".part");
    static_cast<void>(remove_tree(part));
    if (::rename(whole.c_str(), part.c_str()) == 0) static_cast<void>(remove_tree(part));
    gone = gone + oldest->second.size;
    entries_.erase(oldest);
    ++evictions_;
  }
  return gone;
}

Bytes InputCache::used() const {
  Bytes total;
  for (const auto& [id, entry] : entries_) total = total + entry.size;
  return total;
}

}  // namespace ratchet::agent
