#!/usr/bin/env bash
# Makes a virtual environment with PyTorch, one OpenMMLab stack, mim, the test tools and mmlattn (editable).
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: bash tools/setup_env.sh [--stack onedl|openmmlab] [--det] [--venv DIR]

  --stack NAME   onedl (default): the maintained distribution of OpenMMLab 2.x
                 openmmlab: upstream OpenMMLab, for those who already use it
  --det          add mmdet; compiles the operators of mmcv once, which takes many minutes, and keeps the wheel in
                 ~/.cache/mmlattn/wheels (under $XDG_CACHE_HOME, where that is set)
  --venv DIR     where the environment goes (default: .venv in the repository)
  -h, --help     this text

PYTHON=/path/to/python chooses the Python (3.10 to 3.12); MAX_JOBS=N limits the compilers that run at once. A second
run takes seconds; an interrupted run goes on where it stopped.
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
WHEELS=${XDG_CACHE_HOME:-${HOME:?}/.cache}/mmlattn/wheels

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

operators_work() { "$VPY" -c 'import torch, mmcv._ext' 2>/dev/null; }

wheel_key() {  # of everything that a compiled mmcv depends on; $1: distribution
    "$VPY" - "$1$(pinned "$1")" 2>/dev/null <<'PYTHON'
import os, sys, sysconfig, torch

kind = 'cpu'
if torch.cuda.is_available() or os.environ.get('FORCE_CUDA') == '1':
    cards = {'%d.%d' % torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())}
    cards = os.environ.get('TORCH_CUDA_ARCH_LIST', '').replace(';', ' ').split() or sorted(cards)
    kind = '_'.join(['cu' + (torch.version.cuda or torch.version.hip), *cards])
print(sysconfig.get_config_var('SOABI'), 'torch' + torch.__version__, sys.argv[1], kind, sep='-')
PYTHON
}

install_wheel() {  # from the cache folder $1; fails where there is none, or none that works
    local wheel
    wheel=$(find "$1" -name '*.whl' 2>/dev/null | head -n 1)
    [[ -n $wheel ]] || return 1
    if "$VPY" -c 'import sys, zipfile; sys.exit(zipfile.ZipFile(sys.argv[1]).testzip() is not None)' "$wheel" 2>/dev/null; then
        [[ $STACK == onedl ]] || "$VPY" -m pip uninstall -q -y mmcv-lite
        if pip_install --no-deps --force-reinstall "$wheel" && operators_work; then return; fi
    fi
    say "      $wheel is damaged or does not work here: removing it"
    rm -f "$wheel"
    return 1
}

build_wheel() {  # of the distribution $1, into the cache folder $2
    local log=$VENV/mmcv-build.log jobs flags
    "$VPY" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null ||
        die "compiling mmcv needs the header files of Python (on Debian/Ubuntu: apt-get install python3-dev)"
    command -v "${CXX:-c++}" >/dev/null ||
        die "compiling mmcv needs a C++ compiler (on Debian/Ubuntu: apt-get install build-essential)"
    if [[ $2 != *-cpu ]] && ! "$VPY" -c 'from torch.utils.cpp_extension import CUDA_HOME as home; assert home' 2>/dev/null; then
        die "compiling mmcv for the GPU needs nvcc (set CUDA_HOME); CUDA_VISIBLE_DEVICES=-1 before the command compiles for the CPU only"
    fi
    jobs=${MAX_JOBS:-$("$VPY" -c 'import os; print(os.cpu_count())')}
    say "      compiling the operators of $1 $(pinned "$1"), $jobs files at once, about 10 minutes of one core; log: $log"
    pip_install -c "$CONSTRAINTS" setuptools wheel ninja psutil
    mkdir -p "$WHEELS"
    find "$WHEELS" -maxdepth 1 -name 'building-*' -mtime +0 -exec rm -rf {} +  # of runs that were killed
    BUILDING=$(mktemp -d "$WHEELS/building-XXXXXX")
    trap 'rm -rf "$BUILDING"' EXIT
    # Debug information of torch's headers (Python's own flags ask for it) is 80 times as large as the code; torch 2.13
    # warns in each file that its headers are C++20 and mmcv's flags C++17. Setuptools takes CFLAGS in place of Python's.
    flags="${CFLAGS:-$("$VPY" -c 'import sysconfig; print(sysconfig.get_config_var("CFLAGS"))')} -g0 -w"
    # pip's own cache may hold this version without operators.
    if ! CFLAGS=$flags MAX_JOBS=$jobs MMCV_WITH_OPS=1 "$VPY" -m pip wheel -v --no-build-isolation --no-deps \
        --no-cache-dir --no-binary "$1" --wheel-dir "$BUILDING" "$1==$(pinned "$1")" >"$log" 2>&1; then
        grep -E -m 5 'error:|Error:|Killed' "$log" >&2 || tail -n 20 "$log" >&2
        die "the operators of $1 did not compile; all of the compiler's words: $log (was it killed? MAX_JOBS=1 needs the least memory)"
    fi
    mkdir -p "$2"
    mv -f "$BUILDING"/*.whl "$2"  # within one file system, so the cache never holds half a wheel
}

install_detection() {
    local mmcv=onedl-mmcv mmdet=onedl-mmdetection entry
    [[ $STACK == openmmlab ]] && mmcv=mmcv mmdet=mmdet
    if ! operators_work; then
        entry=$WHEELS/$(wheel_key "$mmcv")
        if ! install_wheel "$entry"; then
            build_wheel "$mmcv" "$entry"
            install_wheel "$entry" || die "the operators of $mmcv compiled, but do not load: $VPY -c 'import torch, mmcv._ext'"
        fi
        say "      mmcv with operators from $entry"
    fi
    if [[ $STACK == onedl ]]; then
        pip_install -c "$CONSTRAINTS" -r "$ROOT/requirements/onedl-det-deps.txt"
        pip_install --no-deps "$mmdet==$(pinned "$mmdet")" "imaug==$(pinned imaug)"
    else
        pip_install -c "$CONSTRAINTS" -r "$ROOT/requirements/openmmlab-det.txt"
    fi
    "$VPY" -W ignore -c 'import mmdet.apis, mmdet.engine, mmpretrain.models' >/dev/null || die "mmdet and mmpretrain do not import together; see above"
}

install_project() {
    pip_install -c "$CONSTRAINTS" -r "$ROOT/requirements/runtime.txt" -r "$ROOT/requirements/onnx.txt" -r "$ROOT/requirements/tests.txt"
    # Its own requirement, opencv-python-headless, would overwrite the files of opencv-python.
    pip_install --no-deps -c "$CONSTRAINTS" -r "$ROOT/requirements/grad-cam.txt"
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

if [[ -f $STAMP && $(cat "$STAMP") == *det=yes ]]; then DET=yes; fi  # an update keeps mmdet
print_done="$(fingerprint) det=$DET"
if [[ -f $STAMP && $(cat "$STAMP") == "$print_done" ]]; then
    say "ready: $VENV ($STACK), nothing to do"
    exit 0
fi

start=$SECONDS
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
