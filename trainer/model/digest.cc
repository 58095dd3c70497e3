#include "trainer/model/digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "trainer/model/file_io.h"

namespace ratchet::trainer {

namespace {

constexpr std::size_t kReadBytes = std::size_t{4} << 20;

// OpenSSL's digest calls fail only when memory or the provider is gone; neither can be handled.
void check_evp(int result) {
  if (result == 1) return;
  std::fprintf(stderr, "OpenSSL could not compute SHA-256\n");
  std::abort();
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Xxh128Digest canonical(XXH128_hash_t hash) {
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, hash);
  return std::bit_cast<Xxh128Digest>(bytes);
}

}  // namespace

struct Sha256::State {
  struct Free {
    void operator()(EVP_MD_CTX* held) const { EVP_MD_CTX_free(held); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context{EVP_MD_CTX_new()};

  State() { start(); }
  void start() const { check_evp(EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr)); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> bytes) {
  check_evp(EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()));
}

void Sha256::update(std::string_view text) { update(std::as_bytes(std::span(text))); }

Sha256Digest Sha256::finish() {
  Sha256Digest digest{};
  check_evp(EVP_DigestFinal_ex(state_->context.get(),
                               reinterpret_cast<unsigned char*>(digest.data()), nullptr));
  state_->start();
  return digest;
}

struct Xxh3::State {
  XXH3_state_t xxh;
  State() { XXH3_128bits_reset(&xxh); }
};

Xxh3::Xxh3() : state_(std::make_unique<State>()) {}
Xxh3::~Xxh3() = default;
Xxh3::Xxh3(Xxh3&&) noexcept = default;
Xxh3& Xxh3::operator=(Xxh3&&) noexcept = default;

void Xxh3::update(std::span<const std::byte> bytes) {
  if (!bytes.empty()) XXH3_128bits_update(&state_->xxh, bytes.data(), bytes.size());
}

Xxh128Digest Xxh3::finish() {
  const Xxh128Digest digest = canonical(XXH3_128bits_digest(&state_->xxh));
  XXH3_128bits_reset(&state_->xxh);
  return digest;
}

Sha256Digest sha256(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

Sha256Digest sha256(std::string_view text) { return sha256(std::as_bytes(std::span(text))); }

Xxh128Digest xxh3_128(std::span<const std::byte> bytes) {
  return canonical(XXH3_128bits(bytes.data(), bytes.size()));
}

std::uint64_t xxh3_64(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::string to_hex(std::span<const std::byte> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * bytes.size());
  for (const std::byte byte : bytes) {
    hex.push_back(kDigits[std::to_integer<std::size_t>(byte >> 4)]);
    hex.push_back(kDigits[std::to_integer<std::size_t>(byte & std::byte{15})]);
  }
  return hex;
}

std::optional<std::string> from_hex(std::string_view hex) {
  if (hex.size() % 2 != 0) return std::nullopt;
  std::string bytes(hex.size() / 2, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const int high = hex_value(hex[2 * i]);
    const int low = hex_value(hex[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    bytes[i] = static_cast<char>(16 * high + low);
  }
  return bytes;
}

Result<FileDigest> digest_file(const std::filesystem::path& path, const DigestProgress& progress) {
  const Result<Fd> fd = open_for_read(path);
  if (!fd) return fd.error();
  const Result<std::uint64_t> total = file_size(*fd, path);
  if (!total) return total.error();

  Sha256 sha;
  Xxh3 xxh;
  std::vector<std::byte> buffer(std::min<std::uint64_t>(*total, kReadBytes));
  for (std::uint64_t done = 0; done < *total;) {
    const std::span<std::byte> piece =
        std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), *total - done));
    if (Status read = read_at(*fd, path, done, piece); !read) return read.error();
    sha.update(std::span<const std::byte>(piece));
    xxh.update(piece);
    done += piece.size();
    if (progress && !progress(done, *total)) {
      return Error{Code::kFailedPrecondition,
                   cat("Digesting '", path.string(), "' was stopped at byte ", done, ".")};
    }
  }
  return FileDigest{
      .bytes = *total, .sha256 = to_hex(sha.finish()), .xxh3_128 = to_hex(xxh.finish())};
}

}  // namespace ratchet::trainer
