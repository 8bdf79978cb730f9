"""The run that is replayed, read and never written: its dump, and the checkpoint from which the replay starts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..compat import is_whole
from ..errors import UserError
from ..recording import contents, resuming
from .records import Records

NAMED = re.compile(r"checkpoint_\d+_(\d+)\.pt")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of the run.

    Attributes:
        file: where it lies.
        update: after which it was written.
        config: fairseq's whole configuration of the process that wrote it.
    """

    file: Path
    update: int
    config: dict[str, Any]


@dataclass(frozen=True)
class Original:
    """The recorded run.

    Attributes:
        dump: its ``dump.zarr``.
        attributes: of the dump's root.
        records: what its streams list.
    """

    dump: Path
    attributes: dict[str, Any]
    records: Records

    @property
    def config(self) -> dict[str, Any]:
        """The configuration with which the recording began."""
        return dict(self.attributes.get("config") or {})

    @property
    def first_update(self) -> int:
        return int((self.attributes.get("progress") or {}).get("first_update", 0))

    @property
    def last_update(self) -> int:
        return max((int(updates[-1]) for updates in self.records.updates.values() if len(updates)), default=-1)

    def initial(self, table: str) -> NDArray[np.float32] | None:
        """The table at update 0, float32 [V, d], if it was recorded and is still there."""
        key = f"tables/{table}/snapshots"
        updates = self.records.updates.get(key)
        if updates is None or not len(updates) or updates[0] != 0:
            return None
        return self.records.read(key, "values", slice(0, 1))[0]


def read(run: Path) -> Original:
    """Read a recorded run's dump.

    Args:
        run: the run's folder, or its dump.

    Raises:
        UserError: there is no dump, or one that no training wrote.
    """
    dump = contents.dump_folder(run)
    try:
        attributes = contents.read_node(dump).get("attributes") or {}
    except contents.Unreadable as error:
        raise UserError(
            f"expected a recorded run (a folder with dump.zarr, or the dump); {dump}/{contents.METADATA} {error}"
        ) from None
    resuming.require_dump(dump, attributes)
    if attributes.get("imported") or not attributes.get("config"):
        raise UserError(
            f"{dump} was imported, not recorded by a training, so there is nothing to replay; give a recorded run"
        )
    return Original(dump, attributes, Records(dump))


def checkpoint_folder(original: Original, given: Path | None) -> Path:
    """Where the run's checkpoints are: as given, beside the dump, or where the run wrote them.

    Raises:
        UserError: the given folder does not exist.
    """
    if given is not None:
        if not given.is_dir():
            raise UserError(f"--checkpoints: expected a folder with checkpoint*.pt; found no folder {given}")
        return given
    beside = original.dump.absolute().parent / "checkpoints"
    configured = (original.config.get("checkpoint") or {}).get("save_dir")
    return beside if beside.is_dir() or not configured else Path(str(configured))


def _state(file: Path) -> dict[str, Any] | None:
    """A checkpoint's content, its tensors left in the file; ``None`` if it cannot be read, has no optimiser or no configuration."""
    try:
        state = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except Exception:  # unpickling raises nearly anything
        return None
    usable = isinstance(state, dict) and state.get("cfg") and state.get("optimizer_history")
    return (
        state
        if usable and "last_optimizer_state" in state and "num_updates" in state["optimizer_history"][-1]
        else None
    )


def _identity(state: dict[str, Any]) -> str | None:
    """The identity of the recording that the checkpoint belongs to; ``None`` where it was written without one."""
    parts = (state.get("extra_state") or {}).values()
    return next((p["identity"] for p in parts if isinstance(p, dict) and "identity" in p and "tables" in p), None)


def _known(files: Iterable[Path]) -> list[tuple[int, Path]]:
    """Update and file of each checkpoint, in ascending order of the updates."""
    found = []
    for file in sorted(files, key=lambda f: (NAMED.fullmatch(f.name) is None, f.name)):
        if (match := NAMED.fullmatch(file.name)) is not None:
            found.append((int(match[1]), file))
        elif (state := _state(file)) is not None:
            found.append((int(state["optimizer_history"][-1]["num_updates"]), file))
    return sorted(found, key=lambda entry: entry[0])


def _read_checkpoint(file: Path, original: Original) -> Checkpoint | None:
    """A checkpoint, if it is whole and of this recording."""
    state = _state(file) if is_whole(file) else None
    wanted = (original.attributes.get("recording") or {}).get("identity")
    if state is None or _identity(state) not in (None, wanted):
        return None
    return Checkpoint(file, int(state["optimizer_history"][-1]["num_updates"]), state["cfg"])


def choose_start(original: Original, folder: Path, first: int) -> tuple[Checkpoint | None, dict[str, Any]]:
    """The newest checkpoint at or before update ``first``, or ``None`` for the initialisation; and the configuration of the updates after it.

    Those updates were made by the process that wrote the next checkpoint, so its configuration is taken where there is one.

    Raises:
        UserError: there is none, and the recording does not begin with the initialisation.
    """
    known = _known(folder.glob("checkpoint*.pt") if folder.is_dir() else ())
    if first > 0:
        for update, file in reversed([entry for entry in known if entry[0] <= first]):
            if (start := _read_checkpoint(file, original)) is None:
                continue
            for _, later in (entry for entry in known if entry[0] > update):
                if (after := _read_checkpoint(later, original)) is not None:
                    return start, after.config
            return start, start.config
    if original.first_update > 0:
        seen = f"the earliest is at update {known[0][0]:,}" if known else "there is none"
        raise UserError(
            f"expected a checkpoint of this run at or before update {first:,} in {folder}; {seen}, and the recording begins at update "
            f"{original.first_update:,}, not with the initialisation; give --checkpoints DIR, or a later --from"
        )
    return None, original.config
