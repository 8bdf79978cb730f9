"""How topics are found: TF-IDF of an example's tokens, truncated SVD, k-means. All of it from scikit-learn, in chunks.

Latent semantic analysis (Deerwester et al. 1990) of the tokens, which are word pieces here; the strata are k-means clusters of vectors of
length 1. What is fitted (idf, SVD, centres) is fitted on a random sample; every example is then placed. The text stays in its file: a
chunk of two million tokens is in memory at a time.

The number of strata is sqrt(examples / 8), at least 8 and at most 256: so a stratum of a small corpus keeps tens of examples and one of a
large corpus thousands, and a pool of 256 examples, about 25,000 tokens of paragraphs, can still hold one of each.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.sparse
import sklearn
from fairseq.data.indexed_dataset import MMapIndexedDataset
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.preprocessing import normalize

from ..errors import UserError
from ..recording.corpus import require_whole
from .topics import Topics

SPECIALS = 4  # <s> <pad> </s> <unk>: fairseq's dictionaries begin with them
SAMPLE = 100_000  # examples that the model is fitted on
CHUNK = 1 << 21  # tokens in memory at a time
MOST_FREQUENT = 0.2  # a token of more than this share of the examples says nothing of their topics


class Split:
    """A binarised split, read from its file.

    Attributes:
        sizes: (examples,) int32, tokens of each example, ``</s>`` included.

    Raises:
        UserError: a file is missing, cut short or none of fairseq's.
    """

    def __init__(self, prefix: Path) -> None:
        dtype, _ = require_whole(prefix)
        dataset = MMapIndexedDataset(str(prefix))  # kept until its sizes are copied: its end unmaps the file under them
        self.sizes: NDArray[np.int32] = dataset.sizes.copy()
        self._tokens = np.memmap(f"{prefix}.bin", dtype=dtype, mode="r")
        self._offsets = np.concatenate([[0], np.cumsum(self.sizes, dtype=np.int64)])

    def __len__(self) -> int:
        return len(self.sizes)

    def example(self, index: int) -> NDArray[np.int64]:
        """The tokens of an example, specials left out."""
        return self.gather(np.array([index]))[0]

    def gather(self, examples: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The tokens of some examples, specials left out: (tokens,), and for each its place in ``examples``, (tokens,)."""
        sizes = self.sizes[examples].astype(np.int64)
        place = np.repeat(np.arange(len(examples)), sizes)
        begin = self._offsets[examples] - np.concatenate([[0], np.cumsum(sizes)[:-1]]) if len(examples) else sizes
        tokens = self._tokens[np.arange(len(place)) + begin[place]].astype(np.int64)
        real = tokens >= SPECIALS
        return tokens[real], place[real]

    def chunks(self, examples: NDArray[np.integer] | None = None) -> Iterator[NDArray[np.int64]]:
        """Cut examples (by default all) into runs of about :data:`CHUNK` tokens."""
        chosen = np.arange(len(self)) if examples is None else np.asarray(examples, np.int64)
        reached = np.cumsum(self.sizes[chosen], dtype=np.int64)
        ends = np.flatnonzero(np.diff(reached // CHUNK)) + 1
        yield from (chunk for chunk in np.split(chosen, ends) if len(chunk))

    def counts(self, examples: NDArray[np.integer], column: NDArray[np.int32]) -> scipy.sparse.csr_matrix:
        """How often each token occurs in each example.

        Args:
            examples: (n,) which.
            column: (vocabulary,) the column of each token, -1 for one that is left out.

        Returns:
            (n, columns) float32.
        """
        tokens, place = self.gather(examples)
        columns = column[tokens]
        kept = columns >= 0
        shape = (len(examples), int(column.max(initial=-1)) + 1)
        ones = np.ones(int(kept.sum()), np.float32)
        return scipy.sparse.csr_matrix((ones, (place[kept].astype(np.int32), columns[kept])), shape=shape)

    def document_frequencies(self, say: Progress) -> NDArray[np.int64]:
        """In how many examples each token occurs: (largest token + 1,)."""
        width = int(max((self._tokens[i : i + CHUNK].max() for i in range(0, len(self._tokens), CHUNK)), default=0)) + 1
        every = np.arange(width, dtype=np.int32)
        frequencies = np.zeros(width, np.int64)
        for chunk in self.chunks():
            frequencies += np.bincount(self.counts(chunk, every).indices, minlength=width)
            say(f"counted {chunk[-1] + 1:,} of {len(self):,} examples")
        return frequencies


class Progress:
    """Says on stderr how far the work is: the first line at once, then one every ten seconds."""

    def __init__(self, name: str) -> None:
        self._name, self._start, self._next = name, time.monotonic(), 0.0

    def __call__(self, text: str, always: bool = False) -> None:
        seconds = time.monotonic() - self._start
        if always or seconds >= self._next:
            self._next = seconds + 10
            print(f"{self._name}: {text} ({seconds:.0f} s)", file=sys.stderr, flush=True)


def default_topics(examples: int) -> int:
    """The number of strata for a corpus of this many examples."""
    return int(np.clip(np.sqrt(examples / 8), 8, 256))


def choose_columns(frequencies: NDArray[np.int64], examples: int) -> NDArray[np.int32]:
    """Which tokens say something of a topic: neither of very few examples (3, or one in 50,000) nor of more than a fifth of them.

    Returns:
        (vocabulary,) the token's column, -1 for one left out.
    """
    fewest = max(3, examples // 50_000)
    chosen = (frequencies >= fewest) & (frequencies <= MOST_FREQUENT * examples)
    if chosen.sum() < 2:  # a corpus of a few examples
        chosen = frequencies > 0
    column = np.full(len(frequencies), -1, np.int32)
    column[chosen] = np.arange(chosen.sum())
    return column


def find_topics(split: Split, topics: int | None = None, dimensions: int = 64, seed: int = 1) -> Topics:
    """Place every example of a split among topics.

    Args:
        split: of n examples.
        topics: number of strata; fewer result where the examples do not differ enough.
        dimensions: of the vectors; fewer result where the corpus is very small.
        seed: of the sample, the SVD and k-means.

    Raises:
        UserError: the split is too small.
    """
    say = Progress("topics")
    examples = len(split)
    topics = topics or default_topics(examples)
    if topics > examples:
        raise UserError(f"--topics {topics}: the split has only {examples:,} examples; give fewer topics")
    frequencies = split.document_frequencies(say)
    column = choose_columns(frequencies, examples)
    columns = int(column.max(initial=-1)) + 1
    if columns < 2 or examples < 2:
        raise UserError(
            f"topics need at least 2 examples and 2 different tokens; found {examples} and {columns}; use a larger corpus"
        )

    chosen = np.sort(np.random.default_rng(seed).choice(examples, min(examples, SAMPLE), replace=False))
    sample = scipy.sparse.vstack([split.counts(chunk, column) for chunk in split.chunks(chosen)], format="csr")
    weigh = TfidfTransformer(sublinear_tf=True).fit(sample)
    sample = weigh.transform(sample, copy=False)
    reduce = TruncatedSVD(min(dimensions, columns - 1, len(chosen) - 1), random_state=seed)
    say(f"SVD of {sample.shape[0]:,} x {columns:,}, {sample.nnz:,} entries", always=True)
    fitted_on = normalize(reduce.fit_transform(sample)).astype(np.float32)
    del sample
    group = MiniBatchKMeans(topics, batch_size=4096, n_init=3, max_iter=50, random_state=seed)
    say(f"k-means of {len(chosen):,} vectors, {topics} topics", always=True)
    group.fit(fitted_on)

    topic = np.empty(examples, np.int32)
    vector = np.empty((examples, fitted_on.shape[1]), np.float16)
    information = np.empty(examples, np.float32)
    idf = np.log((1 + examples) / (1 + frequencies)).astype(np.float32)
    for chunk in split.chunks():
        information[chunk] = _information(split, chunk, idf)
        placed = normalize(reduce.transform(weigh.transform(split.counts(chunk, column), copy=False)))
        vector[chunk] = placed
        topic[chunk] = group.predict(placed.astype(np.float32))
        say(f"placed {chunk[-1] + 1:,} of {examples:,} examples")
    used, topic = np.unique(topic, return_inverse=True)
    topic = topic.astype(np.int32)
    centre = _means(topic, vector, len(used))
    say(f"{len(used)} topics", always=True)
    return Topics(
        topic,
        vector,
        centre,
        information,
        {
            "method": "TF-IDF (sublinear, idf and SVD fitted on a sample), truncated SVD, length 1, mini-batch k-means",
            "seed": seed,
            "examples": examples,
            "sample": len(chosen),
            "tokens_used": columns,
            "dimensions": vector.shape[1],
            "topics": len(used),
            "explained_variance": round(float(np.nan_to_num(reduce.explained_variance_ratio_).sum()), 4),
            "scikit_learn": sklearn.__version__,
        },
    )


def _information(split: Split, examples: NDArray[np.integer], idf: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum of the idf of an example's distinct tokens over the number of its tokens: (n,), 0 for an example without any."""
    counts = split.counts(examples, np.arange(len(idf), dtype=np.int32))
    tokens = np.asarray(counts.sum(axis=1)).ravel()
    counts.data[:] = 1
    return counts @ idf / np.maximum(tokens, 1)


def _means(topic: NDArray[np.int32], vector: NDArray[np.float16], topics: int) -> NDArray[np.float32]:
    """The mean vector of each topic's examples: (topics, dimensions)."""
    order = np.argsort(topic, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(topic, minlength=topics))[:-1])
    return np.stack([vector[rows].astype(np.float64).mean(axis=0) for rows in members]).astype(np.float32)
