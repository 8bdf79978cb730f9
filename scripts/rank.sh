#!/usr/bin/env bash
# One rank of a training of several processes: fairseq-train with what torchrun or srun says of this process. Give it to a training script:
#     FAIRSEQ_TRAIN=scripts/rank.sh torchrun --standalone --nproc_per_node 4 --no-python bash scripts/train_e1.sh
# or call it with the options of fairseq-train. TRAIN names another fairseq-train. docs/study-size.md has whole commands.
set -euo pipefail

RANK=${RANK:-${SLURM_PROCID:-}}
WORLD_SIZE=${WORLD_SIZE:-${SLURM_NTASKS:-}}
DEVICE_ID=${LOCAL_RANK:-${SLURM_LOCALID:-0}}
if [[ -z $RANK || -z $WORLD_SIZE || -z ${MASTER_ADDR:-} || -z ${MASTER_PORT:-} ]]; then
    echo "rank: expected RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT as torchrun sets them (with srun, set the last two); start it with torchrun --no-python" >&2
    exit 1
fi
export RANK WORLD_SIZE
for word in "$@"; do
    [[ $word != --cpu ]] || DEVICE_ID=0
done
exec "${TRAIN:-.venv/bin/fairseq-train}" "$@" --distributed-world-size "$WORLD_SIZE" --distributed-rank "$RANK" \
    --distributed-init-method env:// --distributed-no-spawn --device-id "$DEVICE_ID"
