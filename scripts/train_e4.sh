#!/usr/bin/env bash
# E4: trains a translation model with or without shared embeddings, and records its tables. One arm of the experiment, at a small size
# (run_all.sh --dry-run prints those of the profiles). Set a variable to change one, and give further options of fairseq-train at the end:
#     RUN=runs/E4/all/seed1 SHARE=all bash scripts/train_e4.sh
# Run it again after an interruption: it resumes from the last checkpoint. Translate afterwards: python -m fairseq_ext.translate RUN
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

DATA=${DATA:-data-bin/libreoffice-help} # a folder made by scripts/prepare_{libreoffice_help,multi30k,iwslt14,tatoeba,pairs}.sh
SHARE=${SHARE:-none}                    # none, decoder (its input and output), or all
RUN=${RUN:-runs/E4/$SHARE/seed1}        # checkpoints, log and dump.zarr go here
SOURCE=${SOURCE:-en} TARGET=${TARGET:-de}
SEED=${SEED:-1}
ARCH=${ARCH:-transformer_iwslt_de_en}
LAYERS=${LAYERS:-3} # of the encoder, and as many of the decoder
DIM=${DIM:-256}
FFN=${FFN:-512}
HEADS=${HEADS:-4}
TOKENS=${TOKENS:-2000} # tokens in a batch, padding included, of the longer side
UPDATE_FREQ=${UPDATE_FREQ:-1} # batches in an update
UPDATES=${UPDATES:-1200}
LR=${LR:-1e-3}
WARMUP=${WARMUP:-200}
DROPOUT=${DROPOUT:-0.1}
SMOOTHING=${SMOOTHING:-0.1}
DECAY=${DECAY:-0.0001}
DEVICE=${DEVICE:-auto} # cpu, gpu, or auto: a GPU where nvidia-smi shows one
GPUS=${GPUS:-1}
AUTOCAST=${AUTOCAST:-off} # off, auto or bf16, on the CPU
VALID_EVERY=${VALID_EVERY:-200} # updates
SAVE_EVERY=${SAVE_EVERY:-200}   # updates; each save validates too
KEEP=${KEEP:-1}                 # checkpoints, the newest
STATISTICS=${STATISTICS:-log2,every:10}
MOVEMENT=${MOVEMENT:-none}
TRACES=${TRACES:-none}
SNAPSHOTS=${SNAPSHOTS:-at:0,every:200}
EXPOSURE=${EXPOSURE:-every:200}

FAIRSEQ_TRAIN=${FAIRSEQ_TRAIN:-.venv/bin/fairseq-train}
case $SHARE in
    none) SHARING=() ;;
    decoder) SHARING=(--share-decoder-input-output-embed) ;;
    all) SHARING=(--share-all-embeddings) ;;
    *) echo "train_e4: expected SHARE=none, decoder or all, found $SHARE" >&2 && exit 1 ;;
esac
has_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; }
case $DEVICE in
    auto) if has_gpu; then DEVICE=gpu; else DEVICE=cpu; fi ;;
    gpu) has_gpu || { echo "train_e4: DEVICE=gpu, but nvidia-smi shows no GPU; use DEVICE=cpu" >&2 && exit 1; } ;;
    cpu) ;;
    *) echo "train_e4: expected DEVICE=auto, cpu or gpu, found $DEVICE" >&2 && exit 1 ;;
esac
if [[ $DEVICE == cpu ]]; then
    HARDWARE=(--cpu --autocast "$AUTOCAST")
else
    HARDWARE=(--distributed-world-size "$GPUS")
fi

mkdir -p "$RUN/log"
exec "$FAIRSEQ_TRAIN" "$DATA" \
    --user-dir fairseq_ext --task embedding_translation --source-lang "$SOURCE" --target-lang "$TARGET" --seed "$SEED" \
    --arch "$ARCH" --encoder-layers "$LAYERS" --decoder-layers "$LAYERS" --encoder-embed-dim "$DIM" --decoder-embed-dim "$DIM" \
    --encoder-ffn-embed-dim "$FFN" --decoder-ffn-embed-dim "$FFN" --encoder-attention-heads "$HEADS" --decoder-attention-heads "$HEADS" \
    "${SHARING[@]}" --dropout "$DROPOUT" --criterion label_smoothed_cross_entropy --label-smoothing "$SMOOTHING" \
    --max-tokens "$TOKENS" --required-batch-size-multiple 1 --update-freq "$UPDATE_FREQ" \
    --optimizer fused_adam --adam-betas '(0.9,0.98)' --adam-eps 1e-8 --weight-decay "$DECAY" --clip-norm 1.0 \
    --lr-scheduler inverse_sqrt --lr "$LR" --warmup-updates "$WARMUP" --max-update "$UPDATES" \
    --fast-dropout --tied-gradient --keep-freed-memory "${HARDWARE[@]}" --validate-interval-updates "$VALID_EVERY" \
    --save-dir "$RUN/checkpoints" --save-interval-updates "$SAVE_EVERY" --keep-interval-updates "$KEEP" --no-epoch-checkpoints \
    --log-format json --log-interval 10 --log-file "$RUN/log/train.log" --tensorboard-logdir "$RUN/log/tensorboard" \
    --record-dir "$RUN/dump.zarr" --record-statistics "$STATISTICS" --record-movement "$MOVEMENT" \
    --record-traces "$TRACES" --record-snapshots "$SNAPSHOTS" --record-exposure "$EXPOSURE" \
    "$@"
