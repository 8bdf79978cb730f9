"""E2, layers: twelve-layer masked LMs on the corpus and on its shuffled text, and what the analysis needs of their layers; claims C5."""

from __future__ import annotations

from .sizes import Layers
from .stages import Context, Run, Stage, shown, training_stage

EXPERIMENT = "E2"
SHUFFLED = "shuffled"


def stages(context: Context) -> list[Stage]:
    """The shuffled corpus, the trainings of every arm and seed, and one reading of all models' layers."""
    size = context.profile.layers
    if size is None:
        return []
    seeds = context.seeds if context.asked or not size.seeds else size.seeds
    trainings = [_training(context, size, arm, seed) for seed in seeds for arm in size.arms]
    return [*_shuffled(context, size), *trainings, _evaluation(context, size, trainings)]


def _shuffled(context: Context, size: Layers) -> list[Stage]:
    if SHUFFLED not in size.arms:
        return []
    name = f"{context.corpus.name}-shuffled"
    data = context.data_bin / name
    return [
        Stage(
            f"corpus {name}",
            ("bash", "scripts/prepare_shuffled.sh", shown(context.data), "--data-bin", shown(context.data_bin)),
            context.runs / ".stages" / "shuffled.log",
            marker=context.data_bin / ".stages" / f"{name}.json",
            outputs=(data / "dict.txt", data / "train.bin", data / "valid.bin"),
            seconds=5,
            experiment=EXPERIMENT,
        )
    ]


def _training(context: Context, size: Layers, arm: str, seed: int) -> Stage:
    folder = context.run_folder(EXPERIMENT, arm, seed)
    data = context.data_bin / f"{context.corpus.name}-shuffled" if arm == SHUFFLED else context.data
    values = {
        "DATA": shown(data),
        "RUN": shown(folder),
        "SEED": seed,
        "UPDATES": size.updates,
        "LAYERS": size.layers,
        "DIM": size.dim,
        "FFN": size.ffn,
        "HEADS": size.heads,
        "BATCH": size.batch,
        "TOKENS": size.tokens,
        "LR": size.lr,
        "WARMUP": size.warmup,
        "DROPOUT": size.dropout,
        "DEVICE": size.device,
        "VALID_EVERY": size.every,
        "VALID_EXAMPLES": size.valid_examples,
        "SAVE_EVERY": size.save_every,
        "STATISTICS": size.statistics,
        "SNAPSHOTS": size.snapshots,
    }
    run = Run(EXPERIMENT, arm, seed, context.profile.name, shown(data), folder, size.updates)
    command = ("bash", "scripts/train_e2.sh", *size.options)
    return training_stage(run, command, values, seconds=size.seconds, threads=size.threads)


def _evaluation(context: Context, size: Layers, trainings: list[Stage]) -> Stage:
    """One process for all runs: loading fairseq takes longer than reading a small model."""
    folders = [stage.run.folder for stage in trainings if stage.run]
    options = ["--vectors", str(size.vectors), "--tokens", str(size.held_out), "--untrained", str(size.untrained)]
    if context.treebank is not None:
        words = [str(number) for number in size.probe]
        options += ["--treebank", shown(context.treebank), "--probe-train", words[0], "--probe-dev", words[1]]
    return Stage(
        f"{EXPERIMENT} layers",
        (".venv/bin/python", "-m", "fairseq_ext.evaluate.layers", *map(shown, folders), *options),
        context.runs / ".stages" / "layers.log",
        marker=context.runs / EXPERIMENT / ".layers.json",
        outputs=tuple(folder / name for folder in folders for name in ("parameters.npz", "layers.npz")),
        needs=tuple(trainings),
        seconds=size.evaluation_seconds * len(folders),
        experiment=EXPERIMENT,
    )
