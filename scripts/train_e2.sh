#!/usr/bin/env bash
# E2: trains a masked LM of twelve layers and records it, so that its layers can be looked at through its token embeddings. Sizes below are those
# of the quick profile (run_all.sh --dry-run prints those of the others); set a variable to change one, those of scripts/train_e1.sh work as well:
#     DATA=data-bin/mytext RUN=runs/mine/base/seed1 UPDATES=5000 TOKENS=2048 bash scripts/train_e2.sh --encoder-normalize-before
# Then: .venv/bin/python -m fairseq_ext.evaluate.layers RUN, and .venv/bin/python analysis/layers.py RUN --out DIR
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export RUN=${RUN:-runs/E2/base/seed1}
export LAYERS=${LAYERS:-12} DIM=${DIM:-128} FFN=${FFN:-512} HEADS=${HEADS:-4} LR=${LR:-3e-3} UPDATES=${UPDATES:-60} WARMUP=${WARMUP:-6} BATCH=${BATCH:-1000}
export VALID_EVERY=${VALID_EVERY:-30} VALID_EXAMPLES=${VALID_EXAMPLES:-80} SAVE_EVERY=${SAVE_EVERY:-60}
export STATISTICS=${STATISTICS:-log2,every:10} MOVEMENT=${MOVEMENT:-none} TRACES=${TRACES:-none} SNAPSHOTS=${SNAPSHOTS:-at:0,every:30}
TOKENS=${TOKENS:-512} # tokens an update at most, padding included; 0: only BATCH bounds it
DROPOUT=${DROPOUT:-0.0}

LIMIT=()
if [[ $TOKENS != 0 ]]; then
    LIMIT=(--max-tokens "$TOKENS")
fi
exec bash scripts/train_e1.sh ${LIMIT[@]+"${LIMIT[@]}"} --dropout "$DROPOUT" --attention-dropout "$DROPOUT" "$@"
