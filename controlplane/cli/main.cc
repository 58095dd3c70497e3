// ratchet: jobs for the control plane, from the command line.

#include "controlplane/cli/cli.h"

int main(int argc, char** argv) { return ratchet::control::cli::run_cli(argc, argv); }
