#pragma once

// The program `ratchet`: every command, parsed and run.

namespace ratchet::control::cli {

// Exit code; says on stderr (or, with --json, on stdout) what went wrong. Throws nothing.
int run_cli(int argc, const char* const* argv);

}  // namespace ratchet::control::cli
