#include <algorithm>
#include <array>
#include <cstring>

#include "trainer/checkpoint/layout.h"
#include "trainer/checkpoint/verify.h"

namespace ratchet::trainer {
namespace {

constexpr std::uint32_t kExponent = 0x7f800000U;
constexpr std::uint32_t kSign = 0x80000000U;

// Index of the first float that is not finite or, where `signless`, negative; -0 counts as 0.
// Returns the count when there is none. The loop without a branch is what the compiler vectorises.
std::size_t first_bad(std::span<const std::byte> bytes, bool signless) {
  const std::size_t count = bytes.size() / sizeof(std::uint32_t);
  const auto bits_at = [&](std::size_t i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, bytes.data() + i * sizeof bits, sizeof bits);
    return bits;
  };
  const auto bad = [signless](std::uint32_t bits) {
    const bool not_finite = (bits & kExponent) == kExponent;
    return not_finite | (signless & (bits > kSign));
  };
  bool any = false;
  for (std::size_t i = 0; i < count; ++i) any |= bad(bits_at(i));
  if (!any) return count;
  std::size_t i = 0;
  while (!bad(bits_at(i))) ++i;
  return i;
}

}  // namespace

Result<SafetensorsHeader> read_tensor_header(File& file, std::uint64_t bytes) {
  std::array<std::byte, 8> prefix{};
  const auto known = std::span(prefix).first(std::min<std::uint64_t>(8, bytes));
  if (auto status = file.read_exact(known, 0); !status) return status.error();
  auto length = parse_safetensors_header_length(known, bytes);
  if (!length) return length.error();
  std::vector<std::byte> head(static_cast<std::size_t>(8 + *length));
  if (auto status = file.read_exact(head, 0); !status) return status.error();
  return parse_safetensors_header(head, bytes);
}

TensorScan::TensorScan(const SafetensorsHeader& header) : header_(header) {}

void TensorScan::scan(const StoredTensor& tensor, std::uint64_t at,
                      std::span<const std::byte> bytes) {
  hash_.update(bytes);
  if (tensor.dtype == DType::kI64 && at == 0 && bytes.size() >= sizeof step_) {
    std::memcpy(&step_, bytes.data(), sizeof step_);
  }
  if (tensor.dtype != DType::kF32 || !fault_.empty()) return;
  const bool squared = tensor.name == kExpAvgSqName;
  const std::size_t bad = first_bad(bytes, squared);
  if (bad == bytes.size() / sizeof(float)) return;
  float value = 0;
  std::memcpy(&value, bytes.data() + bad * sizeof value, sizeof value);
  fault_ = "tensor '" + tensor.name + "' holds " + std::to_string(value) + " at element " +
           std::to_string(at / sizeof(float) + bad) +
           (squared ? ", which must be finite and not negative" : ", which must be finite");
}

void TensorScan::take(std::span<const std::byte> chunk, std::uint64_t offset) {
  const std::uint64_t end = offset + chunk.size();
  while (current_ < header_.tensors.size()) {
    const StoredTensor& tensor = header_.tensors[current_];
    const std::uint64_t first = header_.data_start + tensor.begin;
    const std::uint64_t last = header_.data_start + tensor.end;
    const std::uint64_t from = std::max(first, offset);
    const std::uint64_t to = std::min(last, end);
    if (from < to) {
      scan(tensor, from - first,
           chunk.subspan(static_cast<std::size_t>(from - offset),
                         static_cast<std::size_t>(to - from)));
    }
    if (last > end) return;
    hashes_.push_back(to_hex(hash_.finish()));
    ++current_;
  }
}

void TensorScan::finish(TensorsDigest& digest) {
  for (std::size_t i = 0; i < hashes_.size(); ++i) {
    const StoredTensor& tensor = header_.tensors[i];
    digest.add(tensor.name, dtype_name(tensor.dtype), tensor.shape, hashes_[i]);
  }
}

}  // namespace ratchet::trainer
