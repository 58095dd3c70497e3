#include "trainer/model/safetensors.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <utility>

#include "trainer/model/file_io.h"

namespace ratchet::trainer {

namespace {

constexpr std::string_view kMetadataKey = "__metadata__";
constexpr std::size_t kMaxQuoted = 120;  // a hostile name must not fill the terminal

Error corrupt(std::string message) { return Error{Code::kCorrupt, std::move(message)}; }

std::string quote_name(std::string_view name) {
  if (name.size() <= kMaxQuoted) return cat("'", name, "'");
  return cat("'", name.substr(0, kMaxQuoted), "...' (", name.size(), " bytes)");
}

// What one entry of the header said, before the cross checks.
struct RawEntry {
  std::string name;
  std::optional<std::string> dtype;
  std::optional<std::vector<std::uint64_t>> shape;
  std::optional<std::vector<std::uint64_t>> offsets;
};

// Consumes the header's JSON events. The grammar has four fixed levels, so a small state is all
// that hostile nesting can reach; entries go straight into a vector, which keeps a 100 MB header
// at a few times its size.
class HeaderSax {
 public:
  std::vector<RawEntry> entries;
  std::map<std::string, std::string> metadata;
  std::string fault;

  bool null() { return wrong("null"); }
  bool boolean(bool /*value*/) { return wrong("a boolean"); }
  bool number_integer(std::int64_t /*value*/) { return wrong("a negative number"); }
  bool number_float(double /*value*/, const std::string& /*text*/) {
    return wrong("a number that is not a whole number of 64 bits");
  }
  bool binary(std::vector<std::uint8_t>& /*value*/) { return wrong("binary data"); }

  bool number_unsigned(std::uint64_t value) {
    if (level_ != Level::kArray) return wrong("a number");
    array_->push_back(value);
    return true;
  }

  bool string(std::string& value) {
    if (level_ == Level::kMetadata) {
      metadata[key_] = std::move(value);
      return true;
    }
    if (level_ == Level::kEntry && key_ == "dtype") {
      entries.back().dtype = std::move(value);
      return true;
    }
    return wrong("text");
  }

  bool start_object(std::size_t /*size*/) {
    if (level_ == Level::kStart) {
      level_ = Level::kTop;
      return true;
    }
    if (level_ != Level::kTop) return wrong("an object");
    if (key_ == kMetadataKey) {
      level_ = Level::kMetadata;
      return true;
    }
    entries.push_back(RawEntry{.name = std::move(key_), .dtype = {}, .shape = {}, .offsets = {}});
    level_ = Level::kEntry;
    return true;
  }

  bool end_object() {
    if (level_ == Level::kEntry && !complete(entries.back())) return false;
    level_ = level_ == Level::kTop ? Level::kEnd : Level::kTop;
    return true;
  }

  bool key(std::string& name) {
    key_ = std::move(name);
    if (level_ == Level::kTop && key_ == kMetadataKey && std::exchange(metadata_seen_, true)) {
      return fail("InvalidHeaderDeserialization: the key '__metadata__' stands twice.");
    }
    if (level_ == Level::kMetadata && metadata.contains(key_)) {
      return fail(cat("InvalidHeaderDeserialization: the key ", quote_name(key_),
                      " stands twice in __metadata__."));
    }
    if (level_ == Level::kEntry) return entry_key();
    return true;
  }

  bool start_array(std::size_t /*size*/) {
    if (level_ != Level::kEntry || key_ == "dtype") return wrong("a list");
    RawEntry& entry = entries.back();
    std::optional<std::vector<std::uint64_t>>& slot = key_ == "shape" ? entry.shape : entry.offsets;
    array_ = &slot.emplace();
    level_ = Level::kArray;
    return true;
  }

  bool end_array() {
    level_ = Level::kEntry;
    return true;
  }

  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::json::exception& error) {
    // nlohmann's text carries its own error id; its reason starts after the last ": ".
    const std::string_view what = error.what();
    const std::size_t colon = what.rfind(": ");
    return fail(cat("InvalidHeaderDeserialization: the header is not JSON near its byte ", position,
                    colon == std::string_view::npos ? "" : ": ",
                    colon == std::string_view::npos ? "" : what.substr(colon + 2), "."));
  }

 private:
  enum class Level { kStart, kTop, kMetadata, kEntry, kArray, kEnd };

  bool fail(std::string message) {
    if (fault.empty()) fault = std::move(message);
    return false;
  }

  bool wrong(std::string_view found) {
    if (level_ == Level::kTop) {
      return fail(cat("InvalidHeaderDeserialization: ", quote_name(key_), " is ", found,
                      "; an object was expected."));
    }
    if (level_ == Level::kMetadata) {
      return fail(cat("InvalidHeaderDeserialization: __metadata__ has ", found, " under ",
                      quote_name(key_), "; it maps text to text."));
    }
    if (level_ == Level::kEntry || level_ == Level::kArray) {
      return fail(cat("InvalidHeaderDeserialization: tensor ", quote_name(entries.back().name),
                      " has ", found, " in '", key_, "'."));
    }
    return fail(
        cat("InvalidHeaderDeserialization: the header is ", found, "; an object was expected."));
  }

  bool entry_key() {
    RawEntry& entry = entries.back();
    const bool twice = (key_ == "dtype" && entry.dtype) || (key_ == "shape" && entry.shape) ||
                       (key_ == "data_offsets" && entry.offsets);
    if (twice) {
      return fail(cat("InvalidHeaderDeserialization: tensor ", quote_name(entry.name),
                      " has the key '", key_, "' twice."));
    }
    if (key_ != "dtype" && key_ != "shape" && key_ != "data_offsets") {
      return fail(cat("InvalidHeaderDeserialization: tensor ", quote_name(entry.name),
                      " has the key ", quote_name(key_),
                      "; the format has dtype, shape and data_offsets."));
    }
    return true;
  }

  bool complete(const RawEntry& entry) {
    if (entry.dtype && entry.shape && entry.offsets) return true;
    const char* missing = !entry.dtype ? "dtype" : !entry.shape ? "shape" : "data_offsets";
    return fail(cat("InvalidHeaderDeserialization: tensor ", quote_name(entry.name),
                    " lacks the key '", missing, "'."));
  }

  Level level_ = Level::kStart;
  std::string key_;
  bool metadata_seen_ = false;
  std::vector<std::uint64_t>* array_ = nullptr;
};

// Checks one entry by itself: known dtype, two offsets in order, size = product(shape) x dtype.
Result<StoredTensor> check_entry(RawEntry&& entry) {
  StoredTensor tensor;
  const std::optional<DType> dtype = dtype_from_name(*entry.dtype);
  if (!dtype) {
    return corrupt(cat("InvalidHeaderDeserialization: tensor ", quote_name(entry.name),
                       " has the unknown dtype ", quote_name(*entry.dtype), "."));
  }
  if (entry.offsets->size() != 2) {
    return corrupt(cat("InvalidHeaderDeserialization: tensor ", quote_name(entry.name), " has ",
                       entry.offsets->size(), " data_offsets; two are needed."));
  }
  std::uint64_t bytes = dtype_size(*dtype);
  for (const std::uint64_t dimension : *entry.shape) {
    if (dimension > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) ||
        __builtin_mul_overflow(bytes, dimension, &bytes)) {
      return corrupt(cat("ValidationOverflow: the size of tensor ", quote_name(entry.name),
                         " does not fit 64 bits."));
    }
    tensor.shape.push_back(static_cast<std::int64_t>(dimension));
  }
  tensor.dtype = *dtype;
  tensor.begin = (*entry.offsets)[0];
  tensor.end = (*entry.offsets)[1];
  if (tensor.end < tensor.begin) {
    return corrupt(cat("InvalidOffset: tensor ", quote_name(entry.name), " ends at ", tensor.end,
                       ", before it begins at ", tensor.begin, "."));
  }
  if (tensor.bytes() != bytes) {
    return corrupt(cat("TensorInvalidInfo: tensor ", quote_name(entry.name), " of shape ",
                       shape_text(tensor.shape), " and dtype ", dtype_name(*dtype), " needs ",
                       bytes, " bytes; its data_offsets span ", tensor.bytes(), "."));
  }
  tensor.name = std::move(entry.name);
  return tensor;
}

// The ranges, in order, must cover [0, data_bytes) exactly once.
Status check_tiling(const std::vector<StoredTensor>& tensors, std::uint64_t data_bytes) {
  std::uint64_t at = 0;
  for (const StoredTensor& tensor : tensors) {
    if (tensor.begin != at) {
      return corrupt(cat("InvalidOffset: tensor ", quote_name(tensor.name), " begins at byte ",
                         tensor.begin, " of the data; ", at, " was expected, so there is ",
                         tensor.begin > at ? "a hole." : "an overlap."));
    }
    at = tensor.end;
  }
  if (at != data_bytes) {
    return corrupt(cat("MetadataIncompleteBuffer: the tensors take ", at, " bytes, the file has ",
                       data_bytes, " after its header: it is ",
                       at > data_bytes ? "cut short." : "followed by bytes of nothing."));
  }
  return ok();
}

Status index_by_name(SafetensorsHeader& header) {
  header.by_name.resize(header.tensors.size());
  std::iota(header.by_name.begin(), header.by_name.end(), 0U);
  const auto name = [&](std::uint32_t i) -> const std::string& { return header.tensors[i].name; };
  std::sort(header.by_name.begin(), header.by_name.end(),
            [&](std::uint32_t a, std::uint32_t b) { return name(a) < name(b); });
  const auto twice =
      std::adjacent_find(header.by_name.begin(), header.by_name.end(),
                         [&](std::uint32_t a, std::uint32_t b) { return name(a) == name(b); });
  if (twice != header.by_name.end()) {
    return corrupt(cat("InvalidHeaderDeserialization: the tensor ", quote_name(name(*twice)),
                       " stands twice."));
  }
  return ok();
}

Status check_text(std::string_view text) {
  if (text.empty() || text.front() != '{') {
    return corrupt("InvalidHeaderStart: the header does not start with '{'.");
  }
  // The JSON reader takes a NUL for the end of its input and would leave the rest unseen.
  const auto control = std::find_if(text.begin(), text.end(), [](char c) {
    const auto u = static_cast<unsigned char>(c);
    return u < 0x20 && c != '\t' && c != '\n' && c != '\r';
  });
  if (control != text.end()) {
    return corrupt(cat("InvalidHeader: byte ", control - text.begin(),
                       " of the header is a control character."));
  }
  return ok();
}

std::uint64_t load_length(std::span<const std::byte> prefix) {
  std::uint64_t length = 0;
  for (std::size_t i = 8; i-- > 0;) {
    length = (length << 8) | std::to_integer<std::uint64_t>(prefix[i]);
  }
  return length;
}

}  // namespace

std::int64_t StoredTensor::element_count() const {
  return static_cast<std::int64_t>(bytes() / dtype_size(dtype));
}

std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += cat(i == 0 ? "" : ", ", shape[i]);
  }
  return text + "]";
}

const StoredTensor* SafetensorsHeader::find(std::string_view name) const {
  const auto at = std::lower_bound(
      by_name.begin(), by_name.end(), name,
      [&](std::uint32_t i, std::string_view wanted) { return tensors[i].name < wanted; });
  if (at == by_name.end() || tensors[*at].name != name) return nullptr;
  return &tensors[*at];
}

Result<std::uint64_t> parse_safetensors_header_length(std::span<const std::byte> prefix,
                                                      std::uint64_t file_bytes) {
  if (file_bytes < 8 || prefix.size() < 8) {
    return corrupt(cat("HeaderTooSmall: the file has ", file_bytes,
                       " bytes; a safetensors file starts with 8 bytes of header length."));
  }
  const std::uint64_t length = load_length(prefix);
  if (length > kSafetensorsMaxHeaderBytes) {
    return corrupt(cat("HeaderTooLarge: the first 8 bytes say that the header has ", length,
                       " bytes; at most ", kSafetensorsMaxHeaderBytes,
                       " are allowed. Is this a safetensors file?"));
  }
  if (length > file_bytes - 8) {
    return corrupt(cat("InvalidHeaderLength: the header should have ", length,
                       " bytes, the file ends after ", file_bytes - 8, " of them."));
  }
  return length;
}

Result<SafetensorsHeader> parse_safetensors_header(std::span<const std::byte> head,
                                                   std::uint64_t file_bytes) {
  const Result<std::uint64_t> length = parse_safetensors_header_length(head, file_bytes);
  if (!length) return length.error();
  if (head.size() - 8 < *length) {
    return Error{Code::kInternal, "The safetensors header was handed over incompletely."};
  }
  const std::string_view text(reinterpret_cast<const char*>(head.data()) + 8, *length);
  if (Status checked = check_text(text); !checked) return checked.error();

  HeaderSax sax;
  const bool parsed = nlohmann::json::sax_parse(text.begin(), text.end(), &sax);
  if (!parsed) return corrupt(std::move(sax.fault));

  SafetensorsHeader header;
  header.metadata = std::move(sax.metadata);
  header.data_start = 8 + *length;
  header.file_bytes = file_bytes;
  header.tensors.reserve(sax.entries.size());
  for (RawEntry& entry : sax.entries) {
    Result<StoredTensor> tensor = check_entry(std::move(entry));
    if (!tensor) return tensor.error();
    header.tensors.push_back(std::move(*tensor));
  }
  std::sort(header.tensors.begin(), header.tensors.end(),
            [](const StoredTensor& a, const StoredTensor& b) {
              return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
            });
  if (Status indexed = index_by_name(header); !indexed) return indexed.error();
  if (Status tiled = check_tiling(header.tensors, file_bytes - header.data_start); !tiled) {
    return tiled.error();
  }
  return header;
}

}  // namespace ratchet::trainer
