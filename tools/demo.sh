#!/usr/bin/env bash
# From a fresh clone to a trained CSRA model and a picture of what it looked at.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: bash tools/demo.sh [--photos] [--seed N] [--out-dir DIR]

  --photos    photo cut-outs and an ImageNet MobileNetV2 instead of handwritten digits (Debian/Ubuntu)
  --seed N    seed of the scenes and of the training (default 0)
  --out-dir DIR  folder of this run (default: a new one under work_dirs/)
  -h, --help  this text

Sets everything up in .venv on its first run. No GPU and no account needed. Nothing of an earlier run is touched.
TEXT
}

for argument in "$@"; do
    if [[ $argument == -h || $argument == --help ]]; then
        usage
        exit 0
    fi
done

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CALLER=$PWD
cd "$ROOT"
bash tools/setup_env.sh
exec "$ROOT/.venv/bin/python" tools/demo/run_demo.py --started-in "$CALLER" "$@"
