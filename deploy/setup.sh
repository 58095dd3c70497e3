#!/usr/bin/env bash
# Sets up what ratchet is built and tested with; safe to repeat, quick when there is nothing to do.
#
#   deploy/setup.sh build    what `make demo` needs (default)
#   deploy/setup.sh test     that, and what only `make test` needs
#
# Environment: RATCHET_LIBTORCH (folder with include/ and lib/ of PyTorch 2.11) and CUDA_HOME (a
# CUDA 13 toolkit) name installed ones, whose wheels are then left out; RATCHET_WHEELS names a folder
# of downloaded packages (deploy/download_packages.sh fills one) and nothing is fetched from a
# network; RATCHET_PYTHON names the Python for the project's environment.
#
# Steps: distribution packages, Rust, Python environment, its packages, touches, crates. Everything
# but distribution packages lands in .toolchain/ beside the sources. Output of the commands that
# run goes to .toolchain/setup.log.
set -Eeuo pipefail
trap 'echo "setup: stopped at line $LINENO of ${BASH_SOURCE[0]}: see the end of .toolchain/setup.log." >&2' ERR

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TOOLCHAIN=$ROOT/.toolchain
LOG=$TOOLCHAIN/setup.log
LOCKS=$ROOT/deploy/lock
SET=${1:-build}
WHEELS=${RATCHET_WHEELS:-}

# shellcheck source=deploy/setup/say.sh
source "$ROOT/deploy/setup/say.sh"
# shellcheck source=deploy/setup/distribution.sh
source "$ROOT/deploy/setup/distribution.sh"
# shellcheck source=deploy/setup/python.sh
source "$ROOT/deploy/setup/python.sh"
# shellcheck source=deploy/setup/rust.sh
source "$ROOT/deploy/setup/rust.sh"

case $SET in
  build | test) ;;
  *) fail "'$SET' is not a set of set-up: say 'deploy/setup.sh build' or 'deploy/setup.sh test'." ;;
esac
[[ $(uname -sm) == "Linux x86_64" ]] ||
  fail "This machine is $(uname -sm); ratchet is built on Linux x86_64 (Debian 12, Ubuntu 24.04)."
if [[ -n $WHEELS ]]; then
  [[ -d $WHEELS ]] || fail "RATCHET_WHEELS names '$WHEELS', which is not a folder: fill one with" \
    "deploy/download_packages.sh on a machine with a network, or unset RATCHET_WHEELS."
  WHEELS=$(cd "$WHEELS" && pwd)
fi

mkdir -p "$TOOLCHAIN/bin" "$TOOLCHAIN/tmp"
: >"$LOG"
export TMPDIR=$TOOLCHAIN/tmp

# One set-up at a time; a second one waits and then finds nothing to do.
exec 9>"$TOOLCHAIN/setup.lock"
flock 9

if [[ $SET == test ]]; then STEPS=$((STEPS + 1)); fi
check_installed_toolkits
check_room
install_distribution_packages
find_rust
make_python_environment
install_python_packages product
if [[ $SET == test ]]; then install_python_packages test; fi
touch_cuda_folder
link_cmake
fetch_crates
finish
