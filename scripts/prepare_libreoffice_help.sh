#!/usr/bin/env bash
# Makes data-bin/libreoffice-help, English and German, from two Debian packages: by apt (no root), or --from DIR.
# Options: bash scripts/prepare_libreoffice_help.sh --help. DATA_BIN=DIR is the same as --data-bin DIR.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/corpora/launch.sh"
launch libreoffice_help ${DATA_BIN:+--data-bin "$DATA_BIN"} "$@"
