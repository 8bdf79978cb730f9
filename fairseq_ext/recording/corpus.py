"""What the recording needs to know of a binarised corpus: hashes, token counts, the rows' texts."""

from __future__ import annotations

import hashlib
import json
import logging
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import MMapIndexedDataset, _code_to_dtype

from ..errors import UserError

logger = logging.getLogger(__name__)
_CHUNK = 1 << 24
_HEADER = struct.Struct(
    "<9sQBQ"
)  # magic, version, code of the data type, examples; then sizes (int32) and offsets (int64)


@dataclass(frozen=True)
class Corpus:
    """A binarised training split, as named in the dump's attribute ``corpus``."""

    name: str
    data: str
    dictionary_sha256: str
    train_sha256: str
    train_tokens: int
    train_examples: int
    unigram_entropy_bits: float | None
    source: Any = None
    languages: list[str] | None = None  # source and target of a corpus of pairs

    def attributes(self) -> dict[str, Any]:
        return asdict(self)


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_corpus(data: str, split: str = "train") -> Path:
    """The folder of a prepared corpus.

    Raises:
        UserError: there is no such folder, or no dictionary or split in it.
    """
    folder = Path(data.split(":")[0])
    needed = ["dict.txt", f"{split}.bin", f"{split}.idx"]
    if not folder.is_dir():
        raise UserError(
            f"expected a prepared corpus (a folder with {', '.join(needed)}); found no folder {folder}; "
            "make one with scripts/prepare_*.sh, e.g. bash scripts/prepare_wikipedia_sample.sh"
        )
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"expected a corpus binarised by fairseq in {folder}; found no {' and no '.join(missing)} there; "
            "prepare it again with scripts/prepare_*.sh"
        )
    return folder


def require_whole(prefix: Path) -> tuple[np.dtype[Any], int]:
    """Check that both files of a binarised split are there and whole, from the index and the sizes alone.

    The index is read here and not by fairseq, whose dataset prints tracebacks when it cannot be opened.

    Args:
        prefix: path of the split without ``.bin``/``.idx``.

    Returns:
        the tokens' data type and the number of examples.

    Raises:
        UserError: a file is missing, the split is not a memory-mapped fairseq dataset, is empty, or was cut short.
    """
    files = [prefix.with_name(prefix.name + suffix) for suffix in (".bin", ".idx")]
    for file in files:
        if not file.is_file():
            raise UserError(
                f"expected a split binarised by fairseq at {prefix}.bin/.idx; found no {file.name}; prepare the corpus again"
            )
    size, index_size = (file.stat().st_size for file in files)
    with files[1].open("rb") as index:
        magic, version, code, examples = (
            _HEADER.unpack(header) if len(header := index.read(_HEADER.size)) == _HEADER.size else (b"",) * 4
        )
        if magic != MMapIndexedDataset.Index._HDR_MAGIC or version != 1 or code not in _code_to_dtype:
            raise UserError(
                f"expected a dataset that fairseq binarised with --dataset-impl mmap; {files[1]} cannot be read as its index; "
                "prepare the corpus again"
            )
        if index_size != _HEADER.size + 12 * examples:
            raise UserError(
                f"{files[1]} was cut short: it lists {examples:,} examples in {index_size:,} bytes; prepare the corpus again"
            )
        lengths = np.fromfile(index, dtype=np.int32, count=examples)
    dtype = np.dtype(_code_to_dtype[code])
    tokens = int(lengths.sum(dtype=np.int64))
    if tokens == 0 and size == 0:
        raise UserError(
            f"expected text in {files[0]}; found none; prepare the corpus again from text that is not empty"
        )
    if size != tokens * dtype.itemsize:
        raise UserError(
            f"{files[0]} holds {size:,} bytes but its index lists {tokens * dtype.itemsize:,}: it was cut short or is another's; "
            "prepare the corpus again"
        )
    return dtype, examples


def require_dictionary(prefix: Path, rows: int) -> None:
    """Check that no token of a whole split lies outside the dictionary's first ``rows`` rows.

    Raises:
        UserError: as :func:`require_whole`, or a token is larger.
    """
    dtype, _ = require_whole(prefix)
    tokens = np.memmap(f"{prefix}.bin", dtype=dtype, mode="r")
    for start in range(0, len(tokens), _CHUNK):
        largest = int(tokens[start : start + _CHUNK].max())
        if largest >= rows:
            raise UserError(
                f"{prefix}.bin holds token {largest} but its dict.txt has only {rows} rows: "
                "the corpus was binarised with another dictionary; prepare it again"
            )


def count_tokens(prefix: Path, rows: int) -> tuple[npt.NDArray[np.int64], int]:
    """Count every row's occurrences in a binarised split.

    Args:
        prefix: path of the split without ``.bin``/``.idx``.
        rows: number of rows V of the dictionary.

    Returns:
        int64 [V], and the number of examples.

    Raises:
        UserError: as :func:`require_dictionary`.
    """
    require_dictionary(prefix, rows)
    dtype, examples = require_whole(prefix)
    tokens = np.memmap(f"{prefix}.bin", dtype=dtype, mode="r")
    counts = np.zeros(rows, dtype=np.int64)
    for start in range(0, len(tokens), _CHUNK):
        piece = np.asarray(tokens[start : start + _CHUNK], dtype=np.int64)
        counts += np.bincount(piece, minlength=rows)
    return counts, examples


def unigram_entropy_bits(counts: npt.NDArray[np.int64]) -> float | None:
    """Entropy in bits of the distribution with these counts; ``None`` without any."""
    seen = counts[counts > 0].astype(np.float64)
    if seen.size == 0:
        return None
    p = seen / seen.sum()
    return float(-(p * np.log2(p)).sum())


def row_texts(folder: Path, dictionary: Dictionary) -> list[str]:
    """The rows' texts: those of ``tokens.json`` if it fits the dictionary, else the dictionary's symbols."""
    path = folder / "tokens.json"
    if path.is_file():
        try:
            texts = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{path} is not JSON ({error}); prepare the corpus again, or delete the file") from error
        if isinstance(texts, list) and len(texts) == len(dictionary):
            return [str(text) for text in texts]
        logger.warning(
            f"{path} does not have the dictionary's {len(dictionary)} rows; using the dictionary's symbols as texts"
        )
    return list(dictionary.symbols)


def described(folder: Path) -> dict[str, Any]:
    """What the corpus's own ``corpus.json`` says; empty without one."""
    metadata = folder / "corpus.json"
    if metadata.is_file():
        try:
            known = json.loads(metadata.read_text(encoding="utf-8"))
        except ValueError:
            known = None
        if isinstance(known, dict):
            return known
        logger.warning(f"{metadata} is not a JSON object; the dump will not name its source")
    return {}


def combined(hashes: Sequence[str]) -> str:
    """One hash of several: the hash itself where all are the same, else that of their list."""
    return hashes[0] if len(set(hashes)) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
