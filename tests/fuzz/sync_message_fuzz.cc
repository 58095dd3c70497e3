// Sync messages and API errors from a hostile peer.
//
// The first byte chooses the decoder; the rest is the text. What decodes must encode to a text that
// decodes and encodes to itself (texts that are too long are clipped once): a difference aborts.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "proto/api_error.h"
#include "proto/sync_message.h"

namespace {

void check(bool good) {
  if (!good) std::abort();
}

template <class Decode>
void round_trip(std::string_view text, Decode decode) {
  const auto first = decode(text);
  if (!first) {
    check(!first.error().message.empty());
    return;
  }
  const std::string encoded = ratchet::encode(*first);
  const auto second = decode(encoded);
  check(second.has_value());
  check(ratchet::encode(*second) == encoded);
}

void try_api_error(std::string_view text) {
  const auto first = ratchet::decode_api_error(text);
  if (!first) return;
  (void)ratchet::http_status_of(first->code);
  const std::string encoded = ratchet::encode_api_error(*first);
  const auto second = ratchet::decode_api_error(encoded);
  if (second) check(ratchet::encode_api_error(*second) == encoded);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 11) {
    case 0:
      round_trip(text, ratchet::decode_sync_request);
      break;
    case 1:
      round_trip(text, ratchet::decode_sync_response);
      break;
    case 2:
      round_trip(text, ratchet::decode_hello_request);
      break;
    case 3:
      round_trip(text, ratchet::decode_hello_response);
      break;
    case 4:
      round_trip(text, ratchet::decode_heartbeat_request);
      break;
    case 5:
      round_trip(text, ratchet::decode_heartbeat_response);
      break;
    case 6:
      round_trip(text, ratchet::decode_notice_request);
      break;
    case 7:
      round_trip(text, ratchet::decode_desired_attempt);
      break;
    case 8:
      round_trip(text, ratchet::decode_job_inputs);
      break;
    case 9:
      round_trip(text, ratchet::decode_attempt_report);
      break;
    default:
      try_api_error(text);
  }
  return 0;
}
