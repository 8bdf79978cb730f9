"""E3, repetition and diversity: masked LMs on pools of training examples, at equal updates and tokens; claims C3."""

from __future__ import annotations

from pathlib import Path

from .sizes import Arm, Repetition
from .stages import Context, Run, Stage, shown, training_stage

EXPERIMENT = "E3"


def stages(context: Context) -> list[Stage]:
    """The corpus's topics, the trainings of every arm and seed, and one evaluation of all of them."""
    size = context.profile.repetition
    if size is None:
        return []
    topics = _topics(context) if any(arm.pool in ("diverse", "narrow") for arm in size.arms) else []
    seeds = context.seeds if context.asked or not size.seeds else size.seeds
    trainings = [_training(context, size, arm, seed) for seed in seeds for arm in size.arms]
    return [*topics, *trainings, _evaluation(context, size, trainings)]


def _topics(context: Context) -> list[Stage]:
    return [
        Stage(
            f"topics of {context.corpus.name}",
            ("bash", "scripts/select_topics.sh", shown(context.data)),
            context.runs / ".stages" / "topics.log",
            marker=context.data_bin / ".stages" / f"{context.corpus.name}.topics.json",
            outputs=(context.data / "topics.npz",),
            seconds=15,
        )
    ]


def _training(context: Context, size: Repetition, arm: Arm, seed: int) -> Stage:
    folder = context.run_folder(EXPERIMENT, arm.name, seed)
    values = {
        "DATA": shown(context.data),
        "RUN": shown(folder),
        "SEED": seed,
        "POOL": arm.pool,
        "REPEAT": arm.repeat,
        "FRACTION": arm.fraction,
        "ORDER": arm.order,
        "TOKENS": size.tokens,
        "UPDATES": size.updates,
        "LAYERS": size.layers,
        "DIM": size.dim,
        "FFN": size.ffn,
        "HEADS": size.heads,
        "LR": size.lr,
        "WARMUP": size.warmup,
        "DROPOUT": size.dropout,
        "DEVICE": size.device,
        "VALID_EVERY": size.every,
        "VALID_EXAMPLES": size.valid_examples,
        "SAVE_EVERY": size.save_every,
        "SNAPSHOTS": f"at:0,every:{size.every}",
        "EXPOSURE": f"every:{size.every}",
    }
    run = Run(EXPERIMENT, arm.name, seed, context.profile.name, shown(context.data), folder, size.updates)
    command = ("bash", "scripts/train_e3.sh", *size.options)
    return training_stage(run, command, values, seconds=size.seconds, threads=size.threads)


def _evaluation(context: Context, size: Repetition, trainings: list[Stage]) -> Stage:
    """One process for all runs: loading fairseq takes longer than evaluating a small model."""
    folders = [stage.run.folder for stage in trainings if stage.run]
    options = ("--held-out", str(size.held_out), "--seen", str(size.seen), "--unseen", str(size.seen))
    masks = ("--masks", str(size.masks))
    probe = ("--treebank", shown(context.treebank)) if context.treebank is not None else ()
    command = (".venv/bin/python", "-m", "fairseq_ext.evaluate", *map(shown, folders), *options, *masks, *probe)
    return Stage(
        f"{EXPERIMENT} evaluation",
        command,
        context.runs / ".stages" / "evaluation.log",
        marker=context.runs / EXPERIMENT / ".evaluation.json",
        outputs=tuple(Path(folder) / "evaluation.npz" for folder in folders),
        needs=tuple(trainings),
        seconds=size.evaluation_seconds * len(folders) + 10,
    )
