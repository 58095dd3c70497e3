#include "trainer/hf/files.h"

#include <openssl/evp.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>

namespace ratchet::trainer {

Result<std::string> read_small_file(const std::filesystem::path& path, size_t max_bytes) {
  std::error_code code;
  const auto status = std::filesystem::status(path, code);
  if (status.type() == std::filesystem::file_type::not_found) {
    return Error{Code::kNotFound, "There is no file '" + path.string() + "'."};
  }
  if (!std::filesystem::is_regular_file(status)) {
    return Error{Code::kIo, "'" + path.string() + "' is not a regular file."};
  }
  std::ifstream file(path, std::ios::binary);
  const auto size = std::filesystem::file_size(path, code);
  if (!file || code) {
    return Error{Code::kIo,
                 "Could not open '" + path.string() + "': " + std::strerror(errno) + "."};
  }
  if (size > max_bytes) {
    return Error{Code::kCorrupt, "'" + path.string() + "' has " + std::to_string(size) +
                                     " bytes; at most " + std::to_string(max_bytes) +
                                     " are expected of such a file."};
  }
  std::string bytes(size, '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(size));
  if (static_cast<size_t>(file.gcount()) != bytes.size()) {
    return Error{Code::kIo, "'" + path.string() + "' ended while it was read."};
  }
  return bytes;
}

std::string sha256_hex(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) {
    hex += kDigits[digest[i] >> 4];
    hex += kDigits[digest[i] & 15];
  }
  return hex;
}

}  // namespace ratchet::trainer
