#include "controlplane/store/secret_box.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <memory>
#include <vector>

namespace ratchet::control {

namespace {

constexpr std::size_t kNonce = 12;
constexpr std::size_t kTag = 16;

using Context = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

const unsigned char* bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* bytes(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }

Error crypto_error() { return Error{Code::kInternal, "OpenSSL refused to encrypt a secret."}; }

}  // namespace

SecretBox::~SecretBox() { OPENSSL_cleanse(key_.data(), key_.size()); }

Result<std::string> SecretBox::seal(std::string_view secret, std::string_view context) const {
  std::string box(kNonce + secret.size() + kTag, '\0');
  if (RAND_bytes(bytes(box), kNonce) != 1) return crypto_error();
  const Context cipher(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  int length = 0;
  unsigned char* out = bytes(box) + kNonce;
  const bool sealed =
      cipher &&
      EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key_.data(), bytes(box)) == 1 &&
      EVP_EncryptUpdate(cipher.get(), nullptr, &length, bytes(context),
                        static_cast<int>(context.size())) == 1 &&
      EVP_EncryptUpdate(cipher.get(), out, &length, bytes(secret),
                        static_cast<int>(secret.size())) == 1 &&
      EVP_EncryptFinal_ex(cipher.get(), out + length, &length) == 1 &&
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTag, out + secret.size()) == 1;
  if (!sealed) return crypto_error();
  return box;
}

Result<std::string> SecretBox::open(std::string_view box, std::string_view context) const {
  const Error refused{Code::kCorrupt,
                      "A stored secret does not open with store.key: the key file or the database "
                      "was replaced. Restore both from the same backup, or rotate the secret."};
  if (box.size() < kNonce + kTag) return refused;
  const std::size_t size = box.size() - kNonce - kTag;
  std::string secret(size, '\0');
  std::string tag(box.substr(kNonce + size));
  const Context cipher(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  int length = 0;
  const bool opened =
      cipher &&
      EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key_.data(), bytes(box)) == 1 &&
      EVP_DecryptUpdate(cipher.get(), nullptr, &length, bytes(context),
                        static_cast<int>(context.size())) == 1 &&
      EVP_DecryptUpdate(cipher.get(), bytes(secret), &length, bytes(box) + kNonce,
                        static_cast<int>(size)) == 1 &&
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTag, tag.data()) == 1 &&
      EVP_DecryptFinal_ex(cipher.get(), bytes(secret) + length, &length) == 1;
  if (!opened) return refused;
  return secret;
}

Result<std::string> random_hex(std::size_t count) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::vector<unsigned char> random(count);
  if (RAND_bytes(random.data(), static_cast<int>(count)) != 1) {
    return Error{Code::kInternal, "OpenSSL gave no random bytes."};
  }
  std::string hex;
  for (const unsigned char byte : random) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

}  // namespace ratchet::control
