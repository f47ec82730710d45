#!/usr/bin/env bash
# Runs every test. Stages run in order, a failed stage does not hide the next ones, and the last lines say how it
# went. Usage: scripts/test.sh [STAGE...] with the stages check, unit, integration, cluster.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
become_root "tests start containerd, buildkitd and a Kubernetes cluster in namespaces of their own" "$0" "$@"
trap give_back EXIT
cd "$root"
stages=("$@"); [ ${#stages[@]} -gt 0 ] || stages=(check unit integration cluster)
scripts/setup.sh test || exit 1

reports=$(mktemp -d)
trap 'rm -rf "$reports"; give_back' EXIT
# Keeps what a stage says, for the end. On a terminal it stays the terminal's own: colours, lines that move.
record() { if [ -t 1 ]; then "$@"; else "$@" 2>&1 | tee "$reports/$stage.log"; fi; }

summary=(); status=0 i=0
for stage in "${stages[@]}"; do
  i=$((i + 1)); from=$SECONDS
  say "stage $i of ${#stages[@]}: $stage"
  case $stage in
    check) record npm run -s check ;;
    unit | integration | cluster)
      # integration-alone is a project of its own, and a part of the stage.
      record node node_modules/vitest/vitest.mjs run --project "$stage*" --reporter=default --reporter=json --outputFile.json="$reports/$stage.json" ;;
    *) die "no such stage: $stage" "use check, unit, integration or cluster" ;;
  esac
  code=$?
  # A lab that a failed test left behind would change the next run.
  [ "$stage" != cluster ] || npm run -s lab -- down || code=1
  [ $code -eq 0 ] || { status=1; : >"$reports/$stage.failed"; }
  summary+=("$(printf '%-12s %-7s %4d s' "$stage" "$([ $code -eq 0 ] && echo passed || echo FAILED)" $((SECONDS - from)))")
done

say "summary"
printf '  %s\n' "${summary[@]}"
node scripts/count-tests.mjs "$reports" || status=1
exit $status
