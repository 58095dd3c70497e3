#pragma once

// Result<T>: a value, or an Error that says what was tried, with which value, and what to do next.
//
// Every expected failure in proto, agent, controlplane and the torch-free parts of the trainer is
// returned, never thrown. `if (!r) return r.error();` propagates. Dropping a Result is a warning.

#include <boost/system/result.hpp>
#include <stdexcept>
#include <string>
#include <utility>

namespace ratchet {

enum class Code {
  kInvalidArgument,     // the caller's document, flag or file breaks a rule
  kNotFound,            // a named file, folder, tensor or id does not exist
  kAlreadyExists,       // something that must be new is there already
  kFailedPrecondition,  // legal request, wrong moment: locked folder, changed data set, wrong state
  kCorrupt,             // bytes that fail their own checks (hash, size, header rules)
  kUnsupported,         // known, named, and not built yet
  kIo,                  // the operating system refused; message carries errno's text
  kNoSpace,             // the disk is full
  kUnavailable,         // a peer or device did not answer
  kInternal,            // a bug of ours, caught at a room's door
};

// Stable lower-case word for logs and JSON ("invalid_argument", ...).
const char* code_name(Code code);

struct Error {
  Code code = Code::kInternal;
  std::string message;  // one or more full sentences, ready for a terminal
};

// Thrown only by Result::value() on an error; caught at the doors of a process.
class ErrorException : public std::runtime_error {
 public:
  explicit ErrorException(Error error)
      : std::runtime_error(error.message), error_(std::move(error)) {}
  [[nodiscard]] const Error& error() const { return error_; }

 private:
  Error error_;
};

[[noreturn]] inline void throw_exception_from_error(const Error& error,
                                                    const boost::source_location& /*where*/) {
  throw ErrorException(error);
}

template <class T>
class [[nodiscard]] Result : public boost::system::result<T, Error> {
 public:
  using boost::system::result<T, Error>::result;
};

// For functions that only succeed or fail: `return ok();`
using Status = Result<void>;
inline Status ok() { return {}; }

}  // namespace ratchet
