#!/usr/bin/env bash
# Installs deploy_bias with EXTRAS beside the torch that is there: never another one in its place.
# Status 1 if they do not go together.
set -euo pipefail
own=$(cd "$(dirname "$0")/../../.." && pwd)  # the repository of this action
there=$(mktemp)
trap 'rm -f "$there"' EXIT
python -m pip freeze | grep -E '^torch( @|==)' > "$there" || true
if ! python -m pip install --quiet --constraint "$there" "$own[$EXTRAS]" pytest "$@"; then
  echo "deploy_bias[$EXTRAS] does not go with $(cat "$there"): choose other extras," \
    "onnx or torchscript, or another torch" >&2
  exit 1
fi
