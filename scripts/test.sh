#!/usr/bin/env bash
# Runs the tests, after the set-up if it is missing: bash scripts/test.sh [pytest's options]
# Two processes run them side by side, of one thread each; JOBS=N changes that (JOBS=0: one process, which can be debugged).
# The report is tested in a headless Chromium where there is one; a root user of Debian or Ubuntu gets it from apt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh

has_browser() { command -v chromedriver >/dev/null && command -v chromium chromium-browser google-chrome >/dev/null; }
if ! has_browser && [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    echo "tests: installing Chromium for the browser tests"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update && apt-get install -y --no-install-recommends chromium chromium-driver; } >.venv/setup/chromium.log 2>&1 || true
    has_browser || echo "tests: Chromium could not be installed (log: .venv/setup/chromium.log); the browser tests are skipped"
fi

JOBS=${JOBS:-2}
if ((JOBS > 0)); then
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS:-1}
fi
exec .venv/bin/python -m pytest --numprocesses "$JOBS" --dist worksteal "$@"
