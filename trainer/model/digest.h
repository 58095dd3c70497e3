#pragma once

// Content digests. SHA-256 names content (identity of files, manifests, data sets); XXH3 finds
// flipped bits fast. Neither object is thread-safe; free functions are.

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "proto/result.h"

namespace ratchet::trainer {

using Sha256Digest = std::array<std::byte, 32>;
using Xxh128Digest = std::array<std::byte, 16>;  // canonical (big-endian) byte order

// Streaming SHA-256. Move-only. After finish() the object starts a new digest.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  Sha256Digest finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Streaming XXH3-128 with seed 0. Move-only. After finish() the object starts a new digest.
class Xxh3 {
 public:
  Xxh3();
  ~Xxh3();
  Xxh3(Xxh3&&) noexcept;
  Xxh3& operator=(Xxh3&&) noexcept;

  void update(std::span<const std::byte> bytes);
  Xxh128Digest finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// One-shot digests of bytes in memory.
Sha256Digest sha256(std::span<const std::byte> bytes);
Sha256Digest sha256(std::string_view text);
Xxh128Digest xxh3_128(std::span<const std::byte> bytes);
std::uint64_t xxh3_64(std::span<const std::byte> bytes);

// Lower-case hexadecimal; two characters a byte.
std::string to_hex(std::span<const std::byte> bytes);

// Bytes of an even-length hexadecimal text of either case; empty optional when it is not one.
std::optional<std::string> from_hex(std::string_view hex);

// Called with (bytes digested so far, bytes in all). Return false to stop.
using DigestProgress = std::function<bool(std::uint64_t done, std::uint64_t total)>;

struct FileDigest {
  std::uint64_t bytes = 0;
  std::string sha256;    // hex
  std::string xxh3_128;  // hex
};

// Reads the file once, in 4 MiB pieces. A progress callback that returns false ends in
// kFailedPrecondition.
Result<FileDigest> digest_file(const std::filesystem::path& path,
                               const DigestProgress& progress = {});

}  // namespace ratchet::trainer
