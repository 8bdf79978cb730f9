#!/usr/bin/env bash
# Finds topics of a corpus's training examples, which diverse and narrow pools need: bash scripts/select_topics.sh data-bin/CORPUS
# Writes topics.npz in the corpus's folder. Options: bash scripts/select_topics.sh --help
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ -z ${PYTHON:-} ]]; then
    PYTHON=$ROOT/.venv/bin/python
    [[ -x $PYTHON ]] || bash "$ROOT/scripts/setup.sh"
fi
PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH} exec "$PYTHON" -m fairseq_ext.sampling.topics "$@"
