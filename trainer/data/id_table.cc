#include "trainer/data/id_table.h"

#include <utility>

namespace ratchet::trainer {
namespace {

constexpr std::size_t kFirstEntries = 1024;  // a power of two, as every later size

}  // namespace

IdTable::Entry& IdTable::slot_of(std::uint64_t hash) {
  const std::size_t mask = entries_.size() - 1;
  std::size_t index = hash & mask;
  while (entries_[index].hash != 0 && entries_[index].hash != hash) index = (index + 1) & mask;
  return entries_[index];
}

void IdTable::grow() {
  std::vector<Entry> old(entries_.empty() ? kFirstEntries : entries_.size() * 2);
  old.swap(entries_);
  for (const Entry& entry : old) {
    if (entry.hash != 0) slot_of(entry.hash) = entry;
  }
}

std::optional<std::uint64_t> IdTable::insert(std::uint64_t hash, std::uint64_t row) {
  if (hash == 0) hash = 1;  // 0 marks free entries
  if (entries_.empty()) grow();
  Entry* entry = &slot_of(hash);
  if (entry->hash == hash) return entry->row;
  if (used_ >= ids_max_) {
    ++untracked_;
    return std::nullopt;
  }
  if (used_ * 4 >= entries_.size() * 3) {
    grow();
    entry = &slot_of(hash);
  }
  *entry = {hash, row};
  ++used_;
  return std::nullopt;
}

}  // namespace ratchet::trainer
