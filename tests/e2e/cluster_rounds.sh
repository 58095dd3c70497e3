#!/usr/bin/env bash
# The deep run of cluster_test.py: many random rounds of SIGKILL and SIGSTOP against a cluster, each
# of which must end with the bits of an undisturbed run. About four seconds a round on 2 cores.
#
#   tests/e2e/cluster_rounds.sh [ROUNDS=100] [SEED=1] [BUILD=build/release]
#
# Prints one line a round: what was struck, how many attempts it took. RATCHET_TRAINER names another
# trainer than the build's own.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
rounds=100 seed=1 build=$root/build/release
for setting in "$@"; do
  case $setting in
    ROUNDS=*) rounds=${setting#*=} ;;
    SEED=*) seed=${setting#*=} ;;
    BUILD=*) build=$(realpath "${setting#*=}") ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "Unknown argument '$setting'. Known: ROUNDS=, SEED=, BUILD=, --help." >&2; exit 2 ;;
  esac
done
python=$root/.toolchain/venv/bin/python
[[ -x $python ]] || python=python3
RATCHET_SOURCE_DIR=$root RATCHET_BINARY_DIR=$build exec "$python" -B \
  "$root/tests/e2e/cluster_test.py" --rounds "$rounds" --seed "$seed" --verbose RandomDeaths
