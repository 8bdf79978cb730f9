#!/usr/bin/env bash
# Makes data-bin/multi30k: downloads the captions of Multi30k (resuming), or takes them --from DIR.
# Options: bash scripts/prepare_multi30k.sh --help. DATA_BIN=DIR is the same as --data-bin DIR.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/corpora/launch.sh"
launch multi30k ${DATA_BIN:+--data-bin "$DATA_BIN"} "$@"
