#pragma once

// From a file on the command line to an AttemptSpec.

#include <string>

#include "proto/attempt_spec.h"
#include "proto/result.h"

namespace CLI {  // NOLINT(readability-identifier-naming): theirs
class App;
}

namespace ratchet::trainer::cli {

struct SpecFlags {
  std::string path;
  std::string out;  // empty: runs/<name> beside the spec, or what an attempt spec says
};

void add_spec_flags(CLI::App& command, SpecFlags& flags);

// Reads a JobSpec or an AttemptSpec. A job that runs alone gets its output folder from --out, else
// `runs/<id>` beside the spec. All findings of a faulty document are in the message.
Result<AttemptSpec> load_attempt_spec(const SpecFlags& flags);

}  // namespace ratchet::trainer::cli
