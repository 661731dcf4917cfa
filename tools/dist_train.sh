#!/usr/bin/env bash
# Train with several processes: one per GPU, or over gloo where there is no GPU.
set -euo pipefail

if [ $# -lt 2 ]; then
    cat >&2 <<'USAGE'
usage: bash tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
environment: NNODES (1)  NODE_RANK (0)  MASTER_ADDR (127.0.0.1)  PORT (29500)  PYTHON (python)
USAGE
    exit 2
fi
CONFIG=$1
GPUS=$2
HERE=$(cd "$(dirname "$0")" && pwd)

PYTHONPATH="$HERE/..${PYTHONPATH:+:$PYTHONPATH}" \
exec "${PYTHON:-python}" -m mmlattn.utils.launch.processes \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$GPUS" \
    "$HERE/train.py" "$CONFIG" --launcher pytorch "${@:3}"
