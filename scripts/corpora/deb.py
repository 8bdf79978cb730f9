"""Debian packages: their name and version, and their files, without dpkg. Standard library only.

A package is an `ar` archive of `debian-binary`, `control.tar.*` and `data.tar.*`.
"""

from __future__ import annotations

import io
import lzma
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from corpora.errors import CorpusError

_MAGIC = b"!<arch>\n"
_HEADER = 60  # bytes: name 16, date 12, owner 6, group 6, mode 8, size 10, end 2
_DAMAGED = (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError)


def members(path: Path) -> dict[str, bytes]:
    """The members of a package's `ar` archive, by name. Raises CorpusError where it is not one or is cut short."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}; check the path and the permissions") from error
    if not data.startswith(_MAGIC + b"debian-binary"):
        raise CorpusError(f"{path}: a Debian package (.deb) was expected, another kind of file was found; get it again")
    found, offset = {}, len(_MAGIC)
    while offset < len(data):
        header = data[offset : offset + _HEADER]
        offset += _HEADER
        size = header[48:58].strip()
        if len(header) < _HEADER or header[58:] != b"`\n" or not size.isdigit() or offset + int(size) > len(data):
            raise CorpusError(f"{path} is damaged or cut short; remove it and get it again")
        name = header[:16].decode("ascii", "replace").strip().rstrip("/")
        found[name] = data[offset : offset + int(size)]
        offset += int(size) + int(size) % 2
    if not any(name.startswith("data.tar") for name in found):
        raise CorpusError(f"{path} is damaged or cut short: it has no data.tar; remove it and get it again")
    return found


def identity(path: Path) -> dict[str, str]:
    """The fields of the package's control file, such as `Package` and `Version`. Raises CorpusError."""
    for name, data in _files(path, "control.tar"):
        if name == "control":
            lines = data.decode("utf-8", "replace").splitlines()
            return {key: value.strip() for key, _, value in (line.partition(":") for line in lines if line[:1].strip())}
    raise CorpusError(f"{path} is damaged: it has no control file; remove it and get it again")


def files(path: Path, suffix: str = "") -> Iterator[tuple[str, bytes]]:
    """The files that the package installs and whose names end in `suffix`: (path without `./`, bytes). Raises CorpusError."""
    return _files(path, "data.tar", suffix)


def _files(path: Path, part: str, suffix: str = "") -> Iterator[tuple[str, bytes]]:
    try:
        with _opened(path, part) as archive:
            for entry in archive:
                if entry.isfile() and entry.name.endswith(suffix):
                    content = archive.extractfile(entry)
                    assert content is not None  # it is a file
                    yield entry.name.removeprefix("./"), content.read()
    except _DAMAGED as error:
        raise CorpusError(
            f"{path} cannot be unpacked ({' '.join(str(error).split())}); remove it and get it again"
        ) from error


@contextmanager
def _opened(path: Path, part: str) -> Iterator[tarfile.TarFile]:
    found = members(path)
    name = next((name for name in found if name.startswith(part)), "")
    stream: IO[bytes] = io.BytesIO(found.get(name, b""))
    if name.endswith(".zst"):  # Python 3.11 has no zstd
        stream = io.BytesIO(_by_dpkg(path, "--fsys-tarfile" if part == "data.tar" else "--ctrl-tarfile"))
    with tarfile.open(fileobj=stream, mode="r:*") as archive:
        yield archive


def _by_dpkg(path: Path, what: str) -> bytes:
    if not shutil.which("dpkg-deb"):
        raise CorpusError(
            f"{path} is compressed by zstd, which needs dpkg-deb, and that is not installed; install dpkg, or get Debian's package (xz)"
        )
    done = subprocess.run(["dpkg-deb", what, str(path)], capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise CorpusError(f"{path} cannot be unpacked ({said[-1] if said else 'dpkg-deb failed'}); get it again")
    return done.stdout
