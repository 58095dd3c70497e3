#include "trainer/cli/command.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

namespace ratchet::trainer::cli {

int fail(const Error& error) {
  std::fprintf(stderr, "error: %s\n", error.message.c_str());
  return kExitFailure;
}

bool is_colour_terminal(int fd) {
  const char* no_colour = std::getenv("NO_COLOR");
  return ::isatty(fd) == 1 && (no_colour == nullptr || *no_colour == '\0');
}

Result<std::string> read_small_file(const std::string& path, size_t max_bytes) {
  std::error_code failed;
  if (std::filesystem::is_directory(path, failed)) {
    return Error{Code::kInvalidArgument, "'" + path + "' is a folder; name a file."};
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return Error{Code::kNotFound,
                 "Cannot open '" + path + "': " + std::strerror(errno) + ". Check the path."};
  }
  std::string text;
  text.resize(max_bytes + 1);
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  const auto got = static_cast<size_t>(file.gcount());
  if (got > max_bytes) {
    return Error{Code::kInvalidArgument, "'" + path + "' is larger than " +
                                             std::to_string(max_bytes) +
                                             " bytes, which is too much for this document."};
  }
  text.resize(got);
  return text;
}

}  // namespace ratchet::trainer::cli
