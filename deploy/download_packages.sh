#!/usr/bin/env bash
# Fills a folder with all packages that set-up installs, for machines without a network:
#
#   deploy/download_packages.sh FOLDER          here, with a network
#   RATCHET_WHEELS=FOLDER make demo             there
#
# Both machines run the same distribution release and Python version. FOLDER gets *.whl (Python
# packages), deb/ (distribution packages with what they need) and crates/ (Rust crates). What a
# machine has installed already (RATCHET_LIBTORCH, CUDA_HOME, packages) is not used from there.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
FOLDER=${1:-}
if [[ -z $FOLDER ]]; then
  echo "usage: deploy/download_packages.sh FOLDER" >&2
  exit 2
fi
if [[ ! -x $ROOT/.toolchain/venv/bin/python ]]; then
  echo "download: run 'make setup' first, its Python does the downloading." >&2
  exit 1
fi
mkdir -p "$FOLDER/deb"
FOLDER=$(cd "$FOLDER" && pwd)

echo "[1/3] Python packages"
for lock in python-product python-test; do
  "$ROOT/.toolchain/venv/bin/python" -m pip download --quiet --no-deps --require-hashes \
    --only-binary=:all: --disable-pip-version-check --progress-bar off \
    --dest "$FOLDER" -r "$ROOT/deploy/lock/$lock.txt"
done

echo "[2/3] Distribution packages"
names=()
while read -r set alternatives _; do
  if [[ $set == \#* || -z $set ]]; then continue; fi
  for name in ${alternatives//|/ }; do
    if apt-cache show "$name" >/dev/null 2>&1; then
      names+=("$name")
      break
    fi
  done
done <"$ROOT/deploy/lock/apt-packages.txt"
if apt-cache show cargo-web >/dev/null 2>&1; then
  names+=(cargo-web rustc-web)
else
  version=$(apt-cache search --names-only '^cargo-1\.[0-9]+$' | awk '{print $1}' |
    sed 's/^cargo-//' | sort -V | tail -n 1)
  names+=("cargo-$version" "rustc-$version")
fi
# Everything below the packages too, as a bare machine lacks it; what is essential is everywhere.
mapfile -t closure < <(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts \
  --no-breaks --no-replaces --no-enhances "${names[@]}" | grep -E '^[a-z0-9]' | sort -u)
real=()
for name in "${closure[@]}"; do
  if apt-cache policy "$name" 2>/dev/null | grep -q 'Candidate: [0-9]'; then real+=("$name"); fi
done
(cd "$FOLDER/deb" && apt-get download -q "${real[@]}")

echo "[3/3] Rust crates"
if [[ -f $ROOT/trainer/hf/Cargo.lock ]]; then
  (cd "$ROOT/trainer/hf" && PATH=$ROOT/.toolchain/bin:$PATH \
    cargo vendor --quiet --locked --versioned-dirs "$FOLDER/crates" >/dev/null)
fi
du -sh "$FOLDER"
