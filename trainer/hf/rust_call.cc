#include "trainer/hf/rust_call.h"

namespace ratchet::trainer {

Error rust_error(Code code, std::string_view what, const RustBytes& message) {
  return Error{code, std::string(what) + ". " + std::string(message.view())};
}

}  // namespace ratchet::trainer
