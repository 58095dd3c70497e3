#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <tuple>
#include <utility>

#include "trainer/model/file_io.h"
#include "trainer/model/safetensors.h"

namespace ratchet::trainer {

namespace {

Error refuse(std::string message) { return Error{Code::kInvalidArgument, std::move(message)}; }

// JSON text of a string; throws when it is not UTF-8.
std::string json_text(const std::string& text) { return nlohmann::json(text).dump(); }

Result<std::uint64_t> byte_count(const TensorSpec& tensor) {
  std::uint64_t bytes = dtype_size(tensor.dtype);
  for (const std::int64_t dimension : tensor.shape) {
    if (dimension < 0 ||
        __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(dimension), &bytes)) {
      return refuse(cat("The tensor '", tensor.name, "' cannot be stored with shape ",
                        shape_text(tensor.shape), "."));
    }
  }
  return bytes;
}

Status place(std::vector<TensorSpec>&& specs, SafetensorsHeader& header) {
  std::uint64_t at = 0;
  for (TensorSpec& spec : specs) {
    if (spec.name.empty() || spec.name == "__metadata__") {
      return refuse(cat("A tensor cannot be named '", spec.name, "' in a safetensors file."));
    }
    const Result<std::uint64_t> bytes = byte_count(spec);
    if (!bytes) return bytes.error();
    StoredTensor tensor;
    static_cast<TensorSpec&>(tensor) = std::move(spec);
    tensor.begin = at;
    if (__builtin_add_overflow(at, *bytes, &at)) return refuse("The tensors exceed 2^64 bytes.");
    tensor.end = at;
    header.tensors.push_back(std::move(tensor));
  }
  header.by_name.resize(header.tensors.size());
  std::iota(header.by_name.begin(), header.by_name.end(), 0U);
  std::sort(header.by_name.begin(), header.by_name.end(), [&](std::uint32_t a, std::uint32_t b) {
    return header.tensors[a].name < header.tensors[b].name;
  });
  for (std::size_t i = 1; i < header.by_name.size(); ++i) {
    const std::string& name = header.tensors[header.by_name[i]].name;
    if (name == header.tensors[header.by_name[i - 1]].name) {
      return refuse(cat("The tensor '", name, "' is given twice."));
    }
  }
  return ok();
}

std::string header_text(const SafetensorsHeader& header) {
  std::string text = "{";
  if (!header.metadata.empty()) {
    text += "\"__metadata__\":{";
    for (const auto& [key, value] : header.metadata) {
      text += cat(text.back() == '{' ? "" : ",", json_text(key), ":", json_text(value));
    }
    text += "}";
  }
  for (const StoredTensor& tensor : header.tensors) {
    text += cat(text.size() == 1 ? "" : ",", json_text(tensor.name), ":{\"dtype\":\"",
                dtype_name(tensor.dtype), "\",\"shape\":[");
    for (const std::int64_t dimension : tensor.shape) {
      text += cat(text.back() == '[' ? "" : ",", dimension);
    }
    text += cat("],\"data_offsets\":[", tensor.begin, ",", tensor.end, "]}");
  }
  return text + "}";
}

}  // namespace

Result<SafetensorsLayout> layout_safetensors(std::vector<TensorSpec> tensors,
                                             const SafetensorsLayoutOptions& options) {
  if (options.order == TensorOrder::kReference) {
    std::sort(tensors.begin(), tensors.end(), [](const TensorSpec& a, const TensorSpec& b) {
      return std::tie(b.dtype, a.name) < std::tie(a.dtype, b.name);
    });
  }
  SafetensorsLayout layout;
  layout.header.metadata = options.metadata;
  if (Status placed = place(std::move(tensors), layout.header); !placed) return placed.error();

  std::string text;
  try {
    text = header_text(layout.header);
  } catch (const nlohmann::json::exception&) {
    return refuse("A tensor name or a metadata text is not UTF-8; safetensors stores only UTF-8.");
  }
  const std::uint64_t alignment = std::max<std::uint64_t>(options.data_alignment, 1);
  const std::uint64_t start = (8 + text.size() + alignment - 1) / alignment * alignment;
  text.resize(start - 8, ' ');
  if (text.size() > kSafetensorsMaxHeaderBytes) {
    return refuse(cat("The header would have ", text.size(), " bytes; safetensors allows ",
                      kSafetensorsMaxHeaderBytes, "."));
  }
  for (unsigned shift = 0; shift < 64; shift += 8) {
    layout.prefix.push_back(static_cast<char>((text.size() >> shift) & 0xff));
  }
  layout.prefix += text;
  layout.header.data_start = start;
  layout.header.file_bytes =
      start + (layout.header.tensors.empty() ? 0 : layout.header.tensors.back().end);
  return layout;
}

}  // namespace ratchet::trainer
