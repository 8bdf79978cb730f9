"""Published word categorisation sets against a table: do k-means clusters of the rows give back the sets' categories.

The sets (AP: Almuhareb and Poesio 2006; BLESS: Baroni and Lenci 2011; ESSLLI 2008 and others) are CSV files of the user's, with
a header that names the columns `category` and `word`. The rows of a set's words are clustered by k-means with as many clusters
as categories, and purity (Zhao and Karypis 2001) is the share of words that are of the largest category of their cluster:

    purity = (1 / n) sum over clusters of the largest category's number of words in it

- Purity rises with the number of clusters (n clusters of n words have purity 1) and with unequal categories: it means something
  only beside its chance, which is the purity of the same clusters with the category labels permuted over the words. A low p
  says that clusters and categories go together, be it by meaning, by form or by frequency: chance is matched for none of these.
- Values are of static token embeddings, and only of words that are one token of the vocabulary: the others are named and left
  out, and categories of which fewer than LEAST_WORDS words remain with them. So values are not comparable with published ones
  over all words, nor with those of another vocabulary.
- K-means depends on its start: the value is the mean over several starts, beside the lowest and the highest. The interval is
  Student's t over words; as the words share their clusters it is of these starts and too narrow for new words.
"""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from claims import LEVEL, Estimate
from streams import DumpError

COLUMNS = ("category", "word")
LEAST_WORDS = 2  # of a category
LEAST_CATEGORIES, LEAST_IN_ALL = 2, 4  # categories and words without which there is no result
OVER = "words"
BLOCK_VALUES = 1 << 22  # counts at a time: 32 MB as int64


class WordSetError(DumpError):
    """A folder of word sets that cannot be used: one line saying what was expected, what was found and what to do."""


@dataclass(frozen=True)
class WordSet:
    """A file's `words` and their category `labels`, each word once; `two_categories` names words left out for having two."""

    name: str
    words: tuple[str, ...]
    labels: tuple[str, ...]
    two_categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class WordSetResult:
    """One set on one table. `words` of the file (each once), `found` of them used, in `categories` categories.

    `purity` is the mean over `starts` of k-means, `lowest` and `highest` among them; `chance` are the 2.5 % quantile, the mean
    and the 97.5 % quantile of that mean with permuted labels, `p` = (1 + permutations that reach `purity`) / (1 + permutations).
    Of the words that are not used, `not_one_token` names those that the vocabulary does not have
    whole, `not_usable` those whose row is not counted or of zero norm, `two_categories` those with two categories; the others
    are the only ones left of the `dropped_categories`.
    """

    name: str
    words: int
    found: int
    categories: int
    purity: Estimate
    starts: int
    lowest: float
    highest: float
    chance: tuple[float, float, float]
    p: float
    not_one_token: tuple[str, ...]
    dropped_categories: tuple[str, ...]
    not_usable: tuple[str, ...] = ()
    two_categories: tuple[str, ...] = ()

    def report(self) -> str:
        """A sentence on what was left out, for the reader of the table."""
        text = f"{self.name}: {self.found} of {self.words} words in {self.categories} categories"
        for what, names in (
            ("not one token", self.not_one_token),
            ("one token, but without a usable row", self.not_usable),
            ("in two categories", self.two_categories),
            (f"categories with fewer than {LEAST_WORDS} words left", self.dropped_categories),
        ):
            text += f"; {what}: {_listing(names)}" if names else ""
        return text + "."


def read_word_sets(folder: Path) -> list[WordSet]:
    """Every set of `folder` (its *.csv files), by name. Raises WordSetError: no folder, no such file, a file that is no word set."""
    folder = Path(folder)
    if not folder.is_dir():
        raise WordSetError(f"{folder}: expected a folder with word sets as CSV files, found none; check the path")
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".csv" and path.name[0] != ".")
    except OSError as error:
        raise WordSetError(f"{folder}: the folder cannot be read ({error.strerror or error})") from None
    if not paths:
        raise WordSetError(
            f"{folder}: expected word sets as *.csv files with the columns category and word, found no such file"
        )
    return [_read(path) for path in paths]


def word_set_purity(
    unit: NDArray[np.float32],
    texts: Sequence[str],
    word_set: WordSet,
    *,
    usable: NDArray[np.bool_],
    lower_case: bool = False,
    seed: int = 0,
    starts: int = 10,
    permutations: int = 999,
) -> WordSetResult | None:
    """K-means purity of one set; None where fewer than 2 categories or 4 words remain.

    `unit` (rows, dim): rows centred by the common vector and divided by their norms; `texts` (rows,) and `usable` (rows,) of the
    same rows. A word is looked up with a leading space, in the case that the file gives it (`lower_case`: in lower case, for an
    uncased vocabulary); of several rows with one text the first is taken. Raises ValueError: starts or permutations below 1.
    """
    if starts < 1 or permutations < 1:
        raise ValueError(f"expected at least 1 start and 1 permutation, found {starts} and {permutations}")
    row_of = {text: row for row, text in reversed(list(enumerate(texts)))}
    forms = [" " + (word.lower() if lower_case else word) for word in word_set.words]
    single, several = _once(forms, word_set.labels)  # in lower case two words can be one
    kept = [place for place in single if forms[place] in row_of and usable[row_of[forms[place]]]]
    rows = np.array([row_of[forms[place]] for place in kept], np.int64)
    names = sorted(set(word_set.labels))
    label = np.array([names.index(word_set.labels[place]) for place in kept], np.int64)
    sizes = np.bincount(label, minlength=len(names))
    chosen = sizes[label] >= LEAST_WORDS
    rows, (left, label) = rows[chosen], np.unique(label[chosen], return_inverse=True)
    if len(left) < LEAST_CATEGORIES or len(rows) < LEAST_IN_ALL:
        return None

    for_clusters, for_labels = np.random.SeedSequence(seed).spawn(2)
    clusters = _cluster(unit[rows], len(left), [int(each) for each in for_clusters.generate_state(starts)])
    rng = np.random.default_rng(for_labels)
    count = len(rows)
    observed = majority_counts(clusters, label[None])[0]
    permuted = majority_counts(clusters, rng.permuted(np.tile(label, (permutations, 1)), axis=1)).sum(axis=1)
    low, high = np.percentile(permuted, [2.5, 97.5]) / (count * starts)
    return WordSetResult(
        name=word_set.name,
        words=len(word_set.words) + len(word_set.two_categories),
        found=count,
        categories=len(left),
        purity=_over_words(majority_shares(clusters, label), float(observed.sum() / (count * starts))),
        starts=starts,
        lowest=float(observed.min() / count),
        highest=float(observed.max() / count),
        chance=(float(low), float(permuted.mean() / (count * starts)), float(high)),
        p=float((1 + (permuted >= observed.sum()).sum()) / (1 + permutations)),
        not_one_token=tuple(word for word, form in zip(word_set.words, forms, strict=True) if form not in row_of),
        dropped_categories=tuple(name for place, name in enumerate(names) if place not in left),
        not_usable=tuple(
            word
            for word, form in zip(word_set.words, forms, strict=True)
            if form in row_of and not usable[row_of[form]]
        ),
        two_categories=word_set.two_categories
        + tuple(word for word, form in zip(word_set.words, forms, strict=True) if form in several),
    )


def majority_counts(clusters: NDArray[np.integer], labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Words of the largest label of their cluster, int64 (labellings, starts), of which purity is the share.

    `clusters` (starts, n) are the words' clusters in each start, `labels` (labellings, n) their labels, all from 0.
    """
    starts, count = clusters.shape
    groups, kinds = int(clusters.max()) + 1, int(labels.max()) + 1
    cell = (np.arange(starts)[:, None] * groups + clusters) * kinds  # first cell of a word's cluster, (starts, n)
    cells = starts * groups * kinds
    result = np.empty((len(labels), starts), np.int64)
    step = max(1, BLOCK_VALUES // max(cells, starts * count))
    for begin in range(0, len(labels), step):
        part = labels[begin : begin + step]
        flat = cell + part[:, None] + cells * np.arange(len(part))[:, None, None]
        table = np.bincount(flat.ravel(), minlength=cells * len(part)).reshape(len(part), starts, groups, kinds)
        result[begin : begin + step] = table.max(axis=3).sum(axis=2)
    return result


def majority_shares(clusters: NDArray[np.integer], label: NDArray[np.integer]) -> NDArray[np.float64]:
    """For each word the share of starts in which its label is the largest of its cluster, float64 (n,); the mean is the purity.

    `clusters` (starts, n), `label` (n,). Where t labels are equally large, the words of each count 1 / t.
    """
    starts = len(clusters)
    table = np.zeros((starts, int(clusters.max()) + 1, int(label.max()) + 1), np.int64)
    start = np.arange(starts)[:, None]
    np.add.at(table, (start, clusters, label), 1)
    largest = table == table.max(axis=2, keepdims=True)
    share = largest / largest.sum(axis=2, keepdims=True)
    return share[start, clusters, label].mean(axis=0)


def word_sets_table(results: Iterable[WordSetResult]) -> list[list[str]]:
    """For readers: each set's words, categories, purity beside its chance, and how much was left out (`report` names it)."""
    lines = [
        [
            "word set",
            "words used",
            "categories",
            "k-means purity",
            "lowest to highest start",
            "chance [95 %]",
            "p",
            "not one token",
            "other words left out",
            "categories left out",
        ]
    ]
    for result in results:
        low, mean, high = result.chance
        value, interval = result.purity.value, result.purity.interval
        lines.append(
            [
                result.name,
                f"{result.found} of {result.words}",
                str(result.categories),
                f"{value:.3f}" + ("" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"),
                f"{result.lowest:.3f} to {result.highest:.3f} of {result.starts}",
                f"{mean:.3f} [{low:.3f}, {high:.3f}]",
                f"{result.p:.4f}",
                str(len(result.not_one_token)),
                str(result.words - result.found - len(result.not_one_token)),
                str(len(result.dropped_categories)),
            ]
        )
    return lines


def _cluster(unit: NDArray[np.floating], number: int, seeds: Sequence[int]) -> NDArray[np.int64]:
    """Clusters of the rows `unit` (n, dim) by k-means from one start a seed, int64 (starts, n)."""
    points = unit.astype(np.float64)  # so that the order in which threads add up does not matter
    with warnings.catch_warnings():  # equal rows can leave fewer clusters than asked for
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = [KMeans(number, n_init=1, random_state=seed).fit_predict(points) for seed in seeds]
    return np.array(found, np.int64)


def _over_words(shares: NDArray[np.float64], value: float) -> Estimate:
    """The value with Student's t over the words' shares (n,), within [0, 1]."""
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(shares) - 1) * shares.std(ddof=1) / math.sqrt(len(shares)))
    return Estimate(value, (max(0.0, value - half), min(1.0, value + half)), OVER)


def _read(path: Path) -> WordSet:
    """One file: rows without a word and repeated rows are passed over. Raises WordSetError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if not header:
                raise WordSetError(
                    f"{path}: expected a header with the columns category and word, found an empty file or first line"
                )
            if any(header.count(name) != 1 for name in COLUMNS):
                raise WordSetError(
                    f"{path}: expected a header with the columns category and word, with commas between, once each; "
                    f"found {', '.join(map(repr, header))[:160]}"
                )
            pairs = [_pair(path, reader.line_num, header, row) for row in reader if row]
    except UnicodeDecodeError as error:
        raise WordSetError(f"{path}: expected UTF-8, found {error.reason}; save the file as UTF-8") from None
    except csv.Error as error:
        raise WordSetError(f"{path}: line {reader.line_num}: not CSV ({error})") from None
    except OSError as error:
        raise WordSetError(f"{path}: cannot be read ({error.strerror or error})") from None
    pairs = [(category, word) for category, word in pairs if word]
    if not pairs:
        raise WordSetError(f"{path}: expected words and their categories, found none below the header")
    labels, words = zip(*pairs, strict=True)
    single, several = _once(words, labels)
    return WordSet(
        path.stem,
        words=tuple(words[place] for place in single),
        labels=tuple(labels[place] for place in single),
        two_categories=several,
    )


def _pair(path: Path, line: int, header: list[str], row: list[str]) -> tuple[str, str]:
    """Category and word of one row of a file; a row may have no word (the files in circulation have some), but no lone word."""
    if len(row) != len(header):
        raise WordSetError(f"{path}: line {line}: expected the header's {len(header)} columns, found {len(row)}")
    category, word = (row[header.index(name)].strip() for name in COLUMNS)
    if word and not category:
        raise WordSetError(f"{path}: line {line}: expected a category, found {word!r} without one")
    return category, word


def _once(words: Sequence[str], labels: Sequence[str]) -> tuple[list[int], tuple[str, ...]]:
    """First places of the words that have one label, and the words that have several."""
    of_word: dict[str, set[str]] = {}
    first: dict[str, int] = {}
    for place, (word, label) in enumerate(zip(words, labels, strict=True)):
        of_word.setdefault(word, set()).add(label)
        first.setdefault(word, place)
    single = [place for word, place in first.items() if len(of_word[word]) == 1]
    return single, tuple(word for word in first if len(of_word[word]) > 1)


def _listing(entries: Sequence[str], most: int = 12) -> str:
    """Words in a row, the rest as a number."""
    rest = f" and {len(entries) - most} more" if len(entries) > most else ""
    return ", ".join(entries[:most]) + rest
