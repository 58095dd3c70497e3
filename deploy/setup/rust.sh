# Rust and the locked crates of trainer/hf, for deploy/setup.sh.

RUST_NEEDED=85 # 1.85: edition 2024, which the locked crates use.

RUST_MARK='# Written by deploy/setup.sh.'

# rust_minor CARGO: N of `cargo 1.N.x`, or nothing.
rust_minor() { { "$1" --version 2>/dev/null || true; } | sed -nE 's/^cargo 1\.([0-9]+)\..*/\1/p'; }

# good_cargo: path of the newest cargo that is new enough and has its rustc beside it. One that
# find_rust wrote may be on PATH too: it would call itself for ever.
good_cargo() {
  local candidate minor
  local -a on_path
  mapfile -t on_path < <(type -aP cargo || true)
  for candidate in "${on_path[@]}" "$HOME/.cargo/bin/cargo" $(
    compgen -G '/usr/bin/cargo-1.*' | sort -Vr || true
  ); do
    if grep -qs "$RUST_MARK" "$candidate"; then continue; fi
    if [[ ! -x $candidate || ! -x ${candidate/%cargo/rustc} ]] &&
      [[ ! -x ${candidate/cargo-/rustc-} ]]; then continue; fi
    minor=$(rust_minor "$candidate") || true
    if [[ -n $minor ]] && ((minor >= RUST_NEEDED)); then
      printf '%s\n' "$candidate"
      return
    fi
  done
  return 1
}

rust_is_there() { good_cargo >/dev/null; }

# rust_packages: names of the packages that bring a new enough Rust, one a line. Debian 12 has it
# as cargo-web; Ubuntu 24.04 has versioned packages beside an old default.
rust_packages() {
  local version
  if apt-cache "${APT_SOURCE[@]}" show cargo-web >/dev/null 2>&1; then
    printf 'cargo-web\nrustc-web\n'
    return
  fi
  version=$(apt-cache "${APT_SOURCE[@]}" search --names-only '^cargo-1\.[0-9]+$' | awk '{print $1}' |
    sed 's/^cargo-//' | sort -V | tail -n 1)
  if [[ -n $version ]] && ((${version#1.} >= RUST_NEEDED)); then
    printf 'cargo-%s\nrustc-%s\n' "$version" "$version"
  else
    printf 'cargo\nrustc\n'
  fi
}

# find_rust: writes .toolchain/bin/cargo, which the build calls: it runs the cargo that was found with
# its own rustc, and with the carried crates when RATCHET_WHEELS brought them.
find_rust() {
  local cargo rustc config=''
  cargo=$(good_cargo) || fail "Rust 1.$RUST_NEEDED or later was not found and this distribution" \
    "does not offer it: install it so that 'cargo' and 'rustc' are on PATH, then run this again."
  rustc=$(dirname "$cargo")/$(basename "$cargo" | sed 's/^cargo/rustc/')
  rm -f "$TOOLCHAIN/cargo.toml"
  if [[ -n $WHEELS && -d $WHEELS/crates ]]; then
    config="--config '$TOOLCHAIN/cargo.toml' "
    printf '[source.crates-io]\nreplace-with = "carried"\n[source.carried]\ndirectory = "%s"\n' \
      "$WHEELS/crates" >"$TOOLCHAIN/cargo.toml"
  fi
  rm -f "$TOOLCHAIN/bin/cargo"
  cat >"$TOOLCHAIN/bin/cargo" <<END
#!/bin/sh
$RUST_MARK
export RUSTC='$rustc'
exec '$cargo' $config"\$@"
END
  chmod +x "$TOOLCHAIN/bin/cargo"
}

# fetch_crates: downloads the crates of Cargo.lock, so that the build needs no network.
fetch_crates() {
  local room=$ROOT/trainer/hf key stamp=$TOOLCHAIN/stamp-crates
  if [[ ! -f $room/Cargo.lock ]]; then
    skip_step
    return
  fi
  key=$(cat "$room/Cargo.lock" "$room/Cargo.toml" | sha256sum)
  key+=" ${WHEELS:+from $WHEELS} ${CARGO_HOME:-$HOME/.cargo}"
  if [[ -f $stamp && $(<"$stamp") == "$key" ]]; then
    skip_step
    return
  fi
  if (cd "$room" && "$TOOLCHAIN/bin/cargo" fetch --locked --offline --quiet) >>"$LOG" 2>&1; then
    printf '%s' "$key" >"$stamp"
    skip_step
    return
  fi
  step "Rust crates of trainer/hf"
  [[ -z $WHEELS || -d $WHEELS/crates ]] || fail "RATCHET_WHEELS has no folder 'crates': fill it with" \
    "deploy/download_packages.sh on a machine with a network."
  (cd "$room" && work "cargo fetch" "$TOOLCHAIN/bin/cargo" fetch --locked) ||
    explain "fetching the crates of trainer/hf"
  printf '%s' "$key" >"$stamp"
}
