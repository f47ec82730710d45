#!/bin/sh
# Puts itself into cgroups, then becomes the command. Usage: join-cgroups.sh GROUP... -- CMD ARG...
# Done from outside a node: a process must be in the group before it enters the node's cgroup namespace, and with
# `nsdelegate` (systemd's default) the kernel refuses the move afterwards.
set -eu
while [ "$1" != -- ]; do
  echo 0 > "$1/cgroup.procs"
  shift
done
shift
exec "$@"
