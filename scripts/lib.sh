# Sourced by the scripts here: progress lines, root once, and paths. Needs bash 4.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/.tools
export PATH=$root/node_modules/.bin:$tools/bin:$tools/go/bin:$PATH:/usr/local/go/bin:/usr/sbin:/sbin
started=${SECONDS}

say() { printf '\033[1m[%3ds] %s\033[0m\n' "$((SECONDS - started))" "$*" >&2; }
die() { printf 'error: %s\n' "$1" >&2; [ -z "${2:-}" ] || printf '  fix: %s\n' "$2" >&2; exit 1; }

# become_root WHY SCRIPT ARGS...: asks for the password at most once, and says what for.
become_root() {
  local why=$1; shift
  [ "$(id -u)" -ne 0 ] || return 0
  command -v sudo >/dev/null || die "this needs root: $why" "run it as root"
  echo "This needs root: $why. sudo may ask for your password, once." >&2
  exec sudo --preserve-env=HTTP_PROXY,HTTPS_PROXY,NO_PROXY,http_proxy,https_proxy,no_proxy,CI,GOPROXY,GOFLAGS,GOSUMDB "$@"
}

# What was made as root in a user's checkout is given back to the user.
give_back() {
  [ -n "${SUDO_UID:-}" ] || return 0
  local p
  for p in node_modules .tools .lab .local dist src/buildkit/gen; do
    [ ! -e "$root/$p" ] || [ "$(stat -c %u "$root")" = 0 ] || chown -RhP "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$root/$p" 2>/dev/null || true
  done
}
