#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "trainer/model/file_io.h"
#include "trainer/model/inspect.h"

namespace ratchet::trainer {

namespace {

using OrderedJson = nlohmann::ordered_json;

// "1.23 GB", decimal units; exact below 1000.
std::string size_text(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "kB", "MB", "GB", "TB"};
  if (bytes < 1000) return cat(bytes, " B");
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1000.0 && unit + 1 < kUnits.size()) {
    value /= 1000.0;
    ++unit;
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.2f %s", value, kUnits[unit]);
  return text.data();
}

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

// Names come from the file: control characters must not reach the terminal.
std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(),
      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  return text;
}

std::string tensor_table(const Inspection& inspection) {
  std::size_t name_width = 6;
  std::size_t shape_width = 5;
  for (const InspectedTensor& row : inspection.tensors) {
    name_width = std::max(name_width, row.tensor.name.size());
    shape_width = std::max(shape_width, shape_text(row.tensor.shape).size());
  }
  name_width = std::min<std::size_t>(name_width, 80);
  std::string text = cat("\n", padded("tensor", name_width), "  dtype    ",
                         padded("shape", shape_width), "  size\n");
  for (const InspectedTensor& row : inspection.tensors) {
    text +=
        cat(padded(printable(row.tensor.name), name_width), "  ",
            padded(dtype_name(row.tensor.dtype), 7), "  ",
            padded(shape_text(row.tensor.shape), shape_width), "  ", size_text(row.bytes), "\n");
  }
  return text;
}

}  // namespace

std::string inspection_text(const Inspection& inspection) {
  std::string text = cat(inspection.path.string(), "\n");
  const auto line = [&](const std::string& key, const std::string& value) {
    text += cat("  ", padded(printable(key), 18), " ", printable(value), "\n");
  };
  line("kind", inspect_kind_name(inspection.kind));
  line("verdict", cat(inspection.valid ? "valid: " : "NOT VALID: ", inspection.reason));
  for (const auto& [key, value] : inspection.facts) line(key, value);
  for (const std::string& note : inspection.notes) line("note", note);
  if (!inspection.tensors.empty()) {
    line("tensors", cat(inspection.tensors.size(), ", ", inspection.parameter_count(),
                        " elements, ", size_text(inspection.tensor_bytes())));
  }
  for (const InspectedFile& file : inspection.files) {
    line("file", cat(file.file, ", ", size_text(file.bytes)));
    if (file.digest) {
      line("  sha256", file.digest->sha256);
      line("  xxh3_128", file.digest->xxh3_128);
    }
  }
  if (!inspection.tensors.empty()) text += tensor_table(inspection);
  return text;
}

std::string inspection_json(const Inspection& inspection) {
  OrderedJson out;
  out["path"] = inspection.path.string();
  out["kind"] = inspect_kind_name(inspection.kind);
  out["valid"] = inspection.valid;
  out["reason"] = inspection.reason;
  out["facts"] = OrderedJson::object();
  for (const auto& [key, value] : inspection.facts) out["facts"][key] = value;
  out["notes"] = inspection.notes;
  out["tensor_count"] = inspection.tensors.size();
  out["elements"] = inspection.parameter_count();
  out["tensor_bytes"] = inspection.tensor_bytes();
  out["files"] = OrderedJson::array();
  for (const InspectedFile& file : inspection.files) {
    OrderedJson row = {{"file", file.file}, {"bytes", file.bytes}};
    if (file.digest) {
      row["sha256"] = file.digest->sha256;
      row["xxh3_128"] = file.digest->xxh3_128;
    }
    out["files"].push_back(std::move(row));
  }
  out["tensors"] = OrderedJson::array();
  for (const InspectedTensor& row : inspection.tensors) {
    out["tensors"].push_back({{"name", row.tensor.name},
                              {"dtype", dtype_name(row.tensor.dtype)},
                              {"shape", row.tensor.shape},
                              {"bytes", row.bytes},
                              {"file", row.file}});
  }
  return out.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

}  // namespace ratchet::trainer
