#pragma once

// Signatures of webhooks: Standard Webhooks 1.0.0, symmetric scheme "v1". Pure but for
// make_webhook_secret().
//
//   webhook-id:        unique a message, the same over all retries; no full stop
//   webhook-timestamp: unix seconds of this try
//   webhook-signature: "v1,<base64>" for each secret that is valid, separated by spaces
//
// Signed are the bytes "<id>.<timestamp>.<body>" with HMAC-SHA256.

#include <chrono>
#include <span>
#include <string>
#include <string_view>

#include "proto/result.h"

namespace ratchet::control {

// "whsec_" and the base64 of 24 to 64 random bytes.
constexpr std::string_view kWebhookSecretPrefix = "whsec_";
Result<std::string> make_webhook_secret();  // 32 bytes from the system's generator

// The key of a secret. Fails when it is no whsec_ text or of another length.
Result<std::string> webhook_key(std::string_view secret);

// Fails when the id holds a full stop, there is no secret, or one is unusable.
Result<std::string> webhook_signature(std::string_view id, std::chrono::seconds timestamp,
                                      std::string_view body, std::span<const std::string> secrets);

// What a receiver does, in constant time: one signature of the header must fit the secret, and the
// timestamp must be within `tolerance` of now.
Status verify_webhook(std::string_view id, std::string_view timestamp, std::string_view signatures,
                      std::string_view body, std::string_view secret, std::chrono::seconds now,
                      std::chrono::seconds tolerance = std::chrono::minutes(5));

std::string base64_encode(std::string_view bytes);
bool base64_decode(std::string_view text, std::string& out);  // with padding, nothing besides

}  // namespace ratchet::control
