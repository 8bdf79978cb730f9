"""E1, base: a masked LM of the study's size, one run a seed; claims C1, C2, C4 and C7."""

from __future__ import annotations

from .sizes import MaskedLM
from .stages import Context, Run, Stage, shown, training_stage

EXPERIMENT = "E1"
ARM = "base"


def stages(context: Context) -> list[Stage]:
    """The trainings of E1."""
    return [_training(context, context.profile.base, seed) for seed in context.seeds]


def _training(context: Context, size: MaskedLM, seed: int) -> Stage:
    folder = context.run_folder(EXPERIMENT, ARM, seed)
    values = {
        "DATA": shown(context.data),
        "RUN": shown(folder),
        "SEED": seed,
        "UPDATES": size.updates,
        "LAYERS": size.layers,
        "DIM": size.dim,
        "FFN": size.ffn,
        "HEADS": size.heads,
        "BATCH": size.batch,
        "LR": size.lr,
        "WARMUP": size.warmup,
        "DEVICE": size.device,
        "VALID_EVERY": size.valid_every,
        "VALID_EXAMPLES": size.valid_examples,
        "SAVE_EVERY": size.save_every,
        "STATISTICS": size.statistics,
        "MOVEMENT": size.movement,
        "TRACES": size.traces,
        "SNAPSHOTS": size.snapshots,
    }
    run = Run(EXPERIMENT, ARM, seed, context.profile.name, shown(context.data), folder, size.updates)
    return training_stage(run, ("bash", "scripts/train_e1.sh"), values, seconds=size.seconds)
