#!/usr/bin/env bash
# Builds the pinned upstream programs (tools/*/go.mod) into .tools/bin. Usage: tools/build.sh [SET...]
# A set is a folder here; without arguments all of them are built. A set whose go.mod, go.sum, recipe and Go
# version have not changed since it was built is skipped, so a second run takes no time.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${INSITU_TOOLS:-$here/../.tools}
bin=$out/bin
mkdir -p "$bin" "$out/stamps"

# The sets …-oldest are for `npm run compat`, which gives them a place of their own; crictl is for a test that docs/compatibility.md names.
all=(buildkit containerd foreign runc buildx coredns load h2spec kubernetes)

# Upstream makefiles stamp versions into the binaries; kubelet and buildkitd report them, so we do too.
recipe() { # SET -> VERSION TAGS CGO LDFLAGS, then the packages
  local set=$1; v=
  case $set in
    buildkit | buildkit-oldest)
      v=$(version github.com/moby/buildkit)
      # Without the seccomp tag BuildKit runs its steps with no seccomp profile at all.
      flags=(-tags 'osusergo netgo seccomp' -ldflags "-s -w -X github.com/moby/buildkit/version.Version=$v -X github.com/moby/buildkit/version.Package=github.com/moby/buildkit") cgo=0 ;;
    containerd)
      v=$(version github.com/containerd/containerd/v2)
      flags=(-tags 'osusergo netgo static_build no_btrfs' -ldflags "-s -w -X github.com/containerd/containerd/v2/version.Version=$v") cgo=0 ;;
    runc)
      v=$(version github.com/opencontainers/runc)
      flags=(-tags seccomp -ldflags "-s -w -X main.version=${v#v}") cgo=1 ;;
    buildx | buildx-oldest)
      v=$(version github.com/docker/buildx)
      flags=(-ldflags "-s -w -X github.com/docker/buildx/version.Version=$v") cgo=0 ;;
    coredns | load | h2spec) flags=(-ldflags '-s -w') cgo=0 ;;
    crictl)
      v=$(version sigs.k8s.io/cri-tools)
      flags=(-ldflags "-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version=$v") cgo=0 ;;
    kubernetes)
      v=$(version k8s.io/kubernetes)
      local p=k8s.io/component-base/version minor=${v#v*.}
      flags=(-tags providerless -ldflags "-s -w -X $p.gitVersion=$v -X $p.gitMajor=1 -X $p.gitMinor=${minor%%.*} -X $p.gitTreeState=clean") cgo=0 ;;
    *) echo "tools/build.sh: no such set: $set (known: ${all[*]})" >&2; exit 2 ;;
  esac
}
# containerd and buildkitd as the lab's node of another architecture runs them: the same sources, only that the module
# which tells them their platform says another one (foreign/defaults.go).
build_foreign() {
  local made=$out/foreign set
  mkdir -p "$made"
  cd "$here/containerd"
  go mod download github.com/containerd/platforms
  rm -rf "$made/platforms"
  cp -r --no-preserve=mode "$(go list -m -f '{{.Dir}}' github.com/containerd/platforms)" "$made/platforms"
  cp "$here/foreign/defaults.go" "$made/platforms/defaults_unix.go"
  for set in containerd buildkit; do
    cd "$here/$set"
    recipe "$set"
    cp go.mod "$made/$set.mod"
    cp go.sum "$made/$set.sum"
    go mod edit -replace "github.com/containerd/platforms=$made/platforms" "$made/$set.mod"
    local program=${set/%buildkit/buildkitd}
    CGO_ENABLED=$cgo GOFLAGS=-mod=mod go build -trimpath -modfile "$made/$set.mod" "${flags[@]}" -o "$bin/.new" \
      "$(packages | grep "/cmd/$program\$")"
    mv -f "$bin/.new" "$bin/$program-foreign"
  done
}
version() { awk -v m="$1" '$1 == m { print $2; exit } $1 == "require" && $2 == m { print $3; exit }' go.mod; }
packages() { go mod edit -json | sed -n '/"Tool"/,/]/s/.*"Path": "\(.*\)".*/\1/p'; }

command -v go >/dev/null || { echo "tools/build.sh: Go is missing; run scripts/setup.sh, or install Go 1.25 or newer" >&2; exit 1; }
sets=("$@"); [ ${#sets[@]} -gt 0 ] || sets=("${all[@]}")
n=0
for set in "${sets[@]}"; do
  n=$((n + 1))
  if [ "$set" = foreign ]; then
    stamp=$({ cat "$here"/{buildkit,containerd}/go.{mod,sum} "$here"/foreign/* "$here/build.sh"; go version; } | sha256sum | cut -d' ' -f1)
    [ "$(cat "$out/stamps/foreign" 2>/dev/null)" != "$stamp" ] || [ ! -x "$bin/buildkitd-foreign" ] || [ ! -x "$bin/containerd-foreign" ] || continue
    echo "tools [$n/${#sets[@]}] building containerd and buildkitd for the foreign node" >&2
    rm -f "$out/stamps/foreign"
    build_foreign
    echo "$stamp" > "$out/stamps/foreign"
    continue
  fi
  [ -f "$here/$set/go.mod" ] || { echo "tools/build.sh: no such set: $set (known: ${all[*]})" >&2; exit 2; }
  cd "$here/$set"
  recipe "$set"
  stamp=$({ cat go.mod go.sum "$here/build.sh"; find . -name '*.go' -exec cat {} +; go version; } | sha256sum | cut -d' ' -f1)
  if [ "$(cat "$out/stamps/$set" 2>/dev/null)" = "$stamp" ]; then
    missing=; for p in $(packages); do [ -x "$bin/$(basename "$p")" ] || missing=1; done
    [ -n "$missing" ] || continue
  fi
  start=$(date +%s)
  echo "tools [$n/${#sets[@]}] building $set (${v:-pinned})" >&2
  rm -f "$out/stamps/$set"
  for p in $(packages); do
    printf '  %s ...' "$(basename "$p")" >&2
    # Build beside, then rename: an interrupted build never leaves half a binary, and a running one is not disturbed.
    CGO_ENABLED=$cgo GOFLAGS=-mod=mod go build -trimpath "${flags[@]}" -o "$bin/.new" "$p"
    mv -f "$bin/.new" "$bin/$(basename "$p")"
    echo " done" >&2
  done
  echo "$stamp" > "$out/stamps/$set"
  echo "tools [$n/${#sets[@]}] $set built in $(($(date +%s) - start)) s" >&2
done
