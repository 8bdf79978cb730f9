#!/usr/bin/env bash
# Makes data-bin/tatoeba from a file of sentence pairs of Tatoeba that you have: --from FILE.tsv.
# Options: bash scripts/prepare_tatoeba.sh --help. DATA_BIN=DIR is the same as --data-bin DIR.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/corpora/launch.sh"
launch tatoeba ${DATA_BIN:+--data-bin "$DATA_BIN"} "$@"
