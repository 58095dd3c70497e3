#include "controlplane/webhooks/signing.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace ratchet::control {

namespace {

constexpr std::size_t kLeastKey = 24;
constexpr std::size_t kMostKey = 64;
constexpr std::size_t kNewKey = 32;
constexpr std::size_t kMostEncoded = 88;  // of kMostKey bytes
constexpr std::string_view kVersion = "v1,";

Error invalid(const std::string& message) { return {Code::kInvalidArgument, message}; }

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

std::string signed_text(std::string_view id, std::string_view timestamp, std::string_view body) {
  std::string out(id);
  return out.append(".").append(timestamp).append(".").append(body);
}

std::string hmac_sha256(std::string_view key, std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes_of(text), text.size(),
       digest.data(), &size);
  return {reinterpret_cast<const char*>(digest.data()), size};
}

}  // namespace

std::string base64_encode(std::string_view bytes) {
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes_of(bytes),
                                   static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(size));
  return out;
}

bool base64_decode(std::string_view text, std::string& out) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.size() % 4 != 0 || text.size() > 1 << 20) return false;
  std::size_t padding = 0;
  while (padding < 2 && text.ends_with('=')) {
    text.remove_suffix(1);
    ++padding;
  }
  if (text.find_first_not_of(kAlphabet) != std::string_view::npos) return false;
  std::string padded(text);
  padded.append(padding, '=');
  out.assign(padded.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes_of(padded),
                                   static_cast<int>(padded.size()));
  if (size < 0) return false;
  out.resize(static_cast<std::size_t>(size) - (padded.empty() ? 0 : padding));
  return true;
}

Result<std::string> make_webhook_secret() {
  std::string key(kNewKey, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(key.data()), static_cast<int>(key.size())) != 1) {
    return Error{Code::kUnavailable, "The system gives no random bytes for a webhook secret."};
  }
  return std::string(kWebhookSecretPrefix) + base64_encode(key);
}

Result<std::string> webhook_key(std::string_view secret) {
  const Error unusable = invalid(
      "A webhook secret is \"whsec_\" and the base64 of 24 to 64 bytes. Let the control plane make "
      "one, or write one of that form.");
  if (!secret.starts_with(kWebhookSecretPrefix)) return unusable;
  secret.remove_prefix(kWebhookSecretPrefix.size());
  std::string key;
  if (secret.size() > kMostEncoded || !base64_decode(secret, key)) return unusable;
  if (key.size() < kLeastKey || key.size() > kMostKey) return unusable;
  return key;
}

Result<std::string> webhook_signature(std::string_view id, std::chrono::seconds timestamp,
                                      std::string_view body, std::span<const std::string> secrets) {
  if (id.empty() || id.find('.') != std::string_view::npos) {
    return invalid("A webhook id must not be empty and must hold no full stop.");
  }
  if (secrets.empty()) return invalid("The webhook has no secret to sign with.");
  const std::string text = signed_text(id, std::to_string(timestamp.count()), body);
  std::string out;
  for (const std::string& secret : secrets) {
    const auto key = webhook_key(secret);
    if (!key) return key.error();
    if (!out.empty()) out += ' ';
    out.append(kVersion).append(base64_encode(hmac_sha256(*key, text)));
  }
  return out;
}

Status verify_webhook(std::string_view id, std::string_view timestamp, std::string_view signatures,
                      std::string_view body, std::string_view secret, std::chrono::seconds now,
                      std::chrono::seconds tolerance) {
  std::int64_t seconds = 0;
  const auto [end, fault] = std::from_chars(timestamp.begin(), timestamp.end(), seconds);
  if (fault != std::errc() || end != timestamp.end()) return invalid("The timestamp is no number.");
  if (seconds < (now - tolerance).count() || seconds > (now + tolerance).count()) {
    return invalid("The timestamp is too far from now.");
  }
  const auto key = webhook_key(secret);
  if (!key) return key.error();
  std::string expected(kVersion);
  expected += base64_encode(hmac_sha256(*key, signed_text(id, timestamp, body)));
  bool fits = false;
  while (!signatures.empty()) {
    const std::size_t space = std::min(signatures.find(' '), signatures.size());
    const std::string_view one = signatures.substr(0, space);
    signatures.remove_prefix(std::min(space + 1, signatures.size()));
    fits |= one.size() == expected.size() &&
            CRYPTO_memcmp(one.data(), expected.data(), one.size()) == 0;
  }
  if (!fits) return invalid("No signature fits the secret.");
  return ok();
}

}  // namespace ratchet::control
