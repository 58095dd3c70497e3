#include "controlplane/artifacts/sha256.h"

#include <openssl/evp.h>

#include <array>
#include <cstdlib>

namespace ratchet::control {

namespace {

// These calls only fail when memory has run out.
void expect(int result) {
  if (result != 1) std::abort();
}

}  // namespace

void Sha256::Deleter::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  expect(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr));
}

Sha256::~Sha256() = default;

Sha256::Sha256(const Sha256& other) : context_(EVP_MD_CTX_new()) {
  expect(EVP_MD_CTX_copy_ex(context_.get(), other.context_.get()));
}

void Sha256::add(std::span<const std::byte> bytes) {
  expect(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()));
}

std::string Sha256::hex() const {
  static constexpr char kDigits[] = "0123456789abcdef";
  const Sha256 copy(*this);
  std::array<unsigned char, 32> digest{};
  expect(EVP_DigestFinal_ex(copy.context_.get(), digest.data(), nullptr));
  std::string hex;
  for (const unsigned char byte : digest) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

}  // namespace ratchet::control
