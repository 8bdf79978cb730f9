"""The command: its options, the steps of a replay, and what is printed."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from ..recording import attributes as described
from ..recording import masters, sides, store
from ..recording.config import RecordingConfig
from ..recording.lock import holder
from . import configuration
from .original import Checkpoint, Original, checkpoint_folder, choose_start, read
from .records import Records
from .training import train_until
from .verifying import Comparison, compare

COMMAND = "python -m fairseq_ext.replay"
STAGED = ".replaying.tmp"
PASSED = [f for f in dataclasses.fields(RecordingConfig) if f.name.startswith("record_")]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line and end the process with status 2."""

    def error(self, message: str) -> Any:
        print(f"error: {' '.join(message.split())}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)


def parser() -> argparse.ArgumentParser:
    result = Parser(
        prog=COMMAND,
        description="Train a window of a recorded run again, from the newest checkpoint at or before it, with a denser recording into a new "
        "folder, and compare the two recordings to the bit (docs/replay.md). The run itself is only read. Exit status: 0 identical, 1 not.",
        allow_abbrev=False,
    )
    result.add_argument(
        "run", type=Path, metavar="RUN", help="the run's folder (with dump.zarr and checkpoints), or its dump"
    )
    result.add_argument("--from", dest="first", type=int, required=True, metavar="A", help="first update of the window")
    result.add_argument("--to", dest="last", type=int, required=True, metavar="B", help="last update of the window")
    result.add_argument("--out", type=Path, required=True, metavar="NEW_RUN", help="the new folder; it must not exist")
    result.add_argument(
        "--checkpoints", type=Path, metavar="DIR", help="the run's checkpoints (default: RUN/checkpoints)"
    )
    result.add_argument("--data", type=Path, metavar="DIR", help="the run's corpus, if it is no longer where it was")
    group = result.add_argument_group(
        "recording", "As in training. A schedule is added to the run's own (none switches its stream off); without --record-snapshots every "
        "table of the window is recorded.",
    )  # fmt: skip
    for field in PASSED:
        if field.name in ("record_dir", "record_overwrite"):
            continue
        kind = field.type if field.type in (int, float) else str
        text = str(field.metadata.get("help", "")).replace("%", "%%")
        group.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=argparse.SUPPRESS, help=text)
    return result


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status. Bad input raises :class:`UserError`, which ends the process with one line."""
    given = parser()
    # Options of the recording may stand after a `--`, as in other commands that pass options on.
    options = given.parse_args([word for word in (sys.argv[1:] if argv is None else argv) if word != "--"])
    if not 0 <= options.first < options.last:
        given.error(f"expected 0 <= A < B; found --from {options.first} --to {options.last}")
    original = read(options.run)
    if options.last > original.last_update:
        raise UserError(
            f"expected a window within the recording; --to {options.last:,} lies after its last record, of update {original.last_update:,}"
        )
    staged = _prepare_place(options.out)
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        return _replay(options, original, staged)
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _prepare_place(out: Path) -> Path:
    """Make the folder that takes the name ``out`` at the end.

    Raises:
        UserError: there is something already, or another replay writes there.
    """
    if out.exists():
        raise UserError(f"--out: expected a folder that does not exist yet; found {out}; delete it, or choose another")
    staged = out.with_name(out.name + STAGED)
    if (other := holder(staged / "dump.zarr")) is not None:
        raise UserError(f"--out: {out} is being written by {other}; wait until it ends, or choose another folder")
    try:
        shutil.rmtree(staged, ignore_errors=True)  # what a killed replay left
        (staged / "log").mkdir(parents=True)
    except OSError as error:
        raise UserError(f"--out: {out} cannot be written ({error}); choose another folder") from error
    return staged


def _replay(options: argparse.Namespace, original: Original, staged: Path) -> int:
    half = configuration.loses_masters(original.config)
    start, recorded = choose_start(
        original, checkpoint_folder(original, options.checkpoints), 0 if half else options.first
    )
    config = configuration.build(
        recorded, original.attributes, start.file.absolute() if start else None, options.last, options.data
    )
    passed = {f.name: getattr(options, f.name) for f in PASSED if hasattr(options, f.name)}
    configuration.place(
        config, staged.absolute(), configuration.recording(original.attributes, passed, options.first, options.last)
    )
    threads = (original.attributes.get("run") or {}).get("threads")
    if threads:
        torch.set_num_threads(int(threads))
    begun = start.update if start else 0
    origin = f"{start.file.name} (update {begun:,})" if start else "the initialisation"
    print(
        f"replaying updates {options.first:,} to {options.last:,} of {original.dump} from {origin}: {options.last - begun:,} updates, "
        f"{torch.get_num_threads()} thread(s); the training's log: {staged}/log/train.log",
        flush=True,
    )
    if half and options.first:
        print(f"not from a checkpoint: those of {half} hold the rounded 16-bit weights", flush=True)
    other_versions = _other_versions(original)
    for text in _doubts(config, other_versions):
        print(f"warning: {text}", file=sys.stderr, flush=True)
    began = time.monotonic()
    with _logged(staged / "log" / "train.log"):
        train_until(config, options.last, lambda task: _prepare(task, original, options.last))
    print(f"trained in {time.monotonic() - began:.1f} s", flush=True)

    dump = store.Store(staged / "dump.zarr")
    attributes = dump.root["attributes"]
    found = compare(original, Records(staged / "dump.zarr"), attributes)
    dump.root["attributes"] = {
        **_moved(attributes, str(staged.absolute()), str(options.out.absolute())),
        "replay": {
            "of": str(original.dump.absolute()), "checkpoint": start.file.name if start else None, "started_at": begun, "from": options.first,
            "to": options.last, "other_versions": other_versions, **found.attributes(),
        },
    }  # fmt: skip
    dump.write_root()
    shutil.rmtree(staged / "checkpoints", ignore_errors=True)
    staged.rename(options.out)
    _tell(found, original, options, begun, start, other_versions)
    return 0 if found.verdict == "identical" else 1


def _prepare(task: Any, original: Original, last: int) -> None:
    """Check the corpus, and give the recording what it does not know: the tables at update 0, and its end.

    Raises:
        UserError: the run was trained on another corpus.
    """
    recorder = task.recorder
    split = str((recorder.config.get("dataset") or {}).get("train_subset") or "train")
    ours = sides.count(recorder.data, split, recorder.sides).corpus.attributes()
    theirs = original.attributes.get("corpus") or {}
    other = [
        name for name in ("dictionary", "train") if theirs.get(f"{name}_sha256") not in (None, ours[f"{name}_sha256"])
    ]
    if other:
        what = " and ".join({"dictionary": "dictionary", "train": "training split"}[name] for name in other)
        raise UserError(
            f"the run was trained on another corpus than {recorder.data}: the {what} has another hash; give the run's corpus by --data DIR"
        )
    wanted = (original.attributes.get("run") or {}).get("precision")
    used = masters.named(recorder.config.get("common") or {}, recorder.config["task"].get("autocast_used"))
    if wanted not in (None, used):
        raise UserError(
            f"the run was trained in {wanted}, and this machine would train in {used}; replay it on one that can"
        )
    recorder.until = last
    if recorder.streams.movement:
        tables = ((name, original.initial(name)) for name in original.attributes["tables"])
        recorder.initial = {name: values for name, values in tables if values is not None}


def _other_versions(original: Original) -> dict[str, list[str]]:
    """Software whose version differs from the recorded one: ``{name: [recorded, now]}``."""
    recorded, now = original.attributes.get("versions") or {}, described.versions()
    return {name: [recorded[name], now[name]] for name in now if recorded.get(name, now[name]) != now[name]}


def _doubts(config: Any, other_versions: dict[str, list[str]]) -> Iterator[str]:
    """Why the results may differ, as far as it is known beforehand."""
    if other_versions:
        changed = ", ".join(f"{name} {then} -> {now}" for name, (then, now) in other_versions.items())
        yield f"the run was recorded with other versions ({changed}); the comparison will tell whether that matters"
    if torch.cuda.is_available() and not config.common.cpu:
        yield "this trains on a GPU, whose results may differ from one run to the next; the comparison will tell"
    elif not config.common.cpu:
        yield "the run was trained without --cpu; if that was on a GPU, this replay on the CPU will differ from it"


@contextlib.contextmanager
def _logged(file: Path) -> Iterator[None]:
    """Write what the training logs into a file; warnings of this package go on to be said as well."""
    root = logging.getLogger()
    handler, level = logging.FileHandler(file, encoding="utf-8"), root.level
    handler.setFormatter(logging.Formatter("%(asctime)s | %(levelname)s | %(name)s | %(message)s"))
    said = {other: other.level for other in root.handlers}
    for other in said:
        other.setLevel(logging.WARNING)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        for other, before in said.items():
            other.setLevel(before)
        handler.close()


def _moved(value: Any, before: str, after: str) -> Any:
    """Plain values with every path below ``before`` put below ``after``."""
    if isinstance(value, dict):
        return {k: _moved(v, before, after) for k, v in value.items()}
    if isinstance(value, list):
        return [_moved(v, before, after) for v in value]
    return after + value.removeprefix(before) if isinstance(value, str) and value.startswith(before) else value


def _tell(
    found: Comparison, original: Original, options: argparse.Namespace, begun: int, start: Checkpoint | None,
    other_versions: dict[str, list[str]],
) -> None:  # fmt: skip
    """Print what was compared, and the verdict."""
    print(f"{options.out}/dump.zarr compared with {original.dump}, updates {begun:,} to {options.last:,}:")
    width = max(map(len, found.records), default=0)
    for key, (records, same) in found.records.items():
        said = (
            "nothing in common" if not records else "identical" if same == records else f"{records - same:,} DIFFERENT"
        )
        print(f"  {key:<{width}}  {records:>7,} records  {said}")
    for text in found.left_out:
        print(f"  not compared: {text}")
    if found.verdict == "identical":
        print("identical")
    elif found.first is not None:
        because = f"; recorded with other versions of {', '.join(other_versions)}" if other_versions else ""
        print(f"different: first at {found.first}{because}")
        if start is None and begun == 0 and found.first.update == 0:
            print(
                "the initialisation itself differs: another seed, version or machine, or a recording that was changed"
            )
    else:
        print(
            f"not verified: the recording has no record between updates {begun:,} and {options.last:,} to compare with "
            f"(see them with: python -m fairseq_ext.recording check {shlex.quote(str(original.dump))})"
        )
    sys.stdout.flush()
