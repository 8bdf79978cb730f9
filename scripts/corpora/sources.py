"""Reading text files: UTF-8, plain or compressed, line by line; and saying which files a corpus was made from."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from corpora.errors import CorpusError

_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
SUFFIXES = (".txt", ".txt.gz", ".txt.xz", ".txt.bz2")


@dataclass(frozen=True)
class SourceFile:
    """A file that a corpus was made from."""

    name: str
    bytes: int
    sha256: str

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def sha256_of(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(path: Path, name: str) -> SourceFile:
    """Size and hash of a file. Raises CorpusError where it cannot be read."""
    try:
        name = name.encode("utf-8", "backslashreplace").decode()  # a name on disk need not be UTF-8
        return SourceFile(name=name, bytes=path.stat().st_size, sha256=sha256_of(path))
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}; check the path and the permissions") from error


def first_line(error: Exception) -> str:
    """What an error says, on one line: tarfile's messages have several."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")


@dataclass(frozen=True)
class Part:
    """One file of a corpus, in a folder or in an archive."""

    name: str
    open: Callable[[], IO[bytes]]

    def lines(self) -> Iterator[str]:
        """Its lines; a line feed alone ends one. Raises CorpusError where it cannot be read, is not UTF-8 or the archive is damaged."""
        try:
            with self.open() as stream:
                yield from lines_of(stream, self.name, carriage_return=False)
        except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
            raise CorpusError(
                f"{self.name} cannot be unpacked ({first_line(error)}); remove the archive and get it again"
            ) from error
        except OSError as error:
            raise CorpusError(
                f"{self.name} cannot be read: {error.strerror or error}; check the file and the permissions"
            ) from error


def lines_of(stream: IO[bytes], name: str, *, carriage_return: bool = True) -> Iterator[str]:
    r"""Lines of a binary stream as text, line ends included. Raises CorpusError at the first byte that is not UTF-8.

    With `carriage_return` a lone `\r` ends a line too, and a byte order mark at the start is left out.
    """
    for number, raw in enumerate(stream, start=1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"{name}, line {number}: UTF-8 was expected, byte 0x{raw[error.start]:02x} was found at position {error.start + 1} of the line; "
                "convert the file (iconv -f ENCODING -t UTF-8) or leave it out"
            ) from error
        if carriage_return:
            if number == 1:
                line = line.removeprefix("\ufeff")
            if "\r" in line:
                yield from (
                    line.replace("\r\n", "\n").replace("\r", "\n").splitlines(keepends=True)
                    if line.isascii()
                    else _split(line)
                )
                continue
        yield line


def _split(line: str) -> Iterator[str]:
    """Like str.splitlines for carriage returns and line feeds alone (it would also cut at U+2028 and others)."""
    for part in line.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n"):
        yield part + "\n"


def open_bytes(path: Path) -> IO[bytes]:
    """A stream of the file's bytes, decompressed where its name ends in .gz, .xz or .bz2."""
    return _OPENERS.get(path.suffix.lower(), open)(path, "rb")


def read_lines(path: Path, *, carriage_return: bool = True) -> Iterator[str]:
    """Lines of a text file, decompressed where its name ends in .gz, .xz or .bz2. Raises CorpusError."""
    try:
        with open_bytes(path) as stream:
            yield from lines_of(stream, str(path), carriage_return=carriage_return)
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise CorpusError(f"{path} cannot be decompressed: {error}; the file is damaged or cut short") from error
    except OSError as error:
        raise CorpusError(
            f"{path} cannot be read: {error.strerror or error}; check the file and the permissions"
        ) from error


def collect(paths: list[Path]) -> list[tuple[Path, str]]:
    """The text files that the user named: (path, name in the metadata), folders searched, each file once, in a fixed order.

    A folder gives all its files named .txt, .txt.gz, .txt.xz or .txt.bz2, sorted by their relative path; hidden ones are left out.
    Raises CorpusError for a path that does not exist and for a folder without such files.
    """
    found: list[tuple[Path, str]] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(
                (file.relative_to(path), file)
                for file in path.rglob("*")
                if file.is_file()
                and file.name.lower().endswith(SUFFIXES)
                and not any(part.startswith(".") for part in file.relative_to(path).parts)
            )
            if not inside:
                raise CorpusError(
                    f"{path}: a folder with files named .txt (or .txt.gz, .txt.xz, .txt.bz2) was expected, none was found"
                )
            found += [(file, (Path(path.resolve().name) / relative).as_posix()) for relative, file in inside]
        elif path.is_file():
            found.append((path, path.name))
        elif path.exists():
            raise CorpusError(f"{path} is neither a file nor a folder; give text files, or folders that hold them")
        else:
            raise CorpusError(f"{path} does not exist; give text files, or folders that hold them")
    seen: set[Path] = set()
    unique = []
    for path, name in found:
        if path.resolve() not in seen:
            seen.add(path.resolve())
            unique.append((path, name))
    return unique
