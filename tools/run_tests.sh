#!/usr/bin/env bash
# Sets everything up where needed, then runs the test suite.
# Usage: bash tools/run_tests.sh [--stack onedl|openmmlab] [--venv DIR] [--det] [pytest arguments ...]
# --det installs mmdet and makes the detection tests count; without it they are skipped where mmdet is missing.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
stack=onedl venv=.venv det=
while (($#)); do
    case $1 in
        --stack) stack=${2:?--stack needs a name}; shift 2 ;;
        --venv) venv=${2:?--venv needs a folder}; shift 2 ;;
        --det) det=--det; shift ;;
        *) break ;;
    esac
done
bash tools/setup_env.sh --stack "$stack" --venv "$venv" $det
if [[ -n $det ]]; then export MMLATTN_REQUIRE_DET=1; fi
# The tests start mim, python and torchrun by name. Two processes of one thread each are faster than one of two: most
# tests are too small for threads. Another number of processes: -n N; -n 0 for a debugger.
# glibc would give memory back after every step and fault it in again; on CPU that can cost more than the step.
export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_TOP_PAD_=268435456
PATH=$(cd "$venv/bin" && pwd):$PATH
export PATH OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec python -m pytest -n 2 --dist loadfile "$@"
