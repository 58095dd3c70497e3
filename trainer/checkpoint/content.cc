#include "trainer/checkpoint/content.h"

#include <algorithm>
#include <array>
#include <utility>

#include "trainer/model/digest.h"

namespace ratchet::trainer {

void TensorsDigest::add(std::string name, std::string_view dtype,
                        std::span<const std::int64_t> shape, std::string_view xxh3_128) {
  // No layout of ours has NUL in a name, so the parts of a line cannot run together.
  std::string line = std::move(name);
  line += '\0';
  line += dtype;
  for (const std::int64_t dim : shape) line += ' ' + std::to_string(dim);
  line += '\0';
  line += xxh3_128;
  line += '\n';
  lines_.push_back(std::move(line));
}

std::string TensorsDigest::finish() {
  std::sort(lines_.begin(), lines_.end());
  Sha256 hash;
  for (const std::string& line : lines_) hash.update(std::string_view(line));
  lines_.clear();
  return to_hex(hash.finish());
}

std::string tensors_digest(const ArenaLayout& layout, const ArenaViews& arenas,
                           std::uint64_t step) {
  TensorsDigest digest;
  const auto add = [&](std::string name, std::string_view dtype,
                       std::span<const std::int64_t> shape, std::span<const std::byte> bytes) {
    digest.add(std::move(name), dtype, shape, to_hex(xxh3_128(bytes)));
  };
  for (const ArenaTensor& tensor : layout.tensors) {
    const auto values = arenas.params.subspan(static_cast<std::size_t>(tensor.offset),
                                              static_cast<std::size_t>(tensor.size));
    add(tensor.name, "F32", tensor.shape, std::as_bytes(values));
  }
  const std::array<std::int64_t, 1> flat = {layout.arena_size};
  add(std::string(kExpAvgName), "F32", flat, std::as_bytes(arenas.exp_avg));
  add(std::string(kExpAvgSqName), "F32", flat, std::as_bytes(arenas.exp_avg_sq));
  const std::array<std::int64_t, 1> one = {1};
  const auto signed_step = static_cast<std::int64_t>(step);
  add(std::string(kStepTensorName), "I64", one, std::as_bytes(std::span(&signed_step, 1)));
  return digest.finish();
}

}  // namespace ratchet::trainer
