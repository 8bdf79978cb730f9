"""fairseq's checkpoints: one snapshot each, with the rows and the attributes that a recording of the run would have."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq import checkpoint_utils, tasks
from omegaconf import OmegaConf
from torch import Tensor

from ..compat import full_config
from ..errors import UserError
from ..evaluate.loading import one_line, prepare_task_config
from ..recording import attributes
from ..recording import sides as corpora
from ..recording.corpus import require_corpus, sha256
from ..recording.sides import Counted, Side, one_text, pair, require_pairs, side_of
from ..recording.tables import TableSpec, find_tables
from ..tasks import masked_lm, translation  # noqa: F401  (registers the tasks, as --user-dir would)
from .pickles import read_pickle
from .provenance import identity_of
from .writing import Table, dump_of, imported_before, require_room, write_dump

MASKED_LM = ("embedding_masked_lm", "masked_lm")
TRANSLATION = ("embedding_translation", "translation")
WHAT = "a checkpoint of fairseq"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's place and update; its content is read when it is needed."""

    path: Path
    update: int


def read(path: Path) -> dict[str, Any]:
    """A checkpoint's content; the configuration of one from before Hydra (``args``) is brought to today's form.

    Raises:
        UserError: it is broken, or not fairseq's.
    """
    state = read_pickle(path, WHAT)
    if not isinstance(state, dict) or "model" not in state or not (state.get("cfg") or state.get("args")):
        raise UserError(
            f"{path}: expected a checkpoint of fairseq with model and configuration; found another file; give one that fairseq wrote, "
            "or import a model of another library with the command huggingface"
        )
    if state.get("cfg"):
        state["cfg"] = OmegaConf.create(state["cfg"], flags={"allow_objects": True})
    else:
        try:
            state = checkpoint_utils._upgrade_state_dict(state)
        except Exception as error:  # the options of any old version
            raise UserError(
                f"{path}: the configuration of an old version of fairseq, which this one cannot read ({one_line(error)})"
            ) from error
    if "task" not in state["cfg"] or "model" not in state["cfg"]:
        raise UserError(f"{path}: expected the configuration of a task and a model in it; found none")
    if state["cfg"].task.get("_name") not in (*MASKED_LM, *TRANSLATION):
        raise UserError(
            f"{path}: expected a masked language model or a translation model; found the task {state['cfg'].task.get('_name')}"
        )
    return state


def in_order(paths: Sequence[Path], given: Sequence[int]) -> list[Checkpoint]:
    """The checkpoints by update, which the files name themselves or ``given`` does.

    Raises:
        UserError: a file does not tell its update, two have the same one, or ``given`` has another length.
    """
    if given and len(given) != len(paths):
        raise UserError(f"expected one --update for each of {len(paths)} checkpoints; found {len(given)}")
    found = []
    for number, path in enumerate(paths):
        history = read(path).get("optimizer_history") or [{}]
        update = given[number] if given else history[-1].get("num_updates")
        if update is None:
            raise UserError(
                f"{path} does not tell how many updates it was trained for; give --update N for each checkpoint"
            )
        found.append(Checkpoint(path, int(update)))
    found.sort(key=lambda entry: entry.update)
    for one, two in itertools.pairwise(found):
        if one.update == two.update:
            raise UserError(
                f"expected checkpoints of different updates; {one.path} and {two.path} are both of update {one.update:,}; leave one out"
            )
    return found


def tables_of(state: dict[str, Any], path: Path, data: Path | None) -> tuple[list[TableSpec], tuple[Side, ...], Path]:
    """The tables of a checkpoint's model, as recording finds them; the corpus's sides and its folder.

    The model is built, because which tables are shared shows in it alone: a checkpoint written from a GPU holds a copy for each name.

    Raises:
        UserError: the corpus is missing or has another dictionary, or the checkpoint does not fit its configuration.
    """
    cfg = copy.deepcopy(state["cfg"])
    prepare_task_config(cfg.task, data)
    where = str(cfg.task.data)
    masked = cfg.task._name in MASKED_LM
    folder = Path(where.split(":")[0])
    if data is None and not folder.is_dir():
        raise UserError(
            f"{path}: its corpus was in {folder}, where no folder is now; run from the folder that training ran from, or give --data DIR"
        )
    if masked:
        require_corpus(where)
    else:
        require_pairs(where, cfg.task.source_lang, cfg.task.target_lang)
    task = tasks.setup_task(cfg.task, from_checkpoint=True)
    if masked:
        sides = one_text(folder, task.dictionary)
    else:
        sides = pair(folder, (task.src_dict, task.tgt_dict), (str(task.cfg.source_lang), str(task.cfg.target_lang)))
    _require_rows(state["model"], sides, path, folder)
    model = task.build_model(cfg.model, from_checkpoint=True)
    try:
        model.load_state_dict(state["model"], strict=True, model_cfg=cfg.model)
    except RuntimeError as error:
        raise UserError(
            f"{path} does not hold the model that its configuration describes ({one_line(error)})"
        ) from error
    model.float()
    return find_tables(model, [len(side.dictionary) for side in sides]), sides, folder


def _require_rows(weights: dict[str, Tensor], sides: tuple[Side, ...], path: Path, folder: Path) -> None:
    """Check that the dictionaries are of the model's size.

    Raises:
        UserError: they are not.
    """
    for name, value in weights.items():
        if not name.endswith("embed_tokens.weight"):
            continue
        side = sides[-1] if name.startswith("decoder.") else sides[0]
        if len(value) != len(side.dictionary):
            raise UserError(
                f"{path}: {name} has {len(value):,} rows but {side.symbols} gives {len(side.dictionary):,}: the model was trained with another "
                f"dictionary than that of {folder}; give the corpus it was trained on by --data"
            )


def precision_of(config: dict[str, Any]) -> str | None:
    """The precision of training by the configuration; ``None`` where it was chosen by what the machine could do."""
    common, task = config.get("common") or {}, config.get("task") or {}
    for name in ("amp", "fp16", "bf16", "memory_efficient_fp16", "memory_efficient_bf16"):
        if common.get(name):
            return name
    return {"off": "fp32", "bf16": "bf16"}.get(str(task.get("autocast") or "off"))


def import_checkpoints(
    paths: Sequence[Path], data: Path | None, run: Path, given: Sequence[int] = (), overwrite: bool = False
) -> list[str]:
    """Write ``run/dump.zarr`` with one snapshot for each checkpoint.

    Args:
        paths: checkpoints of one model.
        data: the corpus; ``None``: the one that the first checkpoint's configuration names.
        run: the folder to write to.
        given: the update of each checkpoint; empty: as the files say.
        overwrite: replace an imported dump that is there.

    Returns:
        what was done, as lines for the user.

    Raises:
        UserError: a file cannot be read, the files do not belong together, or the dump cannot be written.
    """
    series = in_order(paths, given)
    files = [
        {"name": c.path.name, "update": c.update, "bytes": c.path.stat().st_size, "sha256": sha256(c.path)}
        for c in series
    ]
    first = read(series[0].path)
    config = full_config(first["cfg"].task)
    specs, sides, folder = tables_of(first, series[0].path, data)
    counted = corpora.count(folder, str((config.get("dataset") or {}).get("train_subset") or "train"), sides)
    about = {"kind": "fairseq", "files": files, "movement": "not computed: every movement statistic is NaN"}
    about["identity"] = identity_of(about, counted.corpus.attributes() | {"data": ""})
    if imported_before(run, about["identity"], overwrite):
        return [f"{dump_of(run)}: imported already from the same files; nothing to do"]
    tables = [_table(spec, counted) for spec in specs]
    require_room(run, len(series) * sum(table.bytes for table in tables))
    described = attributes.root(
        [table.name for table in tables],
        attributes.run(config, precision_of(config), None),
        counted.corpus.attributes(),
        {"identity": None, "must_match": {}, "options": {}},
        None,
        series[0].update,
        config,
    )
    write_dump(run, tables, _snapshots(series, specs, data), described | {"imported": about})
    names = ", ".join(f"{table.name} ({len(table.rows):,} x {table.dim:,})" for table in tables)
    updates = ", ".join(f"{entry.update:,}" for entry in series)
    return [
        f"{dump_of(run)}: {names} at update {updates}; token counts of {counted.corpus.train_tokens:,} tokens of {folder}"
    ]


def _table(spec: TableSpec, counted: Counted) -> Table:
    side = side_of((spec.name, *spec.aliases), counted.sides)
    return Table(spec.name, spec.aliases, side, counted.rows(side), spec.dim)


def _snapshots(
    series: Sequence[Checkpoint], specs: Sequence[TableSpec], data: Path | None
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Update and float32 [V, d] by table of each checkpoint.

    Raises:
        UserError: a later checkpoint has other tables than the first.
    """
    shapes = {spec.name: (spec.aliases, spec.parameter.shape) for spec in specs}
    yield series[0].update, {spec.name: spec.parameter.detach() for spec in specs}
    for entry in series[1:]:
        others, _, _ = tables_of(read(entry.path), entry.path, data)
        if {spec.name: (spec.aliases, spec.parameter.shape) for spec in others} != shapes:
            found = ", ".join(f"{spec.name} {tuple(spec.parameter.shape)}" for spec in others)
            raise UserError(
                f"expected checkpoints of one model; {entry.path} has the tables {found}, another set or sharing than {series[0].path}; "
                "import each model by itself"
            )
        yield entry.update, {spec.name: spec.parameter.detach() for spec in others}
