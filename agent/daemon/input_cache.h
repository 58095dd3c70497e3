#pragma once

// Inputs on the node's disk, by artifact id: fetched once, kept until room is needed.
//
//   cache/<id>/        whole, every file digest-checked; appears only by rename
//   cache/<id>.part/   being fetched, or left by a cut; the next fetch goes on from it
//
// The least recently used entry goes first; what a running attempt holds never goes. Loop thread.

#include <boost/asio/awaitable.hpp>
#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "agent/daemon/artifact_client.h"
#include "proto/result.h"
#include "proto/units.h"

namespace ratchet::agent {

class InputCache {
 public:
  // Entries of an earlier process are found again, in the order of their last use.
  InputCache(std::filesystem::path folder, Bytes limit, ArtifactClient& client);

  // The folder of the artifact, fetched when it is not here. Holds it for `holder` until
  // release(holder). kNoSpace when it cannot fit even after everything unused has gone.
  asio::awaitable<Result<std::filesystem::path>> get(std::string id, std::string holder,
                                                     net::CancelSource* cancel);
  // The folder when it is here, without fetching; does not hold.
  [[nodiscard]] std::filesystem::path find(const std::string& id) const;
  // For attempts of an earlier process, which use what they have.
  void hold(const std::string& id, const std::string& holder);
  void release(const std::string& holder);

  // Removes unused entries, oldest first, until at least `wanted` bytes went or none is left.
  // Returns what went.
  Bytes evict(Bytes wanted);
  [[nodiscard]] Bytes used() const;
  [[nodiscard]] std::size_t entries() const { return entries_.size(); }
  [[nodiscard]] std::uint64_t evictions() const { return evictions_; }

 private:
  struct Entry {
    Bytes size;
    std::uint64_t last_use = 0;
    std::set<std::string> holders;
  };

  asio::awaitable<Status> fetch(std::string id, net::CancelSource* cancel);
  Status make_room(Bytes wanted);
  void touch(const std::string& id);

  std::filesystem::path folder_;
  Bytes limit_;
  ArtifactClient& client_;
  std::map<std::string, Entry> entries_;
  std::set<std::string> fetching_;
  std::uint64_t clock_ = 0;  // of uses
  std::uint64_t evictions_ = 0;
};

}  // namespace ratchet::agent
