#!/usr/bin/env bash
# Imports a published model, all-MiniLM-L6-v2 (6 layers, 30,522 WordPiece rows), into runs/imported/minilm/seed1 for every analysis.
# Options: bash scripts/import_minilm.sh --help, e.g. --counts data-bin/wikipedia-sample. RUN=FOLDER is the same as --out FOLDER.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/corpora/launch.sh"
launch minilm ${RUN:+--out "$RUN"} "$@"
