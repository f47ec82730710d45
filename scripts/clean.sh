#!/usr/bin/env bash
# Stops the lab if there is one and removes what was built in the checkout.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$root"
become_root "a lab's namespaces and mounts can only be removed by root" "$0" "$@"
[ ! -x node_modules/.bin/node ] || npm run -s lab -- down || true
rm -rf node_modules dist .tools .lab .local coverage src/buildkit/gen
