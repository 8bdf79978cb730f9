"""E5, the cause of the drift: masked LMs that differ in what trains their embedding tables, at equal updates and tokens; claims D."""

from __future__ import annotations

from .sizes import Cause, Profile
from .stages import Context, Run, Stage, shown, training_stage

EXPERIMENT = "E5"
UNTIED = "-untied"  # ends the name of an arm whose output has a table of its own


def arms(profile: Profile) -> list[str]:
    """The names of a profile's arms."""
    size = profile.cause
    return [] if size is None else [*size.arms, *(f"{arm}{UNTIED}" for arm in size.untied)]


def stages(context: Context) -> list[Stage]:
    """The trainings of every arm and seed, and one evaluation of all of them."""
    size = context.profile.cause
    if size is None:
        return []
    seeds = context.seeds if context.asked or not size.seeds else size.seeds
    chosen = [name for name in arms(context.profile) if not context.arms or name in context.arms]
    trainings = [
        _training(context, size, name.removesuffix(UNTIED), name.endswith(UNTIED), seed)
        for seed in seeds
        for name in chosen
    ]
    return [*trainings, _evaluation(context, size, trainings)]


def _training(context: Context, size: Cause, arm: str, untied: bool, seed: int) -> Stage:
    name = arm + (UNTIED if untied else "")
    folder = context.run_folder(EXPERIMENT, name, seed)
    own = {
        "sgd": {"SGD_LR_SCALE": size.sgd_lr_scale},
        "gating": {"GATING_MEMORY": size.gating_memory},
    }
    values = {
        "DATA": shown(context.data),
        "RUN": shown(folder),
        "SEED": seed,
        "ARM": arm,
        "UNTIED": int(untied),
        **own.get(arm, {}),
        "TOKENS": size.tokens,
        "REPEAT": size.repeat,
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
        "STATISTICS": size.statistics,
        "MOVEMENT": size.movement,
        "TRACES": size.traces,
        "SNAPSHOTS": size.snapshots,
        "EXPOSURE": f"every:{size.every}",
        "CAUSE": size.cause,
        "MOMENTS": size.moments,
        "TRACE_STATE": size.trace_state,
    }
    run = Run(EXPERIMENT, name, seed, context.profile.name, shown(context.data), folder, size.updates)
    command = ("bash", "scripts/train_e5.sh", *size.options)
    seconds = size.untied_seconds if untied else size.seconds
    return training_stage(run, command, values, seconds=seconds, threads=size.threads)


def _evaluation(context: Context, size: Cause, trainings: list[Stage]) -> Stage:
    """One process for all runs, on held-out text: the claims compare losses of arms, and no arm repeats what it has seen."""
    folders = [stage.run.folder for stage in trainings if stage.run]
    options = ("--held-out", str(size.held_out), "--seen", "0", "--unseen", "0", "--masks", str(size.masks))
    return Stage(
        f"{EXPERIMENT} evaluation",
        (".venv/bin/python", "-m", "fairseq_ext.evaluate", *map(shown, folders), *options),
        context.runs / ".stages" / "cause.log",
        marker=context.runs / EXPERIMENT / ".evaluation.json",
        outputs=tuple(folder / "evaluation.npz" for folder in folders),
        needs=tuple(trainings),
        seconds=size.evaluation_seconds * len(folders) + 10,
        experiment=EXPERIMENT,
    )
