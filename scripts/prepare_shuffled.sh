#!/usr/bin/env bash
# Makes data-bin/CORPUS-shuffled, the control whose text has no order, from a prepared corpus: bash scripts/prepare_shuffled.sh data-bin/CORPUS
# Options: bash scripts/prepare_shuffled.sh --help. DATA_BIN=DIR is the same as --data-bin DIR.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/corpora/launch.sh"
launch shuffled ${DATA_BIN:+--data-bin "$DATA_BIN"} "$@"
