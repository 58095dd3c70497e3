#pragma once

// Where an argument lies in memory, for the rules on alignment and overlap of a launcher's
// contract. Host code; nothing is read through the pointers.

#include <cstdint>
#include <initializer_list>

namespace ratchet::kernels {

// The widest row stride that launchers take, in elements: rows x stride x 4 bytes fits 64 bits.
inline constexpr int64_t kStrideMax = int64_t{1} << 24;

// The bytes of one argument: `rows` of them, each `row_bytes` long and `stride_bytes` after the one
// before. Empty when the pointer is null or there are no rows.
class Span {
 public:
  Span(const void* p, int64_t bytes) : Span(p, 1, bytes, bytes) {}
  Span(const void* p, int64_t rows, int64_t row_bytes, int64_t stride_bytes)
      : begin_(reinterpret_cast<uintptr_t>(p)),
        row_bytes_(static_cast<uintptr_t>(row_bytes)),
        stride_(static_cast<uintptr_t>(stride_bytes)) {
    const bool empty = p == nullptr || rows <= 0 || row_bytes <= 0;
    extent_ = empty ? 0 : static_cast<uintptr_t>((rows - 1) * stride_bytes + row_bytes);
  }

  [[nodiscard]] bool aligned() const { return begin_ % 16 == 0; }

  // Rows of equal stride may interleave, as the parts of one wider row do. With unequal strides,
  // ranges that meet count as overlapping, whether or not a byte is shared.
  [[nodiscard]] bool overlaps(const Span& other) const {
    if (begin_ > other.begin_) return other.overlaps(*this);
    if (extent_ == 0 || other.extent_ == 0 || other.begin_ - begin_ >= extent_) return false;
    if (stride_ != other.stride_) return true;
    const uintptr_t column = (other.begin_ - begin_) % stride_;
    return column < row_bytes_ || column + other.row_bytes_ > stride_;
  }

  // Overlaps, and is not the very same.
  [[nodiscard]] bool clashes(const Span& other) const {
    const bool same = begin_ == other.begin_ && extent_ == other.extent_ &&
                      row_bytes_ == other.row_bytes_ &&
                      (stride_ == other.stride_ || extent_ == row_bytes_);
    return overlaps(other) && !same;
  }

 private:
  uintptr_t begin_, row_bytes_, stride_;
  uintptr_t extent_ = 0;  // from the first byte to the last
};

// Row strides, in elements, of rows that are `width` wide and read 16 bytes at a time.
inline bool strides_are_supported(std::initializer_list<int64_t> strides, int64_t width) {
  for (const int64_t stride : strides) {
    if (stride < width || stride > kStrideMax || stride % 8 != 0) return false;
  }
  return true;
}

inline bool any_null(std::initializer_list<const void*> pointers) {
  for (const void* p : pointers) {
    if (p == nullptr) return true;
  }
  return false;
}

}  // namespace ratchet::kernels
