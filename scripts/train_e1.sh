#!/usr/bin/env bash
# E1: trains a masked LM of the study's kind and records how its embedding table is learned. Sizes below are the study's model with
# the quick profile's schedule; set a variable to change one, and give further options of fairseq-train at the end:
#     DATA=data-bin/mytext RUN=runs/mine/base/seed1 UPDATES=1000 bash scripts/train_e1.sh --mask-prob 0.2
# Run it again after an interruption: it resumes from the last checkpoint.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

DATA=${DATA:-data-bin/wikipedia-sample} # a folder made by scripts/prepare_*.sh
RUN=${RUN:-runs/E1/base/seed1}          # checkpoints, log and dump.zarr go here
SEED=${SEED:-1}
UPDATES=${UPDATES:-250}
LAYERS=${LAYERS:-6}
DIM=${DIM:-512}
FFN=${FFN:-2048}
HEADS=${HEADS:-8}
BATCH=${BATCH:-8}             # examples in a batch
UPDATE_FREQ=${UPDATE_FREQ:-1} # batches in an update
LR=${LR:-5e-4}
WARMUP=${WARMUP:-25}
DEVICE=${DEVICE:-auto} # cpu, gpu, or auto: a GPU where nvidia-smi shows one
GPUS=${GPUS:-1}
VALID_EVERY=${VALID_EVERY:-125} # updates
VALID_EXAMPLES=${VALID_EXAMPLES:-80} # of the validation split, chosen at random, the same each time
SAVE_EVERY=${SAVE_EVERY:-125}   # updates; each save validates too
STATISTICS=${STATISTICS:-every:1}
MOVEMENT=${MOVEMENT:-every:10}
TRACES=${TRACES:-every:5}
SNAPSHOTS=${SNAPSHOTS:-log2,every:50}

FAIRSEQ_TRAIN=${FAIRSEQ_TRAIN:-.venv/bin/fairseq-train}
has_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; }
case $DEVICE in
    auto) if has_gpu; then DEVICE=gpu; else DEVICE=cpu; fi ;;
    gpu) has_gpu || { echo "train_e1: DEVICE=gpu, but nvidia-smi shows no GPU; use DEVICE=cpu" >&2 && exit 1; } ;;
    cpu) ;;
    *) echo "train_e1: expected DEVICE=auto, cpu or gpu, found $DEVICE" >&2 && exit 1 ;;
esac
if [[ $DEVICE == cpu ]]; then
    HARDWARE=(--cpu)
else
    HARDWARE=(--distributed-world-size "$GPUS")
fi

mkdir -p "$RUN/log"
exec "$FAIRSEQ_TRAIN" "$DATA" \
    --user-dir fairseq_ext --task embedding_masked_lm --criterion masked_lm --seed "$SEED" \
    --arch roberta_base --encoder-layers "$LAYERS" --encoder-embed-dim "$DIM" --encoder-ffn-embed-dim "$FFN" --encoder-attention-heads "$HEADS" \
    --dropout 0.1 --attention-dropout 0.1 \
    --sample-break-mode eos --tokens-per-sample 512 --batch-size "$BATCH" --required-batch-size-multiple 1 --update-freq "$UPDATE_FREQ" \
    --optimizer fused_adam --adam-betas '(0.9,0.98)' --adam-eps 1e-6 --weight-decay 0.01 \
    --lr-scheduler polynomial_decay --lr "$LR" --warmup-updates "$WARMUP" --total-num-update "$UPDATES" --max-update "$UPDATES" \
    --autocast auto --tied-gradient --fast-dropout --fast-head --keep-freed-memory "${HARDWARE[@]}" \
    --validate-interval-updates "$VALID_EVERY" --sample-valid-examples "$VALID_EXAMPLES" --fixed-validation-seed 1 \
    --save-dir "$RUN/checkpoints" --save-interval-updates "$SAVE_EVERY" --keep-interval-updates 1 --no-epoch-checkpoints \
    --log-format json --log-interval 10 --log-file "$RUN/log/train.log" --tensorboard-logdir "$RUN/log/tensorboard" \
    --record-dir "$RUN/dump.zarr" --record-statistics "$STATISTICS" --record-movement "$MOVEMENT" \
    --record-traces "$TRACES" --record-snapshots "$SNAPSHOTS" \
    "$@"
