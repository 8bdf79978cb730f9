"""The text that tokens are counted in: UTF-8 files, plain or compressed, folders of them, and prepared corpora of this project."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..evaluate.bpe import VOCABULARY, load_tokenizer
from ..recording.corpus import described, require_whole
from .texts import bytes_of

OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
SUFFIXES = (".txt", ".txt.gz", ".txt.xz", ".txt.bz2")
LONGEST = 1 << 20  # characters that are tokenised at once; a longer line is cut at a space
SPECIALS = 4  # rows that fairseq puts before the lines of dict.txt


@dataclass(frozen=True)
class Source:
    """Text to count in: its files, a name for it, and a function that gives its lines without their ends."""

    name: str
    files: tuple[Path, ...]
    lines: Callable[[], Iterator[str]]


def find_sources(paths: Sequence[Path]) -> list[Source]:
    """The text at the given paths, in their order.

    A folder is a prepared corpus (``train.bin`` and ``dict.txt``, of which the training split is taken), or has files named .txt, .txt.gz,
    .txt.xz or .txt.bz2, in it or deeper; hidden ones are left out.

    Raises:
        UserError: a path does not exist or holds no text.
    """
    found = []
    for path in paths:
        if path.is_dir() and (path / "train.bin").is_file():
            found.append(_corpus(path))
        elif path.is_dir():
            files = sorted(
                file
                for file in path.rglob("*")
                if file.is_file()
                and file.name.lower().endswith(SUFFIXES)
                and not any(part.startswith(".") for part in file.relative_to(path).parts)
            )
            if not files:
                pairs = " (of a corpus of pairs give the files below raw/)" if list(path.glob("train.*.bin")) else ""
                raise UserError(
                    f"--counts {path}: expected a folder with .txt files (or .txt.gz, .txt.xz, .txt.bz2), or a prepared corpus; found neither{pairs}"
                )
            found += [_file(file) for file in files]
        elif path.is_file():
            found.append(_file(path))
        else:
            raise UserError(
                f"--counts {path}: expected a text file, a folder or a prepared corpus; found nothing there; check the path"
            )
    return found


def _file(path: Path) -> Source:
    return Source(path.name, (path,), lambda: read_lines(path))


def read_lines(path: Path) -> Iterator[str]:
    """Lines of a UTF-8 file without their ends (line feeds, with carriage returns before them), decompressed by its name.

    Raises:
        UserError: it cannot be read or decompressed, or is not UTF-8.
    """
    number = 0
    try:
        with OPENERS.get(path.suffix.lower(), open)(path, "rb") as file:
            for number, raw in enumerate(file, start=1):
                line = raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
                yield from pieces(line.removeprefix("\ufeff") if number == 1 else line)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, line {number}: expected text in UTF-8; found the byte 0x{error.object[error.start]:02x}; convert the file "
            "(iconv -f ENCODING -t UTF-8), or leave it out"
        ) from error
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} cannot be decompressed ({error}): it is damaged or cut short; get it again") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}); check the file and the permissions") from error


def pieces(line: str, longest: int = LONGEST) -> Iterator[str]:
    """A line in pieces of at most ``longest`` characters, cut before a space where there is one."""
    while len(line) > longest:
        cut = line.rfind(" ", 1, longest)
        cut = cut if cut > 0 else longest
        yield line[:cut]
        line = line[cut:]
    yield line


def _corpus(folder: Path) -> Source:
    """The training split of a prepared corpus, decoded: its byte-level BPE loses nothing.

    Raises:
        UserError: it is cut short, or its dictionary is not one of GPT-2's BPE ids.
    """
    prefix, symbols = folder / "train", folder / "dict.txt"
    dtype, examples = require_whole(prefix)
    table = row_bytes(symbols)

    def lines() -> Iterator[str]:
        rows = np.memmap(f"{prefix}.bin", dtype=dtype, mode="r")
        start = 0
        for length in _sizes(prefix, examples):
            yield decode(table, rows[start : start + length], symbols)
            start += int(length)

    return Source(str(described(folder).get("name") or folder.resolve().name), (Path(f"{prefix}.bin"), symbols), lines)


def _sizes(prefix: Path, examples: int) -> np.ndarray:
    """int32 [examples], tokens of each; the index has them after its header."""
    index = Path(f"{prefix}.idx")
    header = index.stat().st_size - 12 * examples
    return np.fromfile(index, dtype=np.int32, count=examples, offset=header)


def row_bytes(symbols: Path) -> list[bytes]:
    """The bytes of each row of a dictionary of GPT-2's BPE ids; none of special and made-up rows.

    Raises:
        UserError: it is another dictionary.
    """
    try:
        lines = symbols.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{symbols}: expected fairseq's dictionary; it cannot be read ({error}); prepare the corpus again"
        ) from error
    token_of = {row: token for token, row in load_tokenizer().get_vocab().items()}
    table = [b""] * SPECIALS
    known = 0
    for line in lines:
        symbol = line.rpartition(" ")[0]
        row = int(symbol) if symbol.isascii() and symbol.isdecimal() else -1
        token = token_of.get(row)
        known += token is not None
        table.append((bytes_of(token) or b"") if token is not None else b"")
    if known != VOCABULARY:
        raise UserError(
            f"--counts {symbols.parent}: expected a corpus in GPT-2's BPE, which can be decoded; {symbols.name} has {known:,} of its {VOCABULARY:,} "
            "ids; give the text itself"
        )
    return [*table, b""]  # the mask's row


def decode(table: list[bytes], rows: np.ndarray, where: Path) -> str:
    """The text of an example's rows.

    Raises:
        UserError: a row is not in the dictionary.
    """
    try:
        return b"".join([table[row] for row in rows.tolist()]).decode("utf-8", errors="replace")
    except IndexError as error:
        raise UserError(
            f"{where}: the split holds row {rows.max()}, which the dictionary lacks; prepare the corpus again"
        ) from error
