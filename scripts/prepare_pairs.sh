#!/usr/bin/env bash
# Makes data-bin/NAME from two text files of your own, whose lines belong together.
# Options: bash scripts/prepare_pairs.sh --help. DATA_BIN=DIR is the same as --data-bin DIR.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/corpora/launch.sh"
launch pair_files ${DATA_BIN:+--data-bin "$DATA_BIN"} "$@"
