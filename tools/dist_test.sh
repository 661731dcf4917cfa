#!/usr/bin/env bash
# Evaluate with several processes: one per GPU, or over gloo where there is no GPU.
set -euo pipefail

if [ $# -lt 3 ]; then
    cat >&2 <<'USAGE'
usage: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
environment: NNODES (1)  NODE_RANK (0)  MASTER_ADDR (127.0.0.1)  PORT (29500)  PYTHON (python)
USAGE
    exit 2
fi
CONFIG=$1
CHECKPOINT=$2
GPUS=$3
HERE=$(cd "$(dirname "$0")" && pwd)

PYTHONPATH="$HERE/..${PYTHONPATH:+:$PYTHONPATH}" \
exec "${PYTHON:-python}" -m mmlattn.utils.launch.processes \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$GPUS" \
    "$HERE/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "${@:4}"
