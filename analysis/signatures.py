"""What reproduces a number, in the manner of sacrebleu's signatures, from a dump and the place where its run stands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dump import Dump, Table


def signature(dump: Dump, table: Table | str | None = None, update: int | None = None) -> str:
    """The signature of numbers taken from one table at one update: `corpus:...|arm:...|seed:...|update:...|...|format:1`.

    Experiment, arm and seed come from `run.json` beside the dump where there is one, else from a path of the form
    `<experiment>/<arm>/seed<k>/dump.zarr`; the seed also from the dump's own attributes. Unknown fields are left out.
    """
    entry = dump.table(table) if table is None or isinstance(table, str) else table
    run, corpus = dump.attrs.get("run") or {}, dump.attrs.get("corpus") or {}
    place = run_place(dump)
    fields: dict[str, Any] = {
        "corpus": corpus.get("name"),
        "experiment": place.get("experiment"),
        "arm": place.get("arm"),
        "seed": place.get("seed", run.get("seed")),
        "update": update,
        "table": entry.name,
        "rows": entry.rows,
        "dim": entry.dim,
        "precision": run.get("precision"),
        "code": (dump.attrs.get("versions") or {}).get("fairseq_ext"),
        "format": dump.attrs["format_version"],
    }
    return "|".join(f"{key}:{value}" for key, value in fields.items() if value is not None)


def run_place(dump: Dump) -> dict[str, Any]:
    """Experiment, arm and seed of a dump's run, as far as they are known."""
    beside = dump.path.absolute().parent
    place: dict[str, Any] = {}
    if beside.name.startswith("seed") and beside.name[4:].isdecimal():
        place = {"experiment": beside.parent.parent.name, "arm": beside.parent.name, "seed": int(beside.name[4:])}
    try:
        described = json.loads((beside / "run.json").read_text(encoding="utf-8"))
    except Exception:  # not there, or not JSON; each store has errors of its own
        return place
    if isinstance(described, dict):
        place |= {key: described[key] for key in ("experiment", "arm", "seed") if described.get(key) is not None}
    return place
