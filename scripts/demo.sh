#!/usr/bin/env bash
# The main job on this machine alone: a build arrives on tcp 2375, runs in an unmodified buildkitd that shares a
# containerd, and a container starts from the image with nothing pulled. Needs no Kubernetes and no network (after
# set-up). Everything lives below .local and in processes that end with this script.
#   scripts/demo.sh [--keep]    --keep leaves .local for a look around
set -euo pipefail
. "$(dirname "$0")/lib.sh"
become_root "containerd and buildkitd make mounts and namespaces" "$0" "$@"
cd "$root"
scripts/setup.sh demo

keep=; [ "${1:-}" != --keep ] || keep=1
work=$root/.local
port=${INSITU_DEMO_PORT:-2375}
addr=tcp://127.0.0.1:$port
name=demo.insitu.build/hello:v1
base=demo.insitu.build/base:v1
mkdir -p "$work"
pid=
finish() {
  local code=$?
  if [ -n "$pid" ]; then kill -TERM "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; fi
  [ -n "$keep" ] || rm -rf "$work"
  give_back
  [ $code -eq 0 ] || { echo "the demo failed (exit $code)${keep:+; see $work/insitu.log}" >&2; [ ! -f "$work/insitu.log" ] || tail -n 20 "$work/insitu.log" >&2; }
  exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

show() { printf '\033[2m$ %s\033[0m\n' "$*" >&2; "$@"; }
ctr=(ctr --address "$work/c/containerd.sock" --namespace k8s.io)
# Bytes in containerd's content store, and bytes this machine has received on every interface but loopback.
stored() { find "$work/c/root/io.containerd.content.v1.content/blobs" -type f -printf '%s\n' | awk '{ n += $1 } END { printf "%d", n }'; }
received() { awk -F: 'NR > 2 && $1 !~ /^ *lo$/ { split($2, f, " "); n += f[1] } END { printf "%d", n }' /proc/net/dev; }
millis() { date +%s%3N; }

say "insitu local: a containerd and a buildkitd of their own, one port"
if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
  die "port $port of this machine is taken" "stop what listens there, or: INSITU_DEMO_PORT=12375 make demo"
fi
bin/insitu local --own-containerd --root "$work" --listen "$addr" >"$work/insitu.log" 2>&1 &
pid=$!
for _ in $(seq 300); do
  kill -0 $pid 2>/dev/null || { cat "$work/insitu.log" >&2; pid=; die "insitu local ended"; }
  buildctl --addr "$addr" debug workers >/dev/null 2>&1 && break
  sleep 0.2
done
show buildctl --addr "$addr" debug workers

say "a base image, built in place: nothing is downloaded"
mkdir -p "$work/base/rootfs/bin" "$work/app"
cp /bin/busybox "$work/base/rootfs/bin/busybox"
cat > "$work/base/Dockerfile" <<'DOCKERFILE'
FROM scratch
COPY rootfs /
RUN ["/bin/busybox", "--install", "-s", "/bin"]
CMD ["sh"]
DOCKERFILE
show buildctl --addr "$addr" build --progress plain --frontend dockerfile.v0 --local context="$work/base" --local dockerfile="$work/base" \
  --output "type=image,name=$base,unpack=true"

say "an application on top of it: FROM a name that only this machine has, with a secret and a RUN step"
cat > "$work/app/Dockerfile" <<DOCKERFILE
FROM $base
COPY greeting /greeting
RUN --mount=type=secret,id=token test "\$(cat /run/secrets/token)" = open-sesame && echo "built on \$(uname -n)" >> /greeting
CMD ["cat", "/greeting"]
DOCKERFILE
echo "hello from an image that was never pushed and never pulled" > "$work/app/greeting"
printf open-sesame > "$work/token"
show buildctl --addr "$addr" build --progress plain --frontend dockerfile.v0 --local context="$work/app" --local dockerfile="$work/app" \
  --opt image-resolve-mode=local --secret id=token,src="$work/token" --output "type=image,name=$name,unpack=true"

say "the container, from the same containerd"
blobs=$(stored) net=$(received) from=$(millis)
output=$(show "${ctr[@]}" run --rm "$name" "demo-$$")
took=$(($(millis) - from)) pulled=$(($(stored) - blobs))
printf '%s\n' "$output"
grep -q 'never pulled' <<<"$output" || die "the container did not say what was built into it"
[ "$pulled" -eq 0 ] || die "$pulled bytes were added to containerd's content store by starting the container"

say "done"
cat <<SUMMARY

  image       $name
  built by    $(buildkitd --version | awk '{ print $1, $3 }'), unmodified, behind $addr
  container   started and ended in $took ms
  pulled      $pulled bytes (content store before and after; network received meanwhile: $(($(received) - net)) bytes)

Next: make test runs everything on a real two-node Kubernetes; README.md shows the install on your cluster.
SUMMARY
