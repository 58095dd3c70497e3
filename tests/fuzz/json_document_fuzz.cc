// Every JSON document that a stranger can hand us: job and attempt specs, events, control messages.
//
// The first byte chooses the decoder; the rest is the text. What decodes must encode to something
// that decodes to the same value: a difference aborts.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "proto/attempt_spec.h"
#include "proto/control_message.h"
#include "proto/events.h"
#include "proto/job_spec.h"

namespace {

void check(bool good) {
  if (!good) std::abort();
}

void try_job_spec(std::string_view text) {
  const auto decoded = ratchet::decode_job_spec(text);
  check(decoded.ok() == decoded.findings.empty());
  if (!decoded.ok()) return;
  const std::string encoded = ratchet::encode_job_spec(*decoded.value);
  check(ratchet::decode_job_spec(encoded).value == decoded.value);
  check(ratchet::check_job_spec(*decoded.value).empty());
  check(ratchet::locked_changes(*decoded.value, *decoded.value).empty());
}

void try_attempt_spec(std::string_view text) {
  (void)ratchet::is_attempt_spec(text);
  const auto decoded = ratchet::decode_attempt_spec(text);
  check(decoded.ok() == decoded.findings.empty());
  if (!decoded.ok()) return;
  const std::string encoded = ratchet::encode_attempt_spec(*decoded.value);
  check(ratchet::decode_attempt_spec(encoded).value == decoded.value);
}

// Events may hold NaN, which equals nothing, and long texts are cut when encoded: the second
// encoding is the fixed point.
void try_event(std::string_view text) {
  const auto decoded = ratchet::decode_event(text);
  if (!decoded) return;
  const std::string encoded = ratchet::encode_event(*decoded);
  check(encoded.size() <= ratchet::kMaxEventBytes);
  check(encoded.find('\n') == std::string::npos);
  const auto again = ratchet::decode_event(encoded);
  check(again.has_value());
  check(ratchet::encode_event(*again) == encoded);
}

void try_control(std::string_view text) {
  if (const auto request = ratchet::decode_control_request(text)) {
    const auto again = ratchet::decode_control_request(ratchet::encode_control_request(*request));
    check(again.has_value() && *again == *request);
  }
  if (const auto response = ratchet::decode_control_response(text)) {
    const std::string encoded = ratchet::encode_control_response(*response);
    const auto again = ratchet::decode_control_response(encoded);
    check(again.has_value() && *again == *response);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case 'j':
      try_job_spec(text);
      break;
    case 'a':
      try_attempt_spec(text);
      break;
    case 'e':
      try_event(text);
      break;
    case 'c':
      try_control(text);
      break;
    default:
      break;
  }
  return 0;
}
