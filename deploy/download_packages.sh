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
# Everything below the packages too, as a machine that has nothing lacks it.
mapfile -t closure < <(apt-get -o Dir::State::status=/dev/null -o Debug::NoLocking=1 -qq --yes \
  --no-install-recommends --print-uris install "${names[@]}" | awk '{sub(/_.*/, "", $2); print $2}')
echo "  ${#closure[@]} packages"
(cd "$FOLDER/deb" && rm -f -- *.deb && apt-get download -qq "${closure[@]}")
# An index makes the folder a source that apt can choose from.
(
  cd "$FOLDER/deb"
  for package in *.deb; do
    dpkg-deb --field "$package"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$package" "$(stat --format %s "$package")" \
      "$(sha256sum "$package" | cut -d ' ' -f 1)"
  done
) >"$FOLDER/Packages.part"
mv "$FOLDER/Packages.part" "$FOLDER/deb/Packages"

echo "[3/3] Rust crates"
if [[ -f $ROOT/trainer/hf/Cargo.lock ]]; then
  (cd "$ROOT/trainer/hf" && PATH=$ROOT/.toolchain/bin:$PATH \
    cargo vendor --quiet --locked --versioned-dirs "$FOLDER/crates" >/dev/null)
fi
du -sh "$FOLDER"
