#pragma once

// Counts what runs went through: transitions, messages, faults. Summed over seeds and printed.

#include <cstdint>
#include <map>
#include <ostream>
#include <string>

namespace ratchet::sim {

class Coverage {
 public:
  void hit(const std::string& kind, const std::string& what) { ++counts_[kind][what]; }
  void add(const Coverage& other) {
    for (const auto& [kind, whats] : other.counts_) {
      for (const auto& [what, count] : whats) counts_[kind][what] += count;
    }
  }
  [[nodiscard]] std::size_t kinds_of(const std::string& kind) const {
    const auto found = counts_.find(kind);
    return found == counts_.end() ? 0 : found->second.size();
  }
  [[nodiscard]] std::int64_t total(const std::string& kind) const {
    std::int64_t sum = 0;
    const auto found = counts_.find(kind);
    if (found == counts_.end()) return 0;
    for (const auto& [what, count] : found->second) sum += count;
    return sum;
  }
  void print(std::ostream& out) const {
    for (const auto& [kind, whats] : counts_) {
      out << kind << " (" << whats.size() << ")\n";
      for (const auto& [what, count] : whats) out << "  " << count << "  " << what << "\n";
    }
  }

 private:
  std::map<std::string, std::map<std::string, std::int64_t>> counts_;
};

}  // namespace ratchet::sim
