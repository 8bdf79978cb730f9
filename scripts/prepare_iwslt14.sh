#!/usr/bin/env bash
# Makes data-bin/iwslt14: downloads the TED talks of IWSLT 2014 (resuming), or takes them --from FILE or DIR.
# Options: bash scripts/prepare_iwslt14.sh --help. DATA_BIN=DIR is the same as --data-bin DIR.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/corpora/launch.sh"
launch iwslt14 ${DATA_BIN:+--data-bin "$DATA_BIN"} "$@"
