#!/usr/bin/env bash
# Train under slurm.
set -euo pipefail

if [ $# -lt 4 ]; then
    cat >&2 <<'USAGE'
usage: bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of tools/train.py]
environment: GPUS (8, all nodes together)  GPUS_PER_NODE (8, or GPUS where fewer)  CPUS_PER_TASK (5)  SRUN_ARGS  MASTER_PORT (29500)
             PYTHON (python)
USAGE
    exit 2
fi
GPUS=${GPUS:-8}
# Fewer than eight fit on one machine.
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
read -r -a SRUN_ARGS <<< "${SRUN_ARGS:-}"
HERE=$(cd "$(dirname "$0")" && pwd)

PYTHONPATH="$HERE/..${PYTHONPATH:+:$PYTHONPATH}" \
MASTER_PORT="${MASTER_PORT:-29500}" \
exec srun -p "$1" \
    --job-name="$2" \
    --gres="gpu:$GPUS_PER_NODE" \
    --ntasks="$GPUS" \
    --ntasks-per-node="$GPUS_PER_NODE" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS[@]+"${SRUN_ARGS[@]}"} \
    "${PYTHON:-python}" -u "$HERE/train.py" "$3" --work-dir="$4" --launcher slurm "${@:5}"
