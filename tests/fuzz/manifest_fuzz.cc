// What a checkpoint folder says about itself: MANIFEST.json and trainer_state.json.
//
// The first byte chooses: 'm' a manifest as it is, 's' the part of a manifest that its seal covers
// (the harness adds the seal, so that the rules behind it are reached), 't' a trainer state. What
// decodes must encode to the very same text: anything else aborts.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/trainer_state.h"
#include "trainer/model/digest.h"

namespace {

void check(bool good) {
  if (!good) std::abort();
}

void try_manifest(std::string_view text) {
  const auto manifest = ratchet::trainer::decode_manifest(text);
  if (!manifest) {
    check(manifest.error().code == ratchet::Code::kCorrupt && !manifest.error().message.empty());
    return;
  }
  check(ratchet::trainer::encode_manifest(*manifest) == text);
  check(manifest->header.optimizer.step == manifest->step && manifest->micro_step == 0);
  for (const auto& file : manifest->files) check(file.name.find('/') == std::string::npos);
}

void try_sealed(std::string_view body) {
  std::string text(body);
  text += ",\n \"sha256_above\": \"";
  text += ratchet::trainer::to_hex(ratchet::trainer::sha256(body));
  text += "\"\n}\n";
  try_manifest(text);
}

void try_state(std::string_view text) {
  const auto state = ratchet::trainer::decode_trainer_state(text);
  if (!state) {
    check(state.error().code == ratchet::Code::kCorrupt && !state.error().message.empty());
    return;
  }
  check(ratchet::trainer::encode_trainer_state(*state) == text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case 'm':
      try_manifest(text);
      break;
    case 's':
      try_sealed(text);
      break;
    case 't':
      try_state(text);
      break;
    default:
      break;
  }
  return 0;
}
