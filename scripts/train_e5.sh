#!/usr/bin/env bash
# E5: trains a masked LM whose embedding tables follow a rule of their own, or a remedy against their drift, and records what moves them. One arm of the
# experiment, at a small size (run_all.sh --dry-run prints those of the profiles). Set a variable to change one; those of scripts/train_e1.sh (DATA, RUN,
# SEED, UPDATES, LAYERS, ...) work as well:
#     RUN=runs/E5/coupled-untied/seed1 ARM=coupled UNTIED=1 bash scripts/train_e5.sh
# Trained in 32 bits: rounded to bfloat16, the gradients of the output's rows would not sum to zero.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ARM=${ARM:-adam}                     # adam, coupled, amsgrad, sgd, nodecay or centred: the tables' rule; cosine, gating: Adam and a remedy
UNTIED=${UNTIED:-0}                  # 1: a table for the input and one for the output; 0: one for both
SGD_LR_SCALE=${SGD_LR_SCALE:-200}    # sgd: the tables' learning rate as a multiple of LR
SGD_MOMENTUM=${SGD_MOMENTUM:-0.9}    # sgd
COSINE=${COSINE:-1.0}                # cosine: weight of the regularisation
GATING_MEMORY=${GATING_MEMORY:-0}    # gating: updates in which a token's occurrences are counted; 0: the criterion's own
TOKENS=${TOKENS:-512}                # tokens an update
REPEAT=${REPEAT:-1}                  # how often each training example is drawn; a random part of them, as many as the run needs
DROPOUT=${DROPOUT:-0.1}
EXPOSURE=${EXPOSURE:-every:100}
CAUSE=${CAUSE:-every:5}              # updates at which gradients, second moments and the parts of the update are recorded
MOMENTS=${MOMENTS:-log2,every:20}    # updates at which each row's moments are
TRACE_STATE=${TRACE_STATE:-none}     # updates at which the traced rows' moments are, entry by entry

case $ARM in
    adam) RULE=(--optimizer fused_adam) ;;
    coupled) RULE=(--optimizer coupled_adam) ;;
    amsgrad) RULE=(--optimizer embedding_amsgrad) ;;
    sgd) RULE=(--optimizer embedding_sgd --embedding-lr-scale "$SGD_LR_SCALE" --embedding-momentum "$SGD_MOMENTUM") ;;
    nodecay) RULE=(--optimizer undecayed_adam) ;;
    centred) RULE=(--optimizer centered_adam) ;;
    cosine) RULE=(--criterion remedied_masked_lm --cosine-regularization "$COSINE") ;;
    gating) RULE=(--criterion remedied_masked_lm --gradient-gating) ;;
    *) echo "train_e5: expected ARM=adam, coupled, amsgrad, sgd, nodecay, centred, cosine or gating, found $ARM" >&2 && exit 1 ;;
esac
if [[ $ARM == gating && $GATING_MEMORY != 0 ]]; then
    RULE+=(--gating-memory "$GATING_MEMORY")
fi
case $UNTIED in
    0) TABLES='' ;;
    1) TABLES='-untied' RULE+=(--untie-weights-roberta) ;;
    *) echo "train_e5: expected UNTIED=0 or 1, found $UNTIED" >&2 && exit 1 ;;
esac

export RUN=${RUN:-runs/E5/$ARM$TABLES/seed1}
export LAYERS=${LAYERS:-1} DIM=${DIM:-128} FFN=${FFN:-512} HEADS=${HEADS:-4} LR=${LR:-1e-3} UPDATES=${UPDATES:-200} WARMUP=${WARMUP:-20}
export VALID_EVERY=${VALID_EVERY:-100} VALID_EXAMPLES=${VALID_EXAMPLES:-80} SAVE_EVERY=${SAVE_EVERY:-200}
export STATISTICS=${STATISTICS:-every:1} MOVEMENT=${MOVEMENT:-every:20} TRACES=${TRACES:-none} SNAPSHOTS=${SNAPSHOTS:-log2,every:20}

exec bash scripts/train_e1.sh \
    "${RULE[@]}" --autocast off --dropout "$DROPOUT" --attention-dropout "$DROPOUT" \
    --sample-pool random --sample-repeat "$REPEAT" --sample-order epochs --sample-tokens-per-update "$TOKENS" \
    --record-exposure "$EXPOSURE" --record-cause "$CAUSE" --record-moments "$MOMENTS" --record-trace-state "$TRACE_STATE" \
    "$@"
