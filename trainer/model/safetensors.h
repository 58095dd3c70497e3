#pragma once

// The safetensors format, pure half: header bytes to tensor table and back. No file is touched.
//
//   u64 little-endian N | N bytes of UTF-8 JSON, space-padded | tensor data
//
// Every rule is checked here, so that a table that parsed can be read without further checks:
// N <= 100,000,000 and 8 + N <= file size; the header starts with '{' and is UTF-8 JSON; no name
// and no key twice; each entry has exactly dtype, shape and data_offsets; shape and size products
// do not overflow; ranges tile the data section from 0 to the end of the file without a hole or
// an overlap; __metadata__ maps text to text.

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "trainer/model/dtype.h"

namespace ratchet::trainer {

inline constexpr std::uint64_t kSafetensorsMaxHeaderBytes = 100'000'000;

// What a tensor is, without where it lies.
struct TensorSpec {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;  // row-major; empty for a scalar; zero dimensions are legal
};

// A tensor's place: [begin, end) in bytes, relative to the start of the data section.
struct StoredTensor : TensorSpec {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;

  [[nodiscard]] std::uint64_t bytes() const { return end - begin; }
  [[nodiscard]] std::int64_t element_count() const;
};

// "[32000, 4096]"
std::string shape_text(std::span<const std::int64_t> shape);

struct SafetensorsHeader {
  std::vector<StoredTensor> tensors;  // in the order of the data
  std::map<std::string, std::string> metadata;
  std::uint64_t data_start = 0;  // offset of the data section in the file: 8 + N
  std::uint64_t file_bytes = 0;

  // The tensor of that name, or null. Logarithmic.
  [[nodiscard]] const StoredTensor* find(std::string_view name) const;

  std::vector<std::uint32_t> by_name;  // indices into `tensors`, sorted by name
};

// Reads N from the first bytes of a file of `file_bytes` bytes and checks it; `prefix` holds at
// least min(8, file_bytes) bytes of the file.
Result<std::uint64_t> parse_safetensors_header_length(std::span<const std::byte> prefix,
                                                      std::uint64_t file_bytes);

// Parses the whole header. `head` holds at least the first 8 + N bytes of a file of `file_bytes`
// bytes. Errors are kCorrupt; messages start with the rule's name in the reference reader
// (HeaderTooSmall, InvalidOffset, ...) and do not name the file.
Result<SafetensorsHeader> parse_safetensors_header(std::span<const std::byte> head,
                                                   std::uint64_t file_bytes);

enum class TensorOrder {
  kReference,  // wider dtypes first, then by name: what the reference writer does
  kAsGiven,
};

struct SafetensorsLayoutOptions {
  TensorOrder order = TensorOrder::kReference;
  std::uint64_t data_alignment = 8;  // the data section starts at a multiple of this; power of two
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
};

// A file to be written: its first bytes, and where each tensor goes.
struct SafetensorsLayout {
  std::string prefix;  // length field, header, padding: the file's first data_start bytes
  SafetensorsHeader header;
};

// Lays out a file of these tensors. A name given twice, an empty or reserved name, a negative or
// overflowing shape is kInvalidArgument.
Result<SafetensorsLayout> layout_safetensors(std::vector<TensorSpec> tensors,
                                             const SafetensorsLayoutOptions& options = {});

}  // namespace ratchet::trainer
