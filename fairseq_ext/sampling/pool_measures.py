"""How varied a pool of examples is: types, n-grams, topics, compressed size, at equal tokens for the three kinds of pool.

``python -m fairseq_ext.sampling.pool_measures data-bin/CORPUS --tokens N --seed 1`` prints a table. Tokens are word pieces, as in the corpus;
special tokens are left out everywhere here.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import LatentDirichletAllocation

from ..errors import UserError
from ..recording.corpus import require_whole
from .selection import diverse_order, narrow_order, random_order
from .topic_model import SPECIALS, Progress, Split, choose_columns
from .topics import FILE, load_topics

SAMPLE = 10_000  # examples that the independent topic model is fitted on
MOST_WORDS = 8_000  # its vocabulary
MOST_PLACED = 5_000  # examples of a pool that it places
_LARGEST = 1 << 21  # token numbers lie below: three of them then fit 64 bits


@dataclass(frozen=True)
class PoolMeasures:
    """What a pool holds.

    Attributes:
        examples: number of examples.
        tokens: number of tokens.
        mean_length: tokens an example.
        types, bigrams, trigrams: distinct tokens, and distinct runs of two and of three tokens within an example.
        unigram_entropy_bits: of the tokens' distribution.
        compressed_bytes: the token numbers as unsigned integers of 2 bytes (4 where a number needs it), by LZMA.
        compression_ratio: their size over the compressed size; high: repetitive.
    """

    examples: int
    tokens: int
    mean_length: float
    types: int
    bigrams: int
    trigrams: int
    unigram_entropy_bits: float
    compressed_bytes: int
    compression_ratio: float


def measure_pool(examples: Iterable[NDArray[np.integer]]) -> PoolMeasures:
    """Measure a pool.

    Args:
        examples: token numbers of each example, without specials.

    Raises:
        ValueError: there is no token, or a number is negative or above 2^21 (runs of three would not fit 64 bits).
    """
    parts = [np.asarray(example, np.int64) for example in examples]
    tokens = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    if not len(tokens) or tokens.min() < 0 or tokens.max() >= _LARGEST:
        raise ValueError("expected token numbers from 0 to 2^21 - 1, at least one")
    of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    counts = np.bincount(tokens)
    share = counts[counts > 0] / len(tokens)
    pairs = (tokens[:-1] << 21) | tokens[1:]
    triples = (pairs[:-1] << 21) | tokens[2:]
    raw = tokens.astype(np.uint16 if tokens.max() < 1 << 16 else np.uint32).tobytes()
    compressed = len(lzma.compress(raw, preset=6))
    return PoolMeasures(
        len(parts),
        len(tokens),
        len(tokens) / len(parts),
        int((counts > 0).sum()),
        len(np.unique(pairs[of[:-1] == of[1:]])),
        len(np.unique(triples[of[:-2] == of[2:]])),
        float(-(share * np.log2(share)).sum()),
        compressed,
        len(raw) / compressed,
    )


class IndependentTopics:
    """A topic model that no selection uses: latent Dirichlet allocation (Blei et al. 2003) of token counts.

    It differs from the selection's in kind, in its sample of examples, in its seed and in its vocabulary.
    """

    def __init__(self, split: Split, seed: int, say: Progress) -> None:
        self._split, self._seed = split, seed
        examples = len(split)
        random = np.random.default_rng([seed, 7])
        chosen = np.sort(random.choice(examples, min(examples, SAMPLE), replace=False))
        every = np.arange(_LARGEST, dtype=np.int32)
        present = np.concatenate([split.counts(chunk, every).indices for chunk in split.chunks(chosen)])
        self._column = _lda_columns(np.bincount(present, minlength=len(every)), len(chosen))
        self.topics = int(np.clip(np.sqrt(len(chosen) / 8), 5, 40))
        self._model = LatentDirichletAllocation(
            self.topics, learning_method="online", batch_size=256, max_iter=8, max_doc_update_iter=40, random_state=seed
        )
        counts = split.counts(chosen, self._column)
        say(
            f"LDA of {counts.shape[0]:,} x {counts.shape[1]:,}, {self.topics} topics, for the topic entropy",
            always=True,
        )
        self._model.fit(counts)

    def entropy_bits(self, examples: NDArray[np.integer]) -> float:
        """Entropy of the mean of the examples' topic distributions, each weighed by its tokens; at most log2(topics).

        Of more than :data:`MOST_PLACED` examples, that many random ones are taken.
        """
        if len(examples) > MOST_PLACED:
            examples = np.random.default_rng([self._seed, 8]).choice(examples, MOST_PLACED, replace=False)
        counts = self._split.counts(examples, self._column)
        weights = np.asarray(counts.sum(axis=1)).ravel()
        mean = np.average(self._model.transform(counts), axis=0, weights=weights if weights.sum() else None)
        return float(-(mean * np.log2(mean)).sum())


def _lda_columns(frequencies: NDArray[np.int64], examples: int) -> NDArray[np.int32]:
    """The columns of the independent model: tokens of at most a tenth of the examples, the :data:`MOST_WORDS` most frequent of them."""
    usable = np.where(frequencies <= examples / 10, frequencies, 0)
    best = np.argsort(-usable, kind="stable")[:MOST_WORDS]
    best = best[usable[best] >= 3]
    if len(best) < 2:  # a corpus of a few examples
        return choose_columns(frequencies, 0)
    column = np.full(len(frequencies), -1, np.int32)
    column[np.sort(best)] = np.arange(len(best))
    return column


def take(split: Split, order: NDArray[np.int32], tokens: int) -> tuple[NDArray[np.int32], list[NDArray[np.int64]]]:
    """The beginning of an order that holds exactly so many tokens, specials not counted; the last example is cut.

    Returns:
        the examples' numbers, and the tokens of each.

    Raises:
        UserError: the split has fewer tokens.
    """
    texts: list[NDArray[np.int64]] = []
    missing = tokens
    for chunk in split.chunks(order):
        flat, place = split.gather(chunk)
        for text in np.split(flat, np.cumsum(np.bincount(place, minlength=len(chunk)))[:-1]):
            if missing <= 0:
                break
            texts.append(text[:missing])
            missing -= len(text)
        if missing <= 0:
            return order[: len(texts)], texts
    raise UserError(f"--tokens {tokens:,}: the split has only {tokens - missing:,} tokens; give fewer")


def compare(
    split: Split,
    orders: dict[str, NDArray[np.int32]],
    tokens: int,
    model: IndependentTopics,
    held_out: NDArray[np.int64],
) -> dict[str, dict[str, Any]]:
    """Measure the pools of the same size that several orders begin with.

    Args:
        split: the training split.
        orders: a permutation of its examples for each kind.
        tokens: of a pool.
        model: for the topic entropy.
        held_out: the types of the held-out text.

    Returns:
        for each kind the attributes of :class:`PoolMeasures`, ``topic_entropy_bits``, and ``held_out_types``: the share of the held-out types that
        occur in the pool (None without held-out text).
    """
    found = {}
    for kind, order in orders.items():
        examples, texts = take(split, order, tokens)
        random = np.random.default_rng(0).permutation(len(texts))  # so that no kind gains from neighbours in its order
        measures = asdict(measure_pool(texts[i] for i in random))
        measures["topic_entropy_bits"] = model.entropy_bits(examples)
        covered = np.isin(held_out, np.unique(np.concatenate(texts)))
        measures["held_out_types"] = float(covered.mean()) if len(held_out) else None
        found[kind] = measures
    return found


def held_out_types(folder: Path) -> NDArray[np.int64]:
    """The distinct tokens of the validation split, specials left out; none without such a split."""
    if not (folder / "valid.bin").is_file():
        return np.zeros(0, np.int64)
    dtype, _ = require_whole(folder / "valid")
    types = np.unique(np.fromfile(folder / "valid.bin", dtype=dtype)).astype(np.int64)
    return types[types >= SPECIALS]


_ROWS = (
    ("examples", "examples", ",d"),
    ("tokens", "tokens", ",d"),
    ("tokens an example", "mean_length", ".1f"),
    ("distinct types", "types", ",d"),
    ("distinct 2-grams", "bigrams", ",d"),
    ("distinct 3-grams", "trigrams", ",d"),
    ("topic entropy, bits", "topic_entropy_bits", ".3f"),
    ("compressed bytes", "compressed_bytes", ",d"),
    ("compression ratio", "compression_ratio", ".4f"),
    ("unigram entropy, bits", "unigram_entropy_bits", ".3f"),
    ("held-out types covered", "held_out_types", ".4f"),
)


def table(found: dict[str, dict[str, Any]]) -> str:
    """The measures as text, a column for each kind."""
    lines = [f"{'':24}" + "".join(f"{kind:>14}" for kind in found)]
    for label, name, form in _ROWS:
        cells = ("-" if found[kind][name] is None else format(found[kind][name], form) for kind in found)
        lines.append(f"{label:24}" + "".join(f"{cell:>14}" for cell in cells))
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="pool_measures",
        allow_abbrev=False,
        description="Measures pools of each kind at equal tokens: how many distinct types and n-grams they hold, over how many topics they "
        "spread, how far they compress.",
    )
    parser.add_argument("corpus", type=Path, help="folder of the corpus")
    parser.add_argument(
        "--tokens", type=int, nargs="+", required=True, metavar="N", help="size of the pools; one or more"
    )
    parser.add_argument("--seed", type=int, nargs="+", default=[1], metavar="N", help="one or more (default: 1)")
    parser.add_argument("--topics", type=Path, metavar="FILE", help=f"(default: {FILE} in the corpus's folder)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measures there as well")
    given = parser.parse_args(arguments)
    for name in ("tokens", "seed"):
        if min(getattr(given, name)) < (name == "tokens"):
            raise UserError(f"--{name}: expected at least {int(name == 'tokens')}, found {min(getattr(given, name))}")
    prefix = given.corpus / "train"
    require_whole(prefix)
    topics = load_topics(given.topics or given.corpus / FILE, given.corpus / "train.bin")
    split, held_out = Split(prefix), held_out_types(given.corpus)
    model = IndependentTopics(split, (int(topics.about.get("seed", 1)) + 12345) % (1 << 32), Progress("pool measures"))
    results = []
    for seed in given.seed:
        made = {
            "diverse": diverse_order(topics, split.sizes, seed),
            "random": random_order(len(split), seed),
            "narrow": narrow_order(topics, split.sizes, seed),
        }
        for tokens in given.tokens:
            found = compare(split, made, tokens, model, held_out)
            print(f"{given.corpus}, pools of {tokens:,} tokens, seed {seed}:\n{table(found)}\n", flush=True)
            results.append({"tokens": tokens, "seed": seed, "pools": found})
    if given.json:
        about = {"corpus": str(given.corpus), "topics": topics.about, "independent_topics": model.topics}
        _write(given.json, json.dumps({**about, "results": results}, indent=1) + "\n")


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise UserError(f"expected to write {path}; found: {error.strerror or error}; give another --json") from error
    finally:
        with suppress(OSError):
            partial.unlink()


if __name__ == "__main__":
    main()
