#!/usr/bin/env bash
# Runs the experiments of a profile from set-up to report: bash scripts/run_all.sh [--profile smoke|quick|standard|gpu|study]
# Options: bash scripts/run_all.sh --help. Run it again after an interruption: it skips what is finished and resumes the rest.
set -euo pipefail
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

for candidate in "$scripts/../.venv/bin/python" ${PYTHON:-python3.11 python3.12 python3}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; then
        exec "$candidate" "$scripts/run_all.py" "$@"
    fi
done
echo "run_all: expected Python 3.11 or 3.12, found none; install one, or name it: PYTHON=/path/to/python3.11 bash scripts/run_all.sh" >&2
exit 1
