#!/usr/bin/env bash
# Makes a virtual environment with PyTorch, one OpenMMLab stack, mim, the test tools and mmlattn (editable).
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: bash tools/setup_env.sh [--stack onedl|openmmlab] [--det] [--venv DIR]

  --stack NAME   onedl (default): the maintained distribution of OpenMMLab 2.x
                 openmmlab: upstream OpenMMLab, for those who already use it
  --det          add mmdet; compiles the operators of mmcv, which takes many minutes
  --venv DIR     where the environment goes (default: .venv in the repository)
  -h, --help     this text

PYTHON=/path/to/python chooses the Python (3.10 to 3.12). A second run takes seconds; an interrupted run goes on
where it stopped.
TEXT
}

die() { echo "setup_env.sh: $*" >&2; exit 1; }
say() { echo "[setup] $*"; }

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
STACK=onedl DET=no VENV=$ROOT/.venv
while (($#)); do
    case $1 in
        --stack) STACK=${2:?--stack needs a name}; shift 2 ;;
        --venv)
            VENV=${2:?--venv needs a folder}; shift 2
            [[ $VENV == /* ]] || VENV=$PWD/$VENV ;;
        --det) DET=yes; shift ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; die "unknown argument: $1" ;;
    esac
done
[[ $STACK == onedl || $STACK == openmmlab ]] || die "--stack must be onedl or openmmlab, got '$STACK'"

CONSTRAINTS=$ROOT/requirements/constraints-$STACK.txt
MARKER=$VENV/.mmlattn-env  # says that this script made the folder, for which stack and which checkout
STAMP=$VENV/.mmlattn-installed
VPY=$VENV/bin/python

supported() { "$1" -c 'import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }

find_python() {
    if [[ -n ${PYTHON:-} ]]; then
        supported "$PYTHON" || die "PYTHON=$PYTHON is not a Python 3.10, 3.11 or 3.12 with the modules venv and ensurepip"
        command -v "$PYTHON"
        return
    fi
    local candidate
    for candidate in python3.12 python3.11 python3.10 python3 "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/3.1[012]*/bin/python; do
        if supported "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    die "found no Python 3.10, 3.11 or 3.12 with venv (on Debian/Ubuntu: apt-get install python3 python3-venv); or set PYTHON=/path/to/python"
}

fingerprint() {  # of everything that decides what gets installed
    (cd "$ROOT" && cat requirements/*.txt setup.py pyproject.toml tools/setup_env.sh mmlattn/version.py | cksum)
}

pip_install() {
    [[ -t 1 ]] || set -- -q "$@"  # pip's progress bars need a terminal
    "$VPY" -m pip install --disable-pip-version-check "$@"
}

pinned() { sed -n "s/^$1==\([^; ]*\).*/\1/p" "$CONSTRAINTS"; }
torch_works() { "$VPY" -c "import torch, torchvision; assert torch.__version__.split('+')[0] == '$(pinned torch)'" 2>/dev/null; }
cpu_only() { [[ $(uname -s) == Linux ]] && ! nvidia-smi -L >/dev/null 2>&1; }

install_torch() {
    torch_works && return
    local index=https://download.pytorch.org/whl/cpu
    if cpu_only; then
        say "      no GPU: trying PyTorch's index of small CPU builds"
        if "$VPY" -c "import urllib.request as r; r.urlopen('$index/torch/', timeout=5)" 2>/dev/null &&
            pip_install --index-url "$index" "torch==$(pinned torch)" "torchvision==$(pinned torchvision)" && torch_works; then
            return
        fi
        say "      not to be had: taking the standard builds (larger, they run on the CPU as well)"
    fi
    # Arbitrary equality (===) refuses local builds such as +cpu: torch and torchvision must be of one kind.
    pip_install "torch===$(pinned torch)" "torchvision===$(pinned torchvision)"
    torch_works || die "torch and torchvision do not import together; see: $VPY -c 'import torchvision'"
}

install_stack() {
    if [[ $STACK == onedl ]]; then
        pip_install -c "$CONSTRAINTS" -r "$ROOT/requirements/onedl.txt"
    else
        # Full mmcv, once compiled for --det, takes the place of mmcv-lite.
        local mmcv=mmcv-lite
        if "$VPY" -m pip show -q mmcv 2>/dev/null; then mmcv=mmcv; fi
        sed "s/^mmcv-lite/$mmcv/" "$ROOT/requirements/openmmlab.txt" >"$VENV/openmmlab.txt"
        pip_install -c "$CONSTRAINTS" -r "$VENV/openmmlab.txt" -r "$ROOT/requirements/openmim.txt"
        pip_install --no-deps "openmim==$(pinned openmim)"
    fi
}

install_detection() {
    local mmcv=onedl-mmcv mmdet=onedl-mmdetection
    [[ $STACK == openmmlab ]] && mmcv=mmcv mmdet=mmdet
    if ! "$VPY" -c 'import torch, mmcv._ext' 2>/dev/null; then
        say "      compiling the operators of $mmcv $(pinned "$mmcv"): 10 to 60 minutes, needs a C++ compiler (nvcc as well for the GPU)"
        pip_install -c "$CONSTRAINTS" setuptools wheel ninja psutil
        [[ $STACK == onedl ]] || "$VPY" -m pip uninstall -q -y mmcv-lite
        MMCV_WITH_OPS=1 pip_install -v --no-build-isolation --no-deps --force-reinstall --no-cache-dir \
            --no-binary "$mmcv" "$mmcv==$(pinned "$mmcv")"
        "$VPY" -c 'import torch, mmcv._ext' || die "the operators of $mmcv did not build; the compiler's words are above"
    fi
    pip_install -c "$CONSTRAINTS" -r "$ROOT/requirements/$STACK-det.txt"
}

install_project() {
    pip_install -c "$CONSTRAINTS" -r "$ROOT/requirements/runtime.txt" -r "$ROOT/requirements/onnx.txt" -r "$ROOT/requirements/tests.txt"
    if [[ $STACK == onedl ]]; then
        pip_install --no-deps -e "$ROOT"
    else
        # openmim looks for the code where the metadata is; of the editable installs only the old kind has both there.
        (cd "$ROOT" && "$VPY" -W ignore setup.py -q develop --no-deps)
    fi
}

want="stack=$STACK root=$ROOT"
if [[ -f $MARKER ]]; then
    [[ $(cat "$MARKER") == "$want" ]] ||
        die "$VENV was made for '$(cat "$MARKER")', wanted is '$want': remove it (rm -r '$VENV') or choose another folder with --venv"
elif [[ -d $VENV && -n $(ls -A "$VENV") ]]; then
    die "$VENV exists and was not made by this script, so it stays untouched: move it away or choose another folder with --venv"
fi

print_done="$(fingerprint) det=$DET"
if [[ -f $STAMP ]] && [[ $(cat "$STAMP") == "$print_done" || $(cat "$STAMP") == "${print_done%no}yes" ]]; then
    say "ready: $VENV ($STACK), nothing to do"
    exit 0
fi

start=$SECONDS
if [[ $DET == yes ]]; then say "--det compiles mmcv, which takes many minutes; everything else takes about two"; fi
say "[1/4] virtual environment $VENV"
mkdir -p "$VENV"
echo "$want" >"$MARKER"  # before anything else, so that an interrupted run is recognised as ours
rm -f "$STAMP"
if ! "$VPY" -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    say "      $("$python" --version) at $python"
    "$python" -m venv "$VENV"
fi
say "[2/4] torch $(pinned torch), torchvision $(pinned torchvision) (up to 3 GB to download and unpack)"
install_torch
say "[3/4] the $STACK stack and mim"
install_stack
if [[ $DET == yes ]]; then install_detection; fi
say "[4/4] mmlattn (editable), ONNX and test tools"
install_project
torch_works || die "a later step broke torch and torchvision: $VPY -m pip check"
"$VPY" -W error::UserWarning -c 'import mmlattn'
# yapf, with which mmengine prints configs, writes a cache on its first import; two first runs at once would trip.
"$VPY" -c 'import yapf'
echo "$print_done" >"$STAMP"
say "done in $((SECONDS - start)) s; activate it with: source $VENV/bin/activate"
