#pragma once

// Which row first used an id: an open-addressed table of 64-bit hashes that grows by doubling up to
// a fixed bound, so that a file of any size is checked in bounded memory.

#include <cstdint>
#include <optional>
#include <vector>

namespace ratchet::trainer {

class IdTable {
 public:
  // At most `ids_max` ids are remembered.
  explicit IdTable(std::uint64_t ids_max) : ids_max_(ids_max) {}

  // Remembers `hash` for `row`. The row that used it before, if one did. When the table is full a
  // new id is not remembered and counted in untracked().
  std::optional<std::uint64_t> insert(std::uint64_t hash, std::uint64_t row);
  [[nodiscard]] std::uint64_t untracked() const { return untracked_; }

 private:
  struct Entry {
    std::uint64_t hash = 0;  // 0: free
    std::uint64_t row = 0;
  };
  Entry& slot_of(std::uint64_t hash);
  void grow();

  std::uint64_t ids_max_;
  std::uint64_t used_ = 0;
  std::uint64_t untracked_ = 0;
  std::vector<Entry> entries_;
};

}  // namespace ratchet::trainer
