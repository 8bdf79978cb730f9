#!/usr/bin/env bash
# Makes .venv in the project's root: torch, fairseq (compiled here, a few minutes) and this project. Skips what is there; an
# interrupted set-up goes on when run again. What may be set: PYTHON (a Python 3.11 or 3.12), TORCH_SPEC (what pip installs as
# torch, options included, e.g. TORCH_SPEC="torch==2.13.0 --index-url ADDRESS" for an index that holds the build without
# CUDA), SETUP_EXTRAS (extras of setup.py), SETUP_DISK_GB (free disk asked for).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TORCH_SPEC=${TORCH_SPEC:-torch==2.13.0}
SETUP_EXTRAS=${SETUP_EXTRAS:-test,dev}
SETUP_DISK_GB=${SETUP_DISK_GB:-4}
if (($# > 0)); then
    sed -n '2,6s/^# //p' scripts/setup.sh
    [[ $1 == -h || $1 == --help ]] && exit 0
    exit 2
fi

STATE=.venv/setup # logs, the lock, the stamp
PIP=(.venv/bin/python -m pip --disable-pip-version-check --no-input)
BUILD=

say() { echo "set-up: $*"; }
die() {
    echo "set-up: $*" >&2
    exit 1
}
end_build() { [[ -z $BUILD ]] || kill -- "-$BUILD" 2>/dev/null || true; }
trap end_build EXIT
trap 'die "interrupted; run it again to go on"' INT TERM HUP

# -- what must be there ------------------------------------------------------------------------------------------------------

PROBE='
import sys
if sys.version_info[:2] not in ((3, 11), (3, 12)):
    sys.exit("is Python %d.%d" % sys.version_info[:2])
import os, sysconfig
try:
    import ensurepip, venv
except ImportError:
    sys.exit("has no venv module (Debian: apt-get install python3-venv)")
if not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
    sys.exit("has no header files, which compiling fairseq needs (Debian: apt-get install python3-dev)")
'

find_python() { # sets FOUND
    local candidate answer seen=
    for candidate in ${PYTHON:-python3.11 python3.12 python3 python}; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        if answer=$("$candidate" -c "$PROBE" 2>&1); then
            FOUND=$candidate
            return
        fi
        answer=${answer##*$'\n'}
        [[ $answer == *"is Python"* || $answer == *"has no"* ]] || answer="does not run"
        seen+="; $candidate $answer"
    done
    [[ -n $seen ]] || seen="; nothing of the name ${PYTHON:-python3.11, python3.12 or python3} on PATH"
    die "expected Python 3.11 or 3.12, found ${seen#; }; install one, or name it: PYTHON=/path/to/python3.11 bash scripts/setup.sh"
}

check_compiler() {
    local tool missing=()
    for tool in "${CC:-cc}" "${CXX:-c++}"; do
        command -v "${tool%% *}" >/dev/null 2>&1 || missing+=("${tool%% *}")
    done
    ((${#missing[@]} == 0)) ||
        die "expected a C and a C++ compiler, which fairseq needs, found no ${missing[*]} on PATH; install them (Debian: apt-get install build-essential) or set CC and CXX"
}

check_disk() {
    local free
    free=$(df -Pk . | awk 'NR == 2 {print int($4 / 1048576)}')
    ((free >= SETUP_DISK_GB)) ||
        die "expected $SETUP_DISK_GB GB of free disk in $PWD, found $free GB; make space and run it again (SETUP_DISK_GB=N asks for N)"
}

# -- steps -------------------------------------------------------------------------------------------------------------------

# explain LOG WHAT: the last lines of a failed step and one line on what to do.
explain() {
    tail -n 12 "$1" | sed 's/^/    /' >&2
    if grep -qi 'no space left' "$1"; then
        die "$2 failed: the disk is full; make space and run it again (log: $1)"
    elif grep -qiE 'name resolution|NewConnectionError|ConnectionError|Max retries|timed out|Network is unreachable|No matching distribution' "$1"; then
        die "$2 failed: a package could not be had; check the network and pip's index, then run it again (log: $1)"
    fi
    die "$2 failed; its last lines stand above; run it again after mending the cause (log: $1)"
}

step() { # step NAME WHAT COMMAND...: runs a command with its output in a log
    local log=$STATE/$1.log what=$2 start=$SECONDS
    shift 2
    say "$what ..."
    "$@" >"$log" 2>&1 || explain "$log" "$what"
    say "$what: done in $((SECONDS - start)) s"
}

has_fairseq() { .venv/bin/python -c 'import sys, importlib.metadata as m; sys.exit(m.version("fairseq-fixed") != sys.argv[1])' "${FAIRSEQ#*==}" 2>/dev/null; }

requirements() { # the project's requirements without fairseq, one a line
    .venv/bin/python -c 'import runpy, sys
m = runpy.run_path("setup.py")
print(*m["REQUIRES"], *(r for e in sys.argv[1].split(",") if e for r in m["EXTRAS"][e]), sep="\n")' "$SETUP_EXTRAS"
}

# Debug information is left out (-g0): the compiler takes two thirds of the time. CUDA_HOME would compile kernels that nothing here uses.
build_fairseq() {
    rm -rf "$STATE/wheels.partial" "$STATE/wheels"
    env -u CUDA_HOME CFLAGS="${CFLAGS:-} -g0" "${PIP[@]}" wheel --no-build-isolation --no-deps -v \
        --wheel-dir "$STATE/wheels.partial" "$FAIRSEQ" && mv "$STATE/wheels.partial" "$STATE/wheels"
}

wait_for_build() {
    local start=$1 shown=$SECONDS
    while kill -0 "$BUILD" 2>/dev/null; do
        sleep 1
        if ((SECONDS - shown >= 20)); then
            shown=$SECONDS
            say "compiling fairseq: $((SECONDS - start)) s so far"
        fi
    done
    wait "$BUILD" || explain "$STATE/fairseq.log" "compiling fairseq"
    BUILD=
    say "compiling fairseq: done in $((SECONDS - start)) s"
}

# -- main --------------------------------------------------------------------------------------------------------------------

find_stamp() { { echo "$TORCH_SPEC $SETUP_EXTRAS"; cat setup.py scripts/setup.sh pyproject.toml; } | sha256sum | cut -c 1-64; }
is_done() { [[ -f $STATE/stamp && $(<"$STATE/stamp") == "$1" ]] && .venv/bin/python -c '' 2>/dev/null; }

STAMP=$(find_stamp)
if is_done "$STAMP"; then
    exit 0
fi

find_python
check_disk
FAIRSEQ=$(sed -n 's/^FAIRSEQ = "\([^"]*\)".*/\1/p' setup.py)
mkdir -p "$STATE" 2>/dev/null || die "cannot write to $PWD/.venv; give the folder to this user and run it again"
exec 9>"$STATE/lock"
if ! flock -n 9; then
    say "another set-up is at work in this folder; waiting for it"
    flock 9
fi
if is_done "$STAMP"; then
    exit 0
fi

rm -f "$STATE/stamp"
BEGAN=$SECONDS
if .venv/bin/python -c '' 2>/dev/null; then
    answer=$(.venv/bin/python -c "$PROBE" 2>&1) || die "expected Python 3.11 or 3.12 in .venv, found one that ${answer##*$'\n'}; delete .venv and run it again"
    .venv/bin/python scripts/experiments/repair.py
fi
if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    step venv "making .venv with $FOUND" "$FOUND" -m venv .venv
fi
has_fairseq || check_compiler

# shellcheck disable=SC2086  # TORCH_SPEC may hold options
step torch "installing $TORCH_SPEC" "${PIP[@]}" install --no-compile $TORCH_SPEC
step tools "installing what compiles fairseq" "${PIP[@]}" install --no-compile 'numpy>=2,<3' 'setuptools>=77,<82' 'cython>=3,<4' 'wheel'
.venv/bin/python -c 'import importlib.metadata as m
for name in ("torch", "numpy"): print(name + "==" + m.version(name))' >"$STATE/constraints.txt" # nothing below may replace these
requirements >"$STATE/requirements.txt"

STARTED=$SECONDS
if ! has_fairseq; then
    say "compiling fairseq in the background: 3 minutes or more on one core"
    set -m
    build_fairseq >"$STATE/fairseq.log" 2>&1 &
    BUILD=$!
    set +m
fi
step packages "installing the other packages" "${PIP[@]}" install --no-compile -c "$STATE/constraints.txt" -r "$STATE/requirements.txt"
WHEELS=()
if [[ -n $BUILD ]]; then
    wait_for_build "$STARTED"
    WHEELS=("$STATE"/wheels/*.whl)
fi
step project "installing fairseq and this project" "${PIP[@]}" install --no-compile --no-build-isolation -c "$STATE/constraints.txt" \
    "${WHEELS[@]}" --editable ".[$SETUP_EXTRAS]"
# Loading also compiles what is loaded, once: where PYTHONDONTWRITEBYTECODE is set, every process of every run would compile it again (6 s each).
step check "checking that everything loads" env -u PYTHONDONTWRITEBYTECODE .venv/bin/python -c 'import importlib, sys
import torch._dynamo, torch.utils.tensorboard, fairseq_cli.train, fairseq_cli.generate, fairseq_cli.hydra_train, fairseq_cli.preprocess, fairseq_ext
for name in ("gensim.models", "matplotlib.pyplot", "openTSNE", "pandas", "plotly.graph_objects", "scipy.stats", "sklearn.cluster", "sklearn.decomposition",
             "sklearn.feature_extraction.text", "sklearn.linear_model", "sklearn.metrics", "tensorstore", "tokenizers", "zarr", *sys.argv[1:]):
    importlib.import_module(name)' $([[ ,$SETUP_EXTRAS, != *,test,* ]] || echo dask.array distributed hypothesis pytest selenium.webdriver xarray)
rm -rf "$STATE/wheels"
echo "$STAMP" >"$STATE/stamp.partial"
mv "$STATE/stamp.partial" "$STATE/stamp"
say "ready after $((SECONDS - BEGAN)) s"
