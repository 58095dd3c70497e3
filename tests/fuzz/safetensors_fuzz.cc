// Arbitrary bytes as a safetensors file: never a crash, and what parses is safe to read (its
// tensors tile the data exactly) and survives being written and parsed again.

#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>

#include "trainer/model/safetensors.h"

namespace {

using ratchet::trainer::SafetensorsHeader;
using ratchet::trainer::StoredTensor;
using ratchet::trainer::TensorSpec;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_ranges(const SafetensorsHeader& header, std::uint64_t file_bytes) {
  std::uint64_t at = 0;
  for (const StoredTensor& tensor : header.tensors) {
    require(tensor.begin == at && tensor.end >= tensor.begin);
    require(header.find(tensor.name) == &tensor);
    std::uint64_t bytes = ratchet::trainer::dtype_size(tensor.dtype);
    for (const std::int64_t dimension : tensor.shape) {
      bytes *= static_cast<std::uint64_t>(dimension);
    }
    require(bytes == tensor.bytes());
    at = tensor.end;
  }
  require(header.data_start + at == file_bytes);
}

void check_round_trip(const SafetensorsHeader& header) {
  ratchet::trainer::SafetensorsLayoutOptions options;
  options.order = ratchet::trainer::TensorOrder::kAsGiven;
  options.metadata = header.metadata;
  const std::vector<TensorSpec> specs(header.tensors.begin(), header.tensors.end());
  const auto layout = ratchet::trainer::layout_safetensors(specs, options);
  // The one thing that the reader takes and the writer does not is an empty name.
  if (!layout) {
    require(header.find("") != nullptr);
    return;
  }
  const auto again = ratchet::trainer::parse_safetensors_header(
      std::as_bytes(std::span(layout->prefix)), layout->header.file_bytes);
  require(again.has_value() && again->metadata == header.metadata);
  require(again->tensors.size() == header.tensors.size());
  for (const StoredTensor& tensor : header.tensors) {
    const StoredTensor* other = again->find(tensor.name);
    require(other != nullptr && other->shape == tensor.shape && other->dtype == tensor.dtype);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto header = ratchet::trainer::parse_safetensors_header(bytes, size);
  if (!header) {
    require(!header.error().message.empty());
    return 0;
  }
  check_ranges(*header, size);
  check_round_trip(*header);
  return 0;
}
