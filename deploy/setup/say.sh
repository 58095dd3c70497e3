# Progress and failure, for deploy/setup.sh. Every failure is one sentence that says what to do.

STEP=0
STEPS=4 # Distribution packages, Python environment, its packages, crates.
DID_SOMETHING=0
STARTED=$SECONDS

fail() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

# step TITLE: opens the next numbered step; only called when there is something to do.
step() {
  STEP=$((STEP + 1))
  DID_SOMETHING=1
  printf '[%d/%d] %s\n' "$STEP" "$STEPS" "$*"
}

# skip_step: counts a step that had nothing to do.
skip_step() { STEP=$((STEP + 1)); }

# work TITLE COMMAND...: runs a command with its output in the log, and says how long it took; says
# every 15 seconds that it still runs. Returns the command's status.
work() {
  local title=$1 began=$SECONDS status=0 pid next=15
  shift
  printf '== %s: %s\n' "$title" "$*" >>"$LOG"
  "$@" >>"$LOG" 2>&1 9>&- &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    if ((SECONDS - began >= next)); then
      printf '      %s: still running after %d s\n' "$title" "$((SECONDS - began))"
      next=$((next + 15))
    fi
  done
  wait "$pid" || status=$?
  if ((status == 0)); then printf '      %s: %d s\n' "$title" "$((SECONDS - began))"; fi
  return "$status"
}

# log_shows PATTERN: true when the last lines of the log match.
log_shows() { tail -n 60 "$LOG" | grep -Eqi "$1"; }

NETWORK_TROUBLE='temporary failure|could ?n.t resolve|could not resolve|name resolution|unreachable'
NETWORK_TROUBLE+='|connection (refused|timed out|reset)|newconnectionerror|proxyerror|cannot connect'
NETWORK_TROUBLE+='|read timed out|failed to establish|unable to connect|could not connect'
NETWORK_TROUBLE+='|tunnel connection failed|max retries exceeded|spurious network error'

# explain WHAT: turns a failed command into the sentence that fits its output, and ends set-up.
explain() {
  local what=$1
  if log_shows 'no space left|disk quota exceeded'; then
    fail "No room while $what: free at least 12 GB where $TOOLCHAIN lies, then run this again."
  elif log_shows 'do not match the hashes'; then
    fail "A package had other bytes than the lock file allows while $what: something between here and" \
      "the registry changes files, or the file in RATCHET_WHEELS is damaged; see $LOG."
  elif [[ -z $WHEELS ]] && log_shows "$NETWORK_TROUBLE"; then
    fail "No network while $what: connect this machine (or set https_proxy), or name a folder of" \
      "downloaded packages in RATCHET_WHEELS, then run this again."
  elif [[ -n $WHEELS ]]; then
    fail "The folder '$WHEELS' (RATCHET_WHEELS) did not serve while $what: fill it with" \
      "deploy/download_packages.sh on a machine like this one; the reason is at the end of $LOG."
  fi
  fail "Stopped while $what: the reason is at the end of $LOG; mend it and run this again."
}

# check_room: the wheels, their unpacked files and the builds need 12 GB; later runs little.
check_room() {
  local need=1 free
  if [[ ! -d $TOOLCHAIN/venv ]]; then
    if [[ -z ${RATCHET_LIBTORCH:-} ]]; then need=12; else need=4; fi
  fi
  free=$(($(df -Pk "$TOOLCHAIN" | awk 'NR == 2 {print $4}') / 1048576))
  ((free >= need)) || fail "No room: $TOOLCHAIN has $free GB free and set-up needs $need GB:" \
    "free some, or move the project to a larger disk."
}

finish() {
  rm -rf "${TOOLCHAIN:?}/tmp"
  if ((DID_SOMETHING)); then
    printf 'Set-up (%s) is done: %d s\n' "$SET" "$((SECONDS - STARTED))"
  else
    printf 'Set-up (%s) is up to date.\n' "$SET"
  fi
}
