"""Write a corpus of sentence pairs: the vocabulary, each split binarised with fairseq's builder, read back, counted, hashed, described."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpora import folder, pair_vocabulary
from corpora.build import fairseq_indexed_dataset
from corpora.errors import CorpusError
from corpora.pair_options import PairOptions
from corpora.pair_vocabulary import UNKNOWN, Vocabulary
from corpora.pairs import Pair, Splits, key, limited
from corpora.sources import SourceFile, sha256_of

LONGEST = 1024  # pieces, `</s>` among them

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class PairSource:
    """What a corpus is made from."""

    description: str
    licence: str
    address: str | None
    files: tuple[SourceFile, ...]
    options: dict[str, Any] = field(
        default_factory=dict
    )  # what decides the content, besides the files and shared options
    facts: dict[str, Any] = field(default_factory=dict)  # what else is worth saying of the source

    def plain(self) -> dict[str, Any]:
        return {
            "description": self.description,
            "licence": self.licence,
            "address": self.address,
            **self.facts,
            "files": [file.plain() for file in self.files],
        }


def is_there(options: PairOptions, source: PairSource) -> bool:
    """Say and return whether this very corpus is complete already. Raises CorpusError where another one is in its place."""
    there = folder.find_complete(options.target, _identity(options, source), overwrite=options.overwrite)
    if there:
        print(
            f"{options.target}: complete already, made from the same text with the same options; nothing to do",
            file=sys.stderr,
        )
    return there


def _identity(options: PairOptions, source: PairSource) -> dict[str, Any]:
    return {
        "kind": "pairs",
        "name": options.name,
        "languages": list(options.languages),
        "source": {"files": [file.plain() for file in source.files]},
        "options": options.content() | source.options,
    }


def write(options: PairOptions, source: PairSource, splits: Splits, packages: Iterable[str] = ()) -> Path:
    """Write the corpus's folder and return its path. Raises CorpusError where a split is empty or the vocabulary cannot be made."""
    splits = limited(splits, options.limit_pairs, options.seed)
    for split, pairs in splits.by_name().items():
        if not pairs:
            left_out = ", ".join(
                f"{name.replace('_', ' ')} {number:,}" for name, number in splits.dropped.items() if number
            )
            raise CorpusError(
                f"no pair is left for the {split} split (left out: {left_out or 'nothing'}); give more pairs or wider limits"
            )
    with folder.staged(options.target) as partial:
        print(f"{options.name}: finding {options.vocabulary:,} pieces", file=sys.stderr)
        vocabulary = pair_vocabulary.train(splits.train, options.vocabulary, options.model_type)
        (partial / "sentencepiece.model").write_bytes(vocabulary.model)
        (partial / "raw").mkdir()
        facts, counts, unknown = {}, {}, {}
        for split, pairs in splits.by_name().items():
            facts[split], counts[split], unknown[split] = _write_split(
                partial, split, pairs, options.languages, vocabulary
            )
        training = np.array(list(counts["train"].values()))  # (2, rows)
        for language, row_counts in counts["train"].items():
            np.save(partial / f"token_counts.{language}.npy", row_counts)
        for language in options.languages:
            dictionary = vocabulary.dictionary(training.sum(axis=0))
            (partial / f"dict.{language}.txt").write_text(dictionary, encoding="utf-8")
        (partial / "tokens.json").write_text(json.dumps(vocabulary.row_texts(), ensure_ascii=False), encoding="utf-8")
        # The metadata says nothing of time or machine, so that equal input gives equal files.
        targets = {key(target) for _, target in splits.train}
        metadata = {
            "format": folder.FORMAT,
            "format_version": folder.FORMAT_VERSION,
            **_identity(options, source),
            "source": source.plain(),
            "tokenizer": {
                "name": f"sentencepiece {options.model_type}",
                "vocabulary": len(vocabulary.pieces),
                "normalization": "nmt_nfkc",
                "model_sha256": sha256_of(partial / "sentencepiece.model"),
            },
            "rows": vocabulary.rows,
            "dictionary_sha256": sha256_of(partial / f"dict.{options.source_lang}.txt"),
            "splits": facts,
            "split_rule": splits.rule,
            "dropped": splits.dropped,
            "test_targets_in_training": sum(key(target) in targets for _, target in splits.test),
            "unknown_tokens": unknown,
            "zero_count_rows": int((training.sum(axis=0)[len(pair_vocabulary.SPECIALS) :] == 0).sum()),
            "files": {path.name: _file(path) for path in sorted(partial.iterdir()) if path.is_file() and _shared(path)},
            "versions": {"python": platform.python_version()}
            | {package: version(package) for package in ("fairseq-fixed", "numpy", "sentencepiece", *packages)},
        }
        (partial / "corpus.json").write_text(
            json.dumps(metadata, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    _say(options.target, metadata)
    return options.target


def _shared(path: Path) -> bool:
    """Is this a file of the whole corpus, not of one split?"""
    return path.suffix not in (".bin", ".idx")


def _file(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def _write_split(
    partial: Path, split: str, pairs: list[Pair], languages: tuple[str, str], vocabulary: Vocabulary
) -> tuple[dict[str, Any], dict[str, NDArray[np.int64]], dict[str, int]]:
    """Binarise both sides of a split. Its entry in corpus.json, and by language the counts (rows,) and the number of `<unk>`."""
    tokens, words, unknown, counts, files = {}, {}, {}, {}, []
    for side, language in enumerate(languages):
        texts = [pair[side] for pair in pairs]
        prefix = partial / f"{split}.{'-'.join(languages)}.{language}"
        examples = vocabulary.encode(texts)
        longest = max(range(len(examples)), key=lambda number: len(examples[number]))
        if len(examples[longest]) > LONGEST:
            raise CorpusError(
                f"{split} split, {language}, sentence {longest + 1}: at most {LONGEST:,} pieces were expected (what fairseq's transformers take), "
                f"{len(examples[longest]):,} were found; cut it, or leave it out"
            )
        counts[language] = _binarise(prefix, examples, vocabulary.rows)
        tokens[language] = int(counts[language].sum())
        unknown[language] = int(counts[language][UNKNOWN])
        words[language] = sum(len(text.split()) for text in texts)
        files += [Path(f"{prefix}.bin"), Path(f"{prefix}.idx")]
        if split != "train":
            raw = partial / "raw" / f"{split}.{language}.txt"
            raw.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
            files.append(raw)
    facts = {
        "pairs": len(pairs),
        "tokens": tokens,
        "words": words,
        "files": {path.relative_to(partial).as_posix(): _file(path) for path in files},
    }
    return facts, counts, unknown


def _binarise(prefix: Path, examples: list[NDArray[np.int64]], rows: int) -> NDArray[np.int64]:
    """Write examples in fairseq's mmap format and read their sizes back. (rows,) how often each row occurs."""
    import torch

    indexed_dataset = fairseq_indexed_dataset()
    builder = indexed_dataset.make_builder(f"{prefix}.bin", impl="mmap", vocab_size=rows)
    for example in examples:
        builder.add_item(torch.from_numpy(example.astype(np.int32)))
    builder.finalize(f"{prefix}.idx")
    written = indexed_dataset.MMapIndexedDataset(str(prefix))  # kept by name: its sizes are gone (a crash) when it is
    sizes = [len(example) for example in examples]
    if written.sizes.tolist() != sizes:
        raise RuntimeError(
            f"{prefix}: {len(sizes)} examples of {sum(sizes)} tokens were written, others were read back"
        )
    return np.bincount(np.concatenate(examples), minlength=rows).astype(np.int64)


def _say(target: Path, metadata: dict[str, Any]) -> None:
    for split, facts in metadata["splits"].items():
        sides = "; ".join(
            f"{language} {facts['words'][language]:,} words, {number:,} tokens, {metadata['unknown_tokens'][split][language]} unknown"
            for language, number in facts["tokens"].items()
        )
        print(f"{target.name} {split:5}: {facts['pairs']:,} pairs; {sides}", file=sys.stderr)
    dropped = ", ".join(
        f"{name.replace('_', ' ')} {number:,}" for name, number in metadata["dropped"].items() if number
    )
    print(
        f"{target}: {metadata['rows']:,} rows, {metadata['zero_count_rows']:,} pieces have count 0; "
        f"{metadata['test_targets_in_training']:,} test references occur as training targets; left out: {dropped or 'nothing'}",
        file=sys.stderr,
    )
