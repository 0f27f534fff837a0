#!/usr/bin/env bash
# The proof of the action, by BUNDLE, TESTS, BASELINE and REPORTS; status 1 if any part fails.
set -uo pipefail
if [ -z "${BUNDLE:-}" ] && [ -z "${TESTS:-}" ]; then
  echo "nothing to prove: give the action a bundle, or tests" >&2
  exit 2
fi
mkdir -p "$REPORTS" || exit 2
status=0
if [ -n "${BUNDLE:-}" ]; then
  deploy-bias verify "$BUNDLE" ${BASELINE:+--baseline "$BASELINE"} \
    --report "$REPORTS/junit.xml" --report "$REPORTS/report.md" \
    --report "$REPORTS/report.json" --report "$REPORTS/report.html" || status=$?
  if [ -f "$REPORTS/report.md" ]; then
    cat "$REPORTS/report.md" >> "${GITHUB_STEP_SUMMARY:-/dev/stdout}"
  fi
fi
if [ -n "${TESTS:-}" ]; then
  read -ra tests <<< "$TESTS"
  python -m pytest "${tests[@]}" --export-parity="$REPORTS/tests.json" \
    --junit-xml="$REPORTS/tests.xml" || status=$?
fi
exit "$status"
