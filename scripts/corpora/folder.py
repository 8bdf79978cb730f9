"""`data-bin/<name>/` appears whole or not at all.

A corpus is written to `data-bin/.<name>.partial/`, which is renamed at the end. The process that writes holds a lock on that folder; the
lock goes with the process, so what a killed one left is recognised and removed by the next.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from corpora.errors import CorpusError

FORMAT = "embedding-corpus"
FORMAT_VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_name(name: str) -> str:
    """The name, if it can be that of a folder. Raises CorpusError."""
    if not _NAME.fullmatch(name):
        raise CorpusError(f"--name {name!r}: letters, digits, '.', '_' and '-' were expected, a letter or digit first")
    return name


def find_complete(target: Path, wanted: dict[str, Any], *, overwrite: bool) -> bool:
    """Is the wanted corpus there already? False where nothing is, or where it is to be overwritten.

    `wanted` holds the entries of corpus.json that tell what the corpus was made from. Raises CorpusError where something else is there.
    """
    if not target.exists() or overwrite:
        return False
    advice = "give --overwrite to replace it, or another --name"
    try:
        found = json.loads((target / "corpus.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(
            f"{target} exists and is not a corpus of ours (corpus.json cannot be read); {advice}"
        ) from error
    if not isinstance(found, dict) or (found.get("format"), found.get("format_version")) != (FORMAT, FORMAT_VERSION):
        raise CorpusError(
            f"{target}/corpus.json: {FORMAT} version {FORMAT_VERSION} was expected, another format was found; {advice}"
        )
    differences = _differences(found, wanted)
    if differences:
        raise CorpusError(f"{target} holds a corpus made otherwise ({'; '.join(differences[:3])}); {advice}")
    for name, size in _sizes(found).items():
        path = target / name
        if not path.is_file() or path.stat().st_size != size:
            raise CorpusError(f"{path} is missing or has another size than corpus.json says; {advice}")
    return True


def _sizes(found: dict[str, Any]) -> dict[str, int]:
    """Bytes by name of the files that corpus.json lists: those under `files` (a corpus of pairs), else each split's two."""
    sizes = {name: entry["bytes"] for name, entry in found.get("files", {}).items()}
    for split, facts in found["splits"].items():
        if "files" in facts:
            sizes |= {name: entry["bytes"] for name, entry in facts["files"].items()}
        else:
            sizes |= {f"{split}.{suffix}": facts[f"{suffix}_bytes"] for suffix in ("bin", "idx")}
    return sizes


def _differences(found: dict[str, Any], wanted: dict[str, Any], where: str = "") -> list[str]:
    result = []
    for key, value in json.loads(json.dumps(wanted)).items():
        there = found.get(key)
        if isinstance(value, dict) and isinstance(there, dict):
            result += _differences(there, value, f"{where}{key}.")
        elif there != value:
            shown = f"there {str(there)[:40]}, now {str(value)[:40]}" if not isinstance(value, list) else "not the same"
            result.append(f"{where}{key}: {shown}")
    return result


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """An empty folder that becomes `target` when the block ends without an exception, and is removed when it ends with one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f".{target.name}.partial"
    old = target.parent / f".{target.name}.old"
    lock = _lock(partial)
    try:
        _empty(partial)
        if old.exists():  # a run was killed while it replaced the corpus
            if target.exists():
                shutil.rmtree(old)
            else:
                old.rename(target)
        try:
            yield partial
            _sync(partial)
            if target.exists():
                target.rename(old)
            partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        _sync_folder(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        os.close(lock)


def _lock(partial: Path) -> int:
    """Make the folder and lock it; a file descriptor. The folder may be renamed away by another process between the two."""
    while True:
        partial.mkdir(exist_ok=True)
        try:
            descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = partial.exists() and os.path.samestat(os.fstat(descriptor), partial.stat())
        except BlockingIOError as error:
            os.close(descriptor)
            raise CorpusError(
                f"{partial}: another process is preparing this corpus; wait for it, or give another --name"
            ) from error
        if same:
            return descriptor
        os.close(descriptor)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            _sync(path)
            continue
        with path.open("rb") as file:
            os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
