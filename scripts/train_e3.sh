#!/usr/bin/env bash
# E3: trains a masked LM on a pool of training examples that are repeated, and records it. One arm of the experiment, at a small size
# (run_all.sh --dry-run prints those of the profiles). Set a variable to change one; those of scripts/train_e1.sh (DATA, RUN, SEED, UPDATES, LAYERS, ...) work as well:
#     RUN=runs/E3/narrow16/seed1 POOL=narrow REPEAT=16 bash scripts/train_e3.sh
# diverse and narrow pools need the corpus's topics: bash scripts/select_topics.sh data-bin/wikipedia-sample
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export RUN=${RUN:-runs/E3/distinct/seed1}
export LAYERS=${LAYERS:-2} DIM=${DIM:-128} FFN=${FFN:-512} HEADS=${HEADS:-4} LR=${LR:-3e-3} UPDATES=${UPDATES:-400} WARMUP=${WARMUP:-40}
export VALID_EVERY=${VALID_EVERY:-100} VALID_EXAMPLES=${VALID_EXAMPLES:-160} SAVE_EVERY=${SAVE_EVERY:-100}
export STATISTICS=${STATISTICS:-log2,every:10} MOVEMENT=${MOVEMENT:-none} TRACES=${TRACES:-none} SNAPSHOTS=${SNAPSHOTS:-at:0,every:100}
POOL=${POOL:-random}         # all, random, diverse or narrow
REPEAT=${REPEAT:-1}          # how often each example of the pool is drawn
FRACTION=${FRACTION:-0}      # 0, or the share of the tokens that the repeated set makes up
ORDER=${ORDER:-spread}       # spread, epochs or consecutive
MASKS=${MASKS:-fresh}        # fresh or identical
TOKENS=${TOKENS:-512}        # tokens an update
EXPOSURE=${EXPOSURE:-every:100}
DROPOUT=${DROPOUT:-0.1}

exec bash scripts/train_e1.sh \
    --sample-pool "$POOL" --sample-repeat "$REPEAT" --sample-fraction "$FRACTION" --sample-order "$ORDER" --sample-masks "$MASKS" \
    --sample-tokens-per-update "$TOKENS" --record-exposure "$EXPOSURE" --dropout "$DROPOUT" --attention-dropout "$DROPOUT" \
    "$@"
