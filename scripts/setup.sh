#!/usr/bin/env bash
# Installs what a command needs: scripts/setup.sh demo | test. Every step looks first and does nothing when it is
# done already, so a second run takes about a second.
#   demo: Node and its packages, containerd, runc, buildkitd, buildctl
#   test: all of that, and the Kubernetes programs, CoreDNS, buildx, and what makes base images
set -euo pipefail
. "$(dirname "$0")/lib.sh"
profile=${1:-test}
become_root "system packages are installed with apt" "$0" "$@"
trap give_back EXIT
cd "$root"

# --- 1. system packages -------------------------------------------------------------------------------------------
packages=(ca-certificates curl git make gcc libc6-dev libseccomp-dev pkg-config iptables iproute2 kmod procps util-linux
  busybox-static containernetworking-plugins openssh-client openssl)
[ "$profile" = demo ] || packages+=(debootstrap docker-registry e2fsprogs etcd-server libfaketime qemu-user-static conntrack ipset nginx haproxy tinyproxy openssh-server
  dbus systemd)
command -v node >/dev/null && command -v npm >/dev/null || packages+=(nodejs npm)

go_is_new() { # Go from 1.21 on fetches by itself the toolchain that tools/*/go.mod name
  local v; v=$(go env GOVERSION 2>/dev/null) || return 1
  v=${v#go1.}; [ "${v%%[!0-9]*}" -ge 21 ] 2>/dev/null
}
go_is_new || packages+=(golang-go)

if command -v dpkg-query >/dev/null; then
  missing=()
  for p in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    say "1/4 system packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # Packages that start a service would take ports the tests use; the tests start their own.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
      printf '#!/bin/sh\nexit 101\n' > $policy
      chmod +x $policy
      trap 'rm -f /usr/sbin/policy-rc.d; give_back' EXIT
    fi
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  fi
else
  for c in curl git make gcc iptables ip npm; do
    command -v $c >/dev/null || die "$c is missing and this system has no apt" "install: ${packages[*]} (or what your distribution calls them)"
  done
fi

# --- 2. Node and its packages -------------------------------------------------------------------------------------
# The npm package `node` brings Node 24, so it does not matter which one the system has to begin with.
stamp=$(cat package-lock.json package.json | sha256sum | cut -d' ' -f1)
if [ "$(cat node_modules/.stamp 2>/dev/null)" != "$stamp" ] || ! node_modules/.bin/node --version >/dev/null 2>&1; then
  say "2/4 Node 24 and the packages of package-lock.json"
  # Not `npm ci`: it refuses a lock file without the optional packages of other platforms, and some registries do not
  # carry all of those. `install --no-save` takes the locked versions just the same and leaves the lock file alone.
  # No package may run scripts; the one that must, `node`, fetches its binary here (npm 9 crashes when it runs it).
  npm install --no-save --no-audit --no-fund --loglevel=error --ignore-scripts
  (cd node_modules/node && node installArchSpecificPackage >/dev/null)
  ln -sf ../node/bin/node node_modules/.bin/node
  node_modules/.bin/node -e 'process.exit(process.versions.node.split(".")[0] >= 24 ? 0 : 1)' ||
    die 'the package "node" did not bring Node 24' "remove node_modules and try again"
  echo "$stamp" > node_modules/.stamp
fi

# --- 3. Go --------------------------------------------------------------------------------------------------------
if ! go_is_new; then
  # An older Go cannot switch toolchains but it can fetch one: the toolchain is a module like any other, checked
  # against Go's checksum database.
  version=$(awk '$1 == "go" { print $2 }' tools/*/go.mod | sort -V | tail -n 1)
  say "3/4 Go $version"
  download=$(cd / && GOMODCACHE=$tools/gomod go mod download -json "golang.org/toolchain@v0.0.1-go$version.linux-$(go env GOARCH)") ||
    die "Go $version cannot be fetched" "install Go 1.25 or newer by hand and put it on the PATH"
  dir=$(sed -n 's/.*"Dir": "\(.*\)".*/\1/p' <<<"$download")
  rm -rf "$tools/go"
  cp -r --no-preserve=mode "$dir" "$tools/go"
  chmod -R u+w "$tools/go" "$tools/gomod" && rm -rf "$tools/gomod"
  chmod +x "$tools"/go/bin/* && find "$tools/go/pkg/tool" -type f -exec chmod +x {} +
  hash -r
fi

# --- 4. pinned upstream programs ----------------------------------------------------------------------------------
if [ "$profile" = demo ]; then tools/build.sh buildkit containerd runc; else tools/build.sh; fi
[ -d src/buildkit/gen ] && [ -z "$(find src/buildkit/proto -newer src/buildkit/gen/control_pb.ts 2>/dev/null | head -n 1)" ] || npm run -s gen
say "set-up for $profile is complete"
