#!/usr/bin/env bash
# Makes data-bin/NAME from your own text files: bash scripts/prepare_text.sh --name NAME PATH...
# Options: bash scripts/prepare_text.sh --help. DATA_BIN=DIR is the same as --data-bin DIR, WORKERS=N as --workers N.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/corpora/launch.sh"
launch text ${DATA_BIN:+--data-bin "$DATA_BIN"} ${WORKERS:+--workers "$WORKERS"} "$@"
