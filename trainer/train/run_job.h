#pragma once

// One attempt from spec to exit record: lock, inputs, resume, model, loop, export. Everything that
// has an effect outside of the process is wired here.

#include <chrono>
#include <string>

#include "proto/attempt_spec.h"
#include "proto/exit_record.h"

namespace ratchet::trainer {

struct RunOptions {
  int events_fd = -1;  // descriptor that also gets the events; -1: none
  bool quiet = false;  // no progress on the terminal
  std::chrono::milliseconds sigterm_deadline{5000};
  std::string resume_command;  // told to the user when the run stops early
  int rank = 0;                // other than 0: started by rank 0
  std::string rendezvous;      // for ranks other than 0
};

// Blocks stop signals in this thread and all later ones; call before any other thread exists. Does
// not return when an emergency ends the process (exit code of ExitKind::kPreempted).
ExitRecord run_attempt(const AttemptSpec& spec, const RunOptions& options);

}  // namespace ratchet::trainer
