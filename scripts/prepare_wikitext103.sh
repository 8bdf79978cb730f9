#!/usr/bin/env bash
# Makes data-bin/wikitext-103: downloads WikiText-103 (resuming), or takes it --from DIR.
# Options: bash scripts/prepare_wikitext103.sh --help. DATA_BIN=DIR is the same as --data-bin DIR, WORKERS=N as --workers N.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/corpora/launch.sh"
launch wikitext103 ${DATA_BIN:+--data-bin "$DATA_BIN"} ${WORKERS:+--workers "$WORKERS"} "$@"
