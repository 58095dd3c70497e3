# Distribution packages, for deploy/setup.sh: installs those of deploy/lock/apt-packages.txt that
# are not there, and only those.

# have PROBE: true when what a package brings is there already (probes: see apt-packages.txt).
have() {
  local folder
  case $1 in
    cmd:*) command -v "${1#cmd:}" >/dev/null || [[ -x /usr/sbin/${1#cmd:} ]] ;;
    hdr:*)
      for folder in /usr/include /usr/local/include /usr/include/x86_64-linux-gnu; do
        if [[ -e $folder/${1#hdr:} ]]; then return 0; fi
      done
      return 1
      ;;
    lib:*) [[ -e /usr/lib/${1#lib:} ]] ;;
    py:*) "$(host_python)" -c "import ${1#py:}" 2>/dev/null ;;
    *) fail "deploy/lock/apt-packages.txt has a probe '$1' that deploy/setup.sh does not know." ;;
  esac
}

# as_root COMMAND...: root, or sudo; the caller has checked that one of them is there.
as_root() {
  if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# offered NAME[|NAME...]: the first name that apt can install, or the first name when none is known.
offered() {
  local name
  for name in ${1//|/ }; do
    if apt-cache "${APT_SOURCE[@]}" show "$name" >/dev/null 2>&1; then
      printf '%s\n' "$name"
      return
    fi
  done
  printf '%s\n' "${1%%|*}"
}

# require_installer NAMES...: ends with one sentence when packages cannot be installed here.
require_installer() {
  command -v apt-get >/dev/null || fail "Missing: $*; this machine has no apt-get: install what" \
    "brings them with its own package manager, then run this again."
  ((EUID == 0)) && return
  command -v sudo >/dev/null || fail "Missing: $*; you are not root and sudo is not here: run" \
    "'apt-get install $*' as root, then run this again."
  if ! sudo -n true 2>/dev/null && [[ ! -t 0 ]]; then
    fail "Missing: $*; sudo asks for a password and there is no terminal to type it: run" \
      "'sudo apt-get install $*' yourself, then run this again."
  fi
  sudo -v || fail "Missing: $*; sudo refused: run 'apt-get install $*' as root, then run this again."
}

# Where apt looks: options for apt-get and apt-cache, empty for what the machine is set to.
APT_SOURCE=()

# use_carried_packages: apt is to look into RATCHET_WHEELS/deb and nowhere else.
use_carried_packages() {
  local lists=$TOOLCHAIN/tmp/apt source=$TOOLCHAIN/tmp/sources.list
  [[ -e $WHEELS/deb/Packages ]] || fail "'$WHEELS/deb' (RATCHET_WHEELS) has no list of packages: fill the" \
    "folder with deploy/download_packages.sh on a machine like this one."
  mkdir -p "$lists/partial"
  echo "deb [trusted=yes] file:${WHEELS// /%20}/deb ./" >"$source"
  APT_SOURCE=(-o "Dir::Etc::sourcelist=$source" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$lists")
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install "${APT_SOURCE[@]}" -y \
    --no-install-recommends -o Dpkg::Use-Pty=0 -o Dpkg::Lock::Timeout=120 "$@"
}

install_distribution_packages() {
  local set names probe name
  local -a wanted=() missing=()
  while read -r set names probe; do
    if [[ $set == \#* || -z $set ]] || [[ $set == test && $SET != test ]]; then continue; fi
    have "$probe" || wanted+=("$names")
  done <"$LOCKS/apt-packages.txt"
  if ! rust_is_there; then wanted+=(rust); fi
  if ((${#wanted[@]} == 0)); then
    skip_step
    return
  fi

  require_installer "${wanted[@]%%|*}"
  step "Distribution packages: ${#wanted[@]} missing"
  if [[ -n $WHEELS ]]; then use_carried_packages; fi
  work "list of packages" as_root apt-get "${APT_SOURCE[@]}" update ||
    explain "reading the list of packages"
  for names in "${wanted[@]}"; do
    if [[ $names == rust ]]; then
      mapfile -t -O "${#missing[@]}" missing < <(rust_packages)
    else
      name=$(offered "$names")
      missing+=("$name")
    fi
  done
  work "install ${#missing[@]} packages" apt_install "${missing[@]}" ||
    explain "installing distribution packages (${missing[*]})"
}
