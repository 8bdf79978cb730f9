#!/usr/bin/env bash
# Makes data-bin/ud_ewt: downloads the Universal Dependencies English Web Treebank (resuming), or takes it --from DIR.
# Options: bash scripts/prepare_ud_ewt.sh --help. DATA_BIN=DIR is the same as --data-bin DIR.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/corpora/launch.sh"
launch ud_ewt ${DATA_BIN:+--data-bin "$DATA_BIN"} "$@"
