#!/usr/bin/env bash
# Sets everything up where needed, then runs the test suite.
# Usage: bash tools/run_tests.sh [--stack onedl|openmmlab] [--venv DIR] [pytest arguments ...]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
stack=onedl venv=.venv
while [[ ${1:-} == --stack || ${1:-} == --venv ]]; do
    if [[ $1 == --stack ]]; then stack=${2:?--stack needs a name}; else venv=${2:?--venv needs a folder}; fi
    shift 2
done
bash tools/setup_env.sh --stack "$stack" --venv "$venv"
# The tests start mim, python and torchrun by name; two threads a process are as fast here and leave room for more.
# glibc would give memory back after every step and fault it in again; on CPU that can cost more than the step.
export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_TOP_PAD_=268435456
PATH=$(cd "$venv/bin" && pwd):$PATH
export PATH OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"
exec python -m pytest "$@"
