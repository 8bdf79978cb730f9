"""Writing an imported dump: tables, their rows, one snapshot an update, and the statistics of each. It appears whole or not at all."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..recording import attributes, store
from ..recording.rows import Rows
from ..recording.space import readable
from ..recording.statistics import CHEAP, CORRELATIONS, MOVEMENT, TableStatistics

OVERHEAD = 4 << 20  # bytes of metadata and statistics, at most
NAMES: dict[str, tuple[str, ...]] = {"snapshots": ("values",), "statistics": CHEAP + CORRELATIONS + MOVEMENT}


@dataclass(frozen=True)
class Table:
    """A table to be written.

    Attributes:
        name: the parameter's, without slashes.
        aliases: names of parameters with the same values.
        side: ``text``, ``source``, ``target`` or ``both``.
        rows: what is known of its V rows.
        dim: width d.
    """

    name: str
    aliases: tuple[str, ...]
    side: str
    rows: Rows
    dim: int

    @property
    def bytes(self) -> int:
        """Of one snapshot, and of what is written once for each row."""
        return len(self.rows) * (4 * self.dim + 64)


def dump_of(run: Path) -> Path:
    """The place of a run's dump."""
    return run / "dump.zarr"


def imported_before(run: Path, identity: str, overwrite: bool) -> bool:
    """Whether this very import is there already.

    Raises:
        UserError: something else is in its place, and ``overwrite`` is off or it is no imported dump.
    """
    path = dump_of(run)
    if not path.exists():
        return False
    if not store.is_dump(path):
        raise UserError(
            f"expected no file or folder at {path}, or an imported dump; found something else; give another --out"
        )
    known = store.Store(path).root.get("attributes", {}).get("imported")
    if not isinstance(known, dict):
        raise UserError(f"{path} is the dump of a run that was recorded, which is not replaced; give another --out")
    if known.get("identity") == identity and not overwrite:
        return True
    if not overwrite:
        raise UserError(
            f"{path} was imported from other files or with other options; give --overwrite to replace it, or another --out"
        )
    return False


def require_room(run: Path, needed: int) -> None:
    """Check the free space where a run's folder will be.

    Raises:
        UserError: there is less than ``needed`` bytes.
    """
    parent = run.absolute()
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise UserError(
            f"the dump will take {readable(needed)}, but {parent} has only {readable(free)} free; make room, or choose another --out"
        )


def require_finite(values: Tensor, what: str) -> None:
    """Check a table, float32 [V, d].

    Raises:
        UserError: a value is NaN or infinite.
    """
    broken = torch.nonzero(~torch.isfinite(values).all(1))[:, 0].tolist()
    if broken:
        shown = ", ".join(map(str, broken[:5])) + (", ..." if len(broken) > 5 else "")
        raise UserError(
            f"expected finite numbers in {what}; found NaN or infinity in {len(broken)} rows ({shown}): training diverged, or the file is damaged; "
            "give another one"
        )


def write_dump(
    run: Path,
    tables: list[Table],
    snapshots: Iterable[tuple[int, Mapping[str, Tensor]]],
    described: dict[str, Any],
) -> None:
    """Write ``run/dump.zarr`` by way of a temporary folder beside it; an older dump is replaced.

    Args:
        run: the run's folder.
        tables: the main one first.
        snapshots: updates in ascending order, each with float32 [V, d] by table name. They are taken one at a time.
        described: the root's attributes.

    Raises:
        UserError: a table is not finite, or the dump cannot be written; nothing of it is left then.
    """
    with staged(run) as temporary:
        target = store.Store(temporary)
        target.root = store.group_metadata(described)
        target.write_json("tables/zarr.json", store.group_metadata())
        for table in tables:
            about = attributes.table(table.name, table.aliases, table.side, len(table.rows), table.dim)
            store.create_table(target, table.name, about, table.rows, table.dim, NAMES, None)
        target.consolidate()
        streams = {
            (table.name, name): store.Stream(target, f"tables/{table.name}/{name}", chunk)
            for table in tables
            for name, chunk in (("snapshots", 1), ("statistics", store.STATISTICS_CHUNK))
        }
        measures = {table.name: TableStatistics(table.rows, "cpu") for table in tables}
        for update, values in snapshots:
            for table in tables:
                weight = values[table.name]
                require_finite(weight, f"the table {table.name} at update {update:,}")
                found = {k: v.cpu().numpy() for k, v in measures[table.name].cheap(weight).items()}
                streams[table.name, "statistics"].append(update, found)
                streams[table.name, "snapshots"].append(update, {"values": np.ascontiguousarray(weight.numpy())})
        for stream in streams.values():
            stream.commit()


@contextmanager
def staged(run: Path) -> Iterator[Path]:
    """An empty folder that becomes ``run/dump.zarr`` when the block ends; on any error it is removed, with the folders made for it.

    Raises:
        UserError: it cannot be written.
    """
    path = dump_of(run)
    temporary = path.with_name(f"{path.name}.importing.tmp")
    made = [folder for folder in (run, *run.parents) if not folder.exists()]
    try:
        store.remove(temporary)  # what a killed import left
        temporary.mkdir(parents=True)
        yield temporary
        store.remove(path)
        temporary.rename(path)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        reason = " ".join(str(error).split())
        full = (isinstance(error, OSError) and error.errno == errno.ENOSPC) or any(
            word in reason for word in ("No space left", "ENOSPC", "RESOURCE_EXHAUSTED")
        )
        if full:
            raise UserError(
                f"{path} cannot be written: the disk is full; make room, or choose another --out"
            ) from error
        if isinstance(error, OSError):
            raise UserError(f"{path} cannot be written: {reason[:300]}; choose another --out") from error
        raise
