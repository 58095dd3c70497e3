#!/usr/bin/env bash
# Builds and tests everything, one build after the other, and ends with one summary. `make test` calls
# it after set-up.
#
#   deploy/test.sh [BUILD...]     default: all; `make test` names release, asan and tsan
#
#   release  everything: unit, parity with transformers and PEFT, end to end, clang-format, rules
#   asan     address + undefined: the trainer; all but the labels parity, slow, tidy and e2e
#   asan-cluster  the same over agent, control plane and CLI; not sim
#   tsan     thread; what does not link LibTorch, but not what has one thread and takes long
#   fuzz     libFuzzer harnesses (clang): their corpus, then 20 s each
#
# Results: build/results/BUILD. What tests print is shown when they fail. JOBS sets how many tests
# and compilers run at once (default: the number of cores).
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
RESULTS=$ROOT/build/results
JOBS=${JOBS:-$(nproc)}
PATH=$ROOT/.toolchain/bin:$PATH
cd "$ROOT"
# Tests run side by side: threads that spin while they wait would starve each other.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}

# note TITLE SECONDS_AT_START
note() { printf '%s: %d s\n' "$1" "$((SECONDS - $2))"; }

# target_of PRESET: what of it is built.
target_of() { if [[ $1 == fuzz ]]; then echo ratchet_fuzz; else echo all; fi; }

# build PRESET: configures and builds; ninja's own progress is shown on a terminal, else its end.
build() {
  local preset=$1 began=$SECONDS target
  target=$(target_of "$1")
  local -a options=()
  if [[ $preset == release ]]; then options=(-DRATCHET_TESTS=ON -DRATCHET_BENCH=ON); fi
  mkdir -p "$RESULTS/$preset"
  cmake --preset "$preset" "${options[@]}" >"$RESULTS/$preset/configure.log" 2>&1 || {
    cat "$RESULTS/$preset/configure.log"
    return 1
  }
  if [[ -t 1 ]]; then
    cmake --build "build/$preset" -j "$JOBS" --target "$target" -- -k 0 || return 1
  else
    cmake --build "build/$preset" -j "$JOBS" --target "$target" -- -k 0 \
      >"$RESULTS/$preset/build.log" 2>&1 || {
      grep -E -A 20 'FAILED|error:|undefined reference' "$RESULTS/$preset/build.log" | head -n 200
      return 1
    }
  fi
  note "$preset: built" "$began"
}

# run PRESET: runs the tests of one build; their outcome is read from the files that they write.
run() {
  local preset=$1 began=$SECONDS
  local -a which=()
  local filter='*'
  case $preset in
    asan | asan-cluster) which=(-LE '^(parity|slow|tidy|e2e|sim)$') ;;
    tsan)
      which=(-LE '^(parity|slow|tidy|e2e|sim)$')
      filter='-PowerLoss.*:Corruption.*'
      ;;
    fuzz) which=(-L '^fuzz$') ;;
  esac
  rm -rf "$RESULTS/$preset/gtest" "$RESULTS/$preset/ctest.xml"
  mkdir -p "$RESULTS/$preset/gtest"
  GTEST_OUTPUT="xml:$RESULTS/$preset/gtest/" GTEST_COLOR=no GTEST_FILTER=$filter \
    ctest --test-dir "build/$preset" -j "$JOBS" "${which[@]}" --output-on-failure --no-tests=error \
    --test-output-size-passed 4000000 --test-output-size-failed 4000000 \
    --output-junit "$RESULTS/$preset/ctest.xml" || true
  note "$preset: tested" "$began"
}

# build_ahead PRESET: begins a build on what the tests leave of the processors, silently. build() does
# what is left of it, and tells what failed. Its own process group, so that it can be ended as a whole.
build_ahead() {
  set -m
  (
    cmake --preset "$1" && exec chrt --idle 0 cmake --build "build/$1" -j "$JOBS" --target "$(target_of "$1")"
  ) >/dev/null 2>&1 &
  AHEAD=$!
  set +m
}

end_build_ahead() {
  if [[ -n $AHEAD ]]; then
    kill -- "-$AHEAD" 2>/dev/null || true
    wait "$AHEAD" 2>/dev/null || true
    AHEAD=''
  fi
}

# In a function, so that all of this script is read before it runs: it may be edited meanwhile.
main() {
  local index preset
  local -a builds=("$@") folders=()
  if ((${#builds[@]} == 0)); then builds=(release asan asan-cluster tsan fuzz); fi
  AHEAD=''
  trap end_build_ahead EXIT
  for index in "${!builds[@]}"; do
    preset=${builds[index]}
    printf '\n== %s\n' "$preset"
    folders+=("$RESULTS/$preset")
    rm -f "$RESULTS/$preset/ctest.xml"
    if build "$preset"; then
      if ((index + 1 < ${#builds[@]})); then build_ahead "${builds[index + 1]}"; fi
      run "$preset"
      end_build_ahead
    else
      printf '%s: the build failed\n' "$preset" >&2
    fi
  done

  python3 "$ROOT/deploy/summarise_tests.py" --shared "${RATCHET_SHARED:-$ROOT/../shared}" "${folders[@]}"
}

main "$@"
exit
