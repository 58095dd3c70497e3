# The project's Python environment (.toolchain/venv), for deploy/setup.sh: it carries LibTorch, nvcc
# with the CUDA libraries, and CMake; for tests also transformers and PEFT.

VENV=$TOOLCHAIN/venv

# host_python: the Python that makes the environment: 3.10 to 3.13 (test packages: from 3.11).
host_python() {
  local candidate
  for candidate in "${RATCHET_PYTHON:-}" python3 /usr/bin/python3 python3.1{1,2,3}; do
    if [[ -n $candidate ]] && python_fits "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  command -v python3 || echo python3
}

python_fits() {
  "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

# check_installed_toolkits: RATCHET_LIBTORCH and CUDA_HOME name what they should, or set-up ends.
check_installed_toolkits() {
  local version
  if [[ -n ${RATCHET_LIBTORCH:-} ]]; then
    if [[ ! -e $RATCHET_LIBTORCH/lib/libtorch_cpu.so || ! -d $RATCHET_LIBTORCH/include/ATen ]]; then
      fail "RATCHET_LIBTORCH names '$RATCHET_LIBTORCH', which lacks lib/libtorch_cpu.so or" \
        "include/ATen: name the folder of PyTorch 2.11 that holds both, or unset it."
    fi
    version=$(sed -nE 's/^#define TORCH_VERSION_(MAJOR|MINOR) ([0-9]+)$/\2/p' \
      "$RATCHET_LIBTORCH/include/torch/headeronly/version.h" 2>/dev/null | paste -sd.) || true
    [[ -z $version || $version == 2.11 ]] || fail "RATCHET_LIBTORCH names PyTorch $version; ratchet" \
      "is built against 2.11: name that one, or unset RATCHET_LIBTORCH to have it downloaded."
  fi
  if [[ -n ${CUDA_HOME:-} ]]; then
    version=$("$CUDA_HOME/bin/nvcc" --version 2>/dev/null | sed -nE 's/.*release ([0-9]+)\..*/\1/p') ||
      true
    [[ -n $version ]] || fail "CUDA_HOME names '$CUDA_HOME', where bin/nvcc does not run: name a" \
      "CUDA 13 toolkit, or unset CUDA_HOME to have one downloaded."
    ((version >= 13)) || fail "CUDA_HOME names a CUDA $version toolkit; ratchet needs 13: name a" \
      "newer one, or unset CUDA_HOME to have one downloaded."
  fi
}

make_python_environment() {
  local python
  if "$VENV/bin/python" -c 'import pip' 2>/dev/null; then
    skip_step
    return
  fi
  python=$(host_python)
  python_fits "$python" || fail "Python 3.10 to 3.13 was not found: install python3 and python3-venv," \
    "or name one in RATCHET_PYTHON, then run this again."
  step "Python environment in .toolchain/venv"
  rm -rf "$VENV"
  work "python -m venv" "$python" -m venv "$VENV" || explain "making the Python environment"
}

site_packages() { "$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }

# group_is_needed GROUP: whether the packages of a `# group:` of the lock files are wanted here.
group_is_needed() {
  case $1 in
    tools) ! system_cmake >/dev/null ;;
    cuda) [[ -z ${CUDA_HOME:-} ]] ;;
    torch) [[ -z ${RATCHET_LIBTORCH:-} ]] ;;
    cuda+torch) [[ -z ${CUDA_HOME:-} || -z ${RATCHET_LIBTORCH:-} ]] ;;
    test) true ;;
    *) fail "A lock file has a group '$1' that deploy/setup.sh does not know." ;;
  esac
}

# missing_packages LOCKFILE: what has to be installed, one `name==version` a line. A package counts
# as installed when pip wrote its RECORD, which it does last.
missing_packages() {
  local site line group='' name version
  site=$(site_packages)
  while read -r line; do
    case $line in
      '# group: '*) group=${line#'# group: '} ;;
      *==*)
        line=${line%% *}
        name=${line%%==*} version=${line##*==}
        if group_is_needed "$group" && ! compgen -G \
          "$site/${name//-/_}-$version.dist-info/RECORD" >/dev/null; then
          printf '%s\n' "$line"
        fi
        ;;
    esac
  done <"$1"
}

# lock_entry LOCKFILE NAME==VERSION: that package's lines, hashes included, in pip's syntax.
lock_entry() {
  awk -v want="$2" '$1 == want {on = 1} on {print} on && !/\\$/ {exit}' "$1"
}

# install_python_packages product|test: one package at a time, so that progress is seen and a set-up
# that was stopped goes on where it was.
install_python_packages() {
  local lock=$LOCKS/python-$1.txt one=$TOOLCHAIN/tmp/one.txt package count=0
  local -a missing pip
  if [[ $1 == test ]] && ! "$VENV/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'
  then
    fail "The test packages need Python 3.11 or later: name one in RATCHET_PYTHON, remove" \
      "$VENV, then run this again."
  fi
  mapfile -t missing < <(missing_packages "$lock")
  if ((${#missing[@]} == 0)); then
    skip_step
    return
  fi
  if [[ $1 == product ]]; then
    step "LibTorch, CUDA and CMake: ${#missing[@]} packages (2.6 GB when all are missing)"
  else
    step "Packages that only tests need: ${#missing[@]}"
  fi
  pip=("$VENV/bin/python" -m pip install --no-deps --require-hashes --only-binary=:all: --no-compile
    --no-input --disable-pip-version-check --progress-bar off --retries 2)
  if [[ -n $WHEELS ]]; then pip+=(--no-index --find-links "$WHEELS"); fi
  if [[ $1 == test ]]; then # Small ones: together.
    for package in "${missing[@]}"; do lock_entry "$lock" "$package"; done >"$one"
    work "transformers, peft and what they need" "${pip[@]}" -r "$one" ||
      explain "installing the packages of deploy/lock/python-test.txt"
    link_installed_torch
    return
  fi
  for package in "${missing[@]}"; do
    count=$((count + 1))
    lock_entry "$lock" "$package" >"$one"
    work "$(printf '%2d of %d  %s' "$count" "${#missing[@]}" "$package")" "${pip[@]}" -r "$one" ||
      explain "installing $package"
  done
}

# link_installed_torch: lets the tests' Python import the PyTorch that RATCHET_LIBTORCH names.
link_installed_torch() {
  if [[ -f ${RATCHET_LIBTORCH:-}/__init__.py ]]; then
    dirname "$RATCHET_LIBTORCH" >"$(site_packages)/ratchet_installed_torch.pth"
  fi
}

# touch_cuda_folder: makes the wheels' folder look like an installed toolkit to nvcc, CMake and the
# linker: lib64, and the names of the libraries without their version.
touch_cuda_folder() {
  local site library plain
  site=$(site_packages)
  if [[ -d $site/nvidia/cu13/lib ]]; then ln -sfn lib "$site/nvidia/cu13/lib64"; fi
  for library in "$site"/nvidia/*/lib/lib*.so.[0-9]*; do
    plain=${library%%.so.*}.so
    if [[ -e $library && ! -e $plain ]]; then ln -s "$(basename "$library")" "$plain"; fi
  done
}

# system_cmake: path of an installed CMake that knows CUDA 13 (3.31 or later).
system_cmake() {
  local path
  path=$(command -v cmake) && [[ $path != "$TOOLCHAIN"/* ]] || return 1
  "$path" --version | awk 'NR == 1 {split($3, v, "."); exit !(v[1] > 3 || v[1] == 3 && v[2] >= 31)}' ||
    return 1
  printf '%s\n' "$path"
}

# link_cmake: .toolchain/bin/{cmake,ctest} is what the Makefile and the scripts call.
link_cmake() {
  local folder=$VENV/bin
  if [[ ! -x $folder/cmake ]]; then folder=$(dirname "$(system_cmake)"); fi
  ln -sfn "$folder/cmake" "$TOOLCHAIN/bin/cmake"
  ln -sfn "$folder/ctest" "$TOOLCHAIN/bin/ctest"
}
