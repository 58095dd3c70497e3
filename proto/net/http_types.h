#pragma once

// What HTTP client and server share. Values.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ratchet::net {

enum class Method { kGet, kHead, kPost, kPut, kPatch, kDelete, kOptions };
std::string_view method_name(Method method);  // "GET"
std::optional<Method> method_from(std::string_view name);

// Header fields in the order they came; names are compared without case.
class Headers {
 public:
  struct Field {
    std::string name;
    std::string value;
  };

  // Replaces all fields of that name. Name and value must hold no line break: what does is left
  // out, so that no text of a peer can start a field of its own.
  void set(std::string_view name, std::string_view value);
  void add(std::string_view name, std::string_view value);
  void remove(std::string_view name);
  // Value of the first field of that name; empty when there is none.
  [[nodiscard]] std::string_view get(std::string_view name) const;
  [[nodiscard]] bool has(std::string_view name) const;
  [[nodiscard]] const std::vector<Field>& fields() const { return fields_; }

 private:
  std::vector<Field> fields_;
};

bool equal_without_case(std::string_view a, std::string_view b);
std::string_view status_reason(int status);  // "Not Found"; empty when not known

// Token of "Authorization: Bearer <token>"; empty when there is none.
std::string_view bearer_token(const Headers& headers);

struct ByteRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool operator==(const ByteRange&) const = default;
};

// What a Range header asks of a file of `size` bytes (RFC 9110, 14.2).
struct RangeAnswer {
  enum class Kind { kWhole, kPart, kUnsatisfiable };  // statuses 200, 206, 416
  Kind kind = Kind::kWhole;
  ByteRange range;
};
// One range only; several, and what is not understood, are answered by the whole.
RangeAnswer parse_range(std::string_view header, std::uint64_t size);
std::string content_range(ByteRange range, std::uint64_t size);  // "bytes 0-99/1000"

// Bytes of an open file. The descriptor is borrowed.
struct FileRange {
  int fd = -1;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

}  // namespace ratchet::net
