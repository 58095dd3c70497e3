#!/usr/bin/env bash
# Builds the kernels on a GPU node, tests them, checks memory and races, and benchmarks them.
#
#   deploy/gpu/run_gpu_checks.sh [--no-sanitizer] [--no-bench]
#
# Needs nvcc (on PATH, in /usr/local/cuda, or under CUDA_HOME), CMake >= 3.28, Python 3 and one
# NVIDIA GPU of compute capability 9.0. Neither root nor a network; GoogleTest is used when found.
# Settings: BUILD_DIR (build/kernels), RESULTS_DIR (bench/results), RATCHET_COMMIT (git's by default).
#
# Writes RESULTS_DIR/<operator>-<gpu>.tsv and RESULTS_DIR/gpu-checks-<gpu>.txt. Exit status 0 when all
# steps passed; a step that could not run here says so and fails, unless a flag above left it out.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build_dir=${BUILD_DIR:-build/kernels}
results_dir=${RESULTS_DIR:-bench/results}
operators=(rmsnorm swiglu rope adamw nf4)
sanitizer=1
bench=1
for flag in "$@"; do
  case $flag in
    --no-sanitizer) sanitizer=0 ;;
    --no-bench) bench=0 ;;
    -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "Unknown flag '$flag'. Known: --no-sanitizer, --no-bench, --help." >&2; exit 2 ;;
  esac
done

say() { printf '\n== %s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }

command -v nvidia-smi >/dev/null || fail "nvidia-smi is not on PATH: this node shows no NVIDIA driver."
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1)
driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1)
[[ -n $gpu ]] || fail "nvidia-smi lists no GPU."
commit=${RATCHET_COMMIT:-$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)}
slug=$(tr '[:upper:] ' '[:lower:]-' <<<"$gpu" | tr -cd 'a-z0-9-')
mkdir -p "$results_dir"
report=$results_dir/gpu-checks-$slug.txt
failures=0

# Runs one step, shows and records its output, counts its failure.
step() {
  local title=$1
  shift
  say "$title"
  if "$@" 2>&1 | tee -a "$build_dir/checks.log"; then
    printf '%-44s passed\n' "$title" >>"$report"
  else
    printf '%-44s FAILED\n' "$title" >>"$report"
    failures=$((failures + 1))
  fi
}

say "Build ($build_dir)"
cmake -S kernels -B "$build_dir" -DCMAKE_BUILD_TYPE=Release
cmake --build "$build_dir" --parallel "$(nproc)"
: >"$build_dir/checks.log"
{
  echo "GPU checks of the kernels"
  echo "commit $commit, $(date -u +%Y-%m-%d), $gpu, driver $driver"
  echo
} >"$report"

step "tests" ctest --test-dir "$build_dir" --output-on-failure
for operator in "${operators[@]}"; do
  step "GPU test of $operator, not skipped" bash -c \
    "'$build_dir/bin/${operator}_test' | tee /dev/stderr | { ! grep -q 'SKIPPED'; }"
done

if ((sanitizer)); then
  if command -v compute-sanitizer >/dev/null; then
    for operator in "${operators[@]}"; do
      for tool in memcheck racecheck synccheck initcheck; do
        step "compute-sanitizer $tool, $operator" \
          compute-sanitizer --tool "$tool" --error-exitcode 1 "$build_dir/bin/${operator}_test"
      done
    done
  else
    echo "compute-sanitizer is not on PATH: memory and race checks did not run."
    printf '%-44s NOT RUN (no compute-sanitizer)\n' "compute-sanitizer" >>"$report"
    failures=$((failures + 1))
  fi
fi

if ((bench)); then
  for operator in "${operators[@]}"; do
    table=$results_dir/$operator-$slug.tsv
    step "benchmark -> $table" bash -c \
      "'$build_dir/bin/${operator}_bench' --commit '$commit' >'$table.part' \
        && mv '$table.part' '$table' && cat '$table'"
  done
fi

say "Summary ($report)"
cat "$report"
((failures == 0)) || fail "$failures step(s) failed; the full output is in $build_dir/checks.log."
