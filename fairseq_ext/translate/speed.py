"""Times the training of several arms against one another: ``python -m fairseq_ext.translate.speed RUN_FOLDER RUN_FOLDER ... --out FILE``.

One process holds a fairseq ``Trainer`` for each arm, newly initialised, with the options that its run was trained with and without recording.
In each round every arm makes one update on one and the same batch, in an order drawn anew; so a disturbance of the machine, a long batch or a
growing heap meets all arms alike. A few batches come again and again, and a first pass over them is not timed, so that no arm pays for
shapes being new. ``--tied-gradient``, which saves time where embeddings are shared alone, is left out: the ratios are those of fairseq's own way.
"""

from __future__ import annotations

import gc
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import tasks
from fairseq.trainer import Trainer
from omegaconf import DictConfig, OmegaConf, open_dict

from ..errors import UserError
from ..evaluate.command import _Parser, whole_number
from ..evaluate.loading import read_checkpoint, read_run
from ..recording.corpus import described
from ..recording.sharing import tables_of
from .command import write_json
from .loading import TASKS, require_arm

FORMAT, FORMAT_VERSION = "embedding-speed", 1


def parser() -> Any:
    result = _Parser(prog="python -m fairseq_ext.translate.speed", description=__doc__, allow_abbrev=False)
    add = result.add_argument
    add("runs", type=Path, nargs="+", metavar="RUN_FOLDER", help="one run of each arm, whose options are used")
    add("--out", type=Path, required=True, metavar="FILE", help="the file to write, such as runs/E4/speed.json")
    add("--rounds", type=whole_number(2), default=24, help="timed rounds (default: %(default)s)")
    add(
        "--batches",
        type=whole_number(1),
        default=4,
        help="different batches, each once untimed first (default: %(default)s)",
    )
    add("--seed", type=whole_number(0), default=1, help="of the orders (default: %(default)s)")
    return result


def main(arguments: list[str] | None = None) -> None:
    """Time, and write the file; an error ends the program with one line."""
    given = parser().parse_args(arguments)
    configs = {name_of(folder): read_config(folder) for folder in given.runs}
    if len(configs) != len(given.runs) or len(configs) < 2:
        raise UserError(f"expected runs of two or more arms; found {', '.join(configs)} of {len(given.runs)} folders")
    require_comparable(configs)
    trainers = {arm: build(config) for arm, config in configs.items()}
    for arm, trainer in trainers.items():
        rows = {len(trainer.task.source_dictionary), len(trainer.task.target_dictionary)}
        require_arm(tables_of(trainer.get_model(), rows), arm, given.runs[list(trainers).index(arm)])
    seconds, batches = measure(list(trainers.values()), given.rounds, given.batches, given.seed)
    first = next(iter(trainers.values()))
    device = first.device
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "arms": list(trainers),
        "seconds": seconds.round(6).tolist(),
        "target_tokens": [int(sum(sample["ntokens"] for sample in batch)) for batch in batches],
        "source_tokens": [int(sum(sample["net_input"]["src_lengths"].sum() for sample in batch)) for batch in batches],
        "warm_up": given.batches,
        "device": device.type,
        "threads": torch.get_num_threads(),
        "precision": precision(first),
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "corpus": described(Path(first.cfg.task.data)).get("name") or Path(first.cfg.task.data).resolve().name,
        "settings": settings(first.cfg),
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(given.out, content)
    tokens = sum(content["target_tokens"])
    said = ", ".join(f"{arm} {tokens / total:,.0f}" for arm, total in zip(trainers, seconds.sum(0), strict=True))
    print(f"{given.out}: target tokens a second over {given.rounds} rounds: {said}", file=sys.stderr)


def name_of(folder: Path) -> str:
    """The arm: that of ``run.json``, else the name of the folder above."""
    return str(read_run(folder).get("arm") or folder.resolve().parent.name)


def read_config(folder: Path) -> DictConfig:
    """The run's options, without its recording and whatever else touches files."""
    state = read_checkpoint(folder / "checkpoints" / "checkpoint_last.pt")
    cfg: DictConfig = state["cfg"]
    if str(cfg.task.get("_name")) not in TASKS:
        raise UserError(f"{folder}: expected a translation run; found task {cfg.task.get('_name')}")
    with open_dict(cfg):
        for name in list(cfg.task):
            if str(name) == "record_dir":
                cfg.task[name] = ""
            if str(name) == "tied_gradient":
                cfg.task[name] = False
        cfg.common.tensorboard_logdir = None
        cfg.checkpoint.no_save = True
    return cfg


def require_comparable(configs: dict[str, DictConfig]) -> None:
    """Refuse arms that differ in more than what is shared.

    Raises:
        UserError: the corpus, the batches or the sizes differ.
    """
    sizes = {
        arm: {**settings(cfg), "data": str(cfg.task.data), "seed": int(cfg.common.seed), "lr": str(cfg.optimization.lr)}
        for arm, cfg in configs.items()
    }
    first, *others = sizes
    for arm in others:
        differ = [f"{k} ({sizes[first][k]} and {v})" for k, v in sizes[arm].items() if sizes[first][k] != v]
        if differ:
            raise UserError(
                f"expected arms that differ in their sharing alone; {first} and {arm} differ in {', '.join(differ)}"
            )


def settings(cfg: DictConfig) -> dict[str, Any]:
    """What the time of an update depends on, besides the sharing."""
    model = OmegaConf.to_container(cfg.model) if isinstance(cfg.model, DictConfig) else vars(cfg.model)
    names = ("arch", "encoder_layers", "decoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "dropout")
    heads = ("encoder_attention_heads",)
    return {name: model.get(name) for name in names + heads} | {
        "max_tokens": cfg.dataset.max_tokens,
        "update_freq": str(cfg.optimization.update_freq),
        "fast_dropout": bool(cfg.task.get("fast_dropout", False)),
        "tied_gradient": bool(cfg.task.get("tied_gradient", False)),
        "optimizer": str(cfg.optimizer.get("_name")),
    }


def build(cfg: DictConfig) -> Trainer:
    """A trainer of a new model, as ``fairseq-train`` builds it."""
    torch.manual_seed(int(cfg.common.seed))
    task = tasks.setup_task(cfg.task)
    return Trainer(cfg, task, task.build_model(cfg.model), task.build_criterion(cfg.criterion))


def measure(trainers: list[Trainer], rounds: int, different: int, seed: int) -> tuple[np.ndarray, list[list[Any]]]:
    """float64 (rounds, arms) seconds of an update, and each round's batches.

    Raises:
        UserError: the training split is too small for so many different batches.
    """
    epoch = trainers[0].get_train_iterator(epoch=1, load_dataset=True)
    for trainer in trainers:
        trainer.begin_epoch(1)
    size = int(trainers[0].cfg.optimization.update_freq[0])
    batches: list[list[Any]] = [[]]
    for sample in epoch.next_epoch_itr(shuffle=True):
        if len(batches[-1]) == size:
            if len(batches) == different:
                break
            batches.append([])
        batches[-1].append(sample)
    if len(batches) < different or len(batches[-1]) < size:
        found = len(batches) - (len(batches[-1]) < size)
        raise UserError(f"expected at least {different} updates in an epoch, found {found}; give fewer --batches")
    for batch in batches:
        for trainer in trainers:
            trainer.train_step(batch)
    gc.collect()
    gc.freeze()
    order = np.random.default_rng(seed)
    seconds = np.zeros((rounds, len(trainers)))
    for number in range(rounds):
        gc.collect()
        for arm in order.permutation(len(trainers)):
            began = now(trainers[arm])
            trainers[arm].train_step(batches[number % different])
            seconds[number, arm] = now(trainers[arm]) - began
    gc.unfreeze()
    return seconds, [batches[number % different] for number in range(rounds)]


def now(trainer: Trainer) -> float:
    """The time at which everything that the trainer began is done."""
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)
    return time.perf_counter()


def precision(trainer: Trainer) -> str:
    common = trainer.cfg.common
    half = [name for name in ("fp16", "bf16", "amp") if common.get(name)]
    return half[0] if half else "bf16 autocast" if getattr(trainer.task, "autocast", False) else "fp32"


def processor() -> str:
    """The processor's name and the number of cores that this process may use."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


if __name__ == "__main__":
    main()
