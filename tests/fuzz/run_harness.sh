#!/usr/bin/env bash
# Runs one libFuzzer harness as a test: run_harness.sh PROGRAM CORPUS WORK SECONDS
#
# First every committed input once, then SECONDS of fuzzing that starts from them. A crash leaves its
# input in WORK and says how to run it again.
set -euo pipefail
program=$1 corpus=$2 work=$3 seconds=$4

if ! compgen -G "$corpus/*" >/dev/null; then
  echo "The harness has no corpus: commit inputs to $corpus." >&2
  exit 1
fi
rm -rf "$work"
mkdir -p "$work/corpus"
common=(-timeout=10 -rss_limit_mb=2048 -artifact_prefix="$work/" -print_final_stats=1)
"$program" "${common[@]}" -runs=0 "$corpus" || {
  echo "A committed input fails; run it again: $program FILE (files: $corpus, found: $work)" >&2
  exit 1
}
"$program" "${common[@]}" -max_total_time="$seconds" -max_len=65536 "$work/corpus" "$corpus" || {
  echo "A new input fails; run it again: $program $work/crash-..., then commit it to $corpus." >&2
  exit 1
}
