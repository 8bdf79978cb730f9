#!/usr/bin/env bash
# Makes data-bin/wikipedia-sample from the Wikipedia articles inside the gensim package. No network.
# Options: bash scripts/prepare_wikipedia_sample.sh --help. DATA_BIN=DIR is the same as --data-bin DIR, WORKERS=N as --workers N.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/corpora/launch.sh"
launch wikipedia_sample ${DATA_BIN:+--data-bin "$DATA_BIN"} ${WORKERS:+--workers "$WORKERS"} "$@"
