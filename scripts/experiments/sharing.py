"""E4, shared embeddings: translation models whose tables are not shared, shared in the decoder, or all shared; claims C6."""

from __future__ import annotations

from .sizes import Sharing
from .stages import Context, Run, Stage, shown, training_stage

EXPERIMENT = "E4"


def stages(context: Context) -> list[Stage]:
    """The corpus of pairs, the trainings of every arm and seed, their speed against one another, and the translations."""
    size = context.profile.sharing
    if size is None:
        return []
    seeds = context.seeds if context.asked or not size.seeds else size.seeds
    trainings = [_training(context, size, arm, seed) for seed in seeds for arm in size.arms]
    translations = [_translation(size, stage) for stage in trainings]
    return [*_corpus(context), *trainings, _speed(context, size, trainings[: len(size.arms)]), *translations]


def _corpus(context: Context) -> list[Stage]:
    """The corpus's script; none where a corpus of this name is there, however it was made. Without the corpus the other experiments go on."""
    corpus = context.pairs
    if corpus is None or not corpus.script:
        return []
    marker = context.data_bin / ".stages" / f"{corpus.name}.json"
    if (context.data_bin / corpus.name / "corpus.json").is_file() and not marker.is_file():
        return []
    command = ["bash", corpus.script, *corpus.options]
    if context.default_data_bin != context.data_bin:
        command += ["--data-bin", shown(context.data_bin)]
    data = context.data_bin / corpus.name
    return [
        Stage(
            f"corpus {corpus.name}",
            tuple(command),
            context.runs / ".stages" / "pairs.log",
            marker=marker,
            outputs=(data / "corpus.json", data / "sentencepiece.model"),
            seconds=corpus.seconds,
            experiment=EXPERIMENT,
            optional=True,
        )
    ]


def _training(context: Context, size: Sharing, arm: str, seed: int) -> Stage:
    folder = context.run_folder(EXPERIMENT, arm, seed)
    data = context.data_bin / (context.pairs or size.corpus).name
    source, target = context.languages
    values = {
        "DATA": shown(data),
        "RUN": shown(folder),
        "SHARE": arm,
        "SEED": seed,
        "SOURCE": source,
        "TARGET": target,
        "ARCH": size.arch,
        "LAYERS": size.layers,
        "DIM": size.dim,
        "FFN": size.ffn,
        "HEADS": size.heads,
        "TOKENS": size.tokens,
        "UPDATES": size.updates,
        "LR": size.lr,
        "WARMUP": size.warmup,
        "DROPOUT": size.dropout,
        "DEVICE": size.device,
        "AUTOCAST": size.autocast,
        "VALID_EVERY": size.every,
        "SAVE_EVERY": size.every,
        "KEEP": size.average,
        "SNAPSHOTS": f"at:0,every:{size.snapshots}",
        "EXPOSURE": f"every:{size.snapshots}",
    }
    run = Run(EXPERIMENT, arm, seed, context.profile.name, shown(data), folder, size.updates)
    command = ("bash", "scripts/train_e4.sh", *size.options)
    return training_stage(run, command, values, seconds=size.seconds, threads=size.threads)


def _speed(context: Context, size: Sharing, trainings: list[Stage]) -> Stage:
    """One process that trains all arms in turns; with nothing beside it."""
    out = context.runs / EXPERIMENT / "speed.json"
    folders = [shown(stage.run.folder) for stage in trainings if stage.run]
    options = ("--out", shown(out), "--rounds", str(size.rounds))
    return Stage(
        f"{EXPERIMENT} speed",
        (".venv/bin/python", "-m", "fairseq_ext.translate.speed", *folders, *options),
        context.runs / ".stages" / "speed.log",
        marker=context.runs / EXPERIMENT / ".speed.json",
        outputs=(out,),
        needs=tuple(trainings),
        seconds=size.speed_seconds,
        experiment=EXPERIMENT,
    )


def _translation(size: Sharing, training: Stage) -> Stage:
    assert training.run is not None
    folder = training.run.folder
    options = ["--beam", str(size.beam), "--max-tokens", str(size.generation_tokens)]
    if size.sentences:
        options += ["--sentences", str(size.sentences)]
    if size.average > 1:
        options += ["--average", str(size.average)]
    if size.device == "cpu":
        options.append("--cpu")
    return Stage(
        f"{EXPERIMENT} translation, {training.run.arm}, seed {training.run.seed}",
        (".venv/bin/python", "-m", "fairseq_ext.translate", shown(folder), *options),
        folder / "log" / "translate.out",
        marker=folder / "log" / ".translation.json",
        outputs=(folder / "translation" / "translation.json", folder / "model.json"),
        env=(("OMP_NUM_THREADS", str(size.threads)),) if size.threads else (),
        needs=(training,),
        seconds=size.translation_seconds,
        threads=size.threads,
        experiment=EXPERIMENT,
    )
