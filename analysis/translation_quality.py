"""BLEU and chrF of translations by sacrebleu, and paired bootstrap intervals of differences (Koehn 2004).

Scores are sacrebleu's own, with its default settings (BLEU: 13a, mixed case, exponential smoothing; chrF2), so they are what its
command line prints for the same files. A resample draws sentences with replacement, the same for every system, and
needs only the summed counts of n-grams, of which both scores are functions; the formulas are those of sacrebleu
(`BLEU.compute_bleu`, chrF of Popovic 2015), written for many resamples at a time. `measure` refuses a library whose score of
the whole corpus differs from ours. Beside the interval stands sacrebleu's own test, `sacrebleu.significance.PairedTest`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.helpers import extract_all_char_ngrams
from sacrebleu.significance import PairedTest

from bootstrap import percentile_interval, stratified_means
from claims import Estimate
from cli import NOT_IN_JSON
from translation_files import TranslationError

OVER = "sentences"
RESAMPLES = 2000
TEST_RESAMPLES = 1000  # sacrebleu's own default
METRICS = ("BLEU", "chrF")
ORDERS = 4  # BLEU's n-grams
CHAR_ORDERS = CHRF.CHAR_ORDER
BETA = CHRF.BETA
SAME = 1e-6  # points by which our score of the corpus may differ from sacrebleu's


@dataclass(frozen=True)
class Scores:
    """One system's translations: score by metric, sacrebleu's signature and line by metric, and sentence statistics.

    `statistics["BLEU"]` is float64 (sentences, 10): system and reference length, matched 1- to 4-grams, all 1- to 4-grams;
    `statistics["chrF"]` (sentences, 18): for each order 1 to 6 the hypothesis', the reference's and the matched n-grams.
    """

    score: dict[str, float]
    signature: dict[str, str]
    line: dict[str, str]
    statistics: dict[str, NDArray[np.float64]] = field(metadata=NOT_IN_JSON)


def bleu_statistics(hypotheses: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    """Sufficient statistics of BLEU for each sentence, float64 (sentences, 10); see `Scores`."""
    metric = BLEU(effective_order=True)  # the counts are the same; without it sacrebleu warns at each sentence
    found = [metric.sentence_score(one, [other]) for one, other in zip(hypotheses, references, strict=True)]
    return np.array([[f.sys_len, f.ref_len, *f.counts, *f.totals] for f in found], np.float64).reshape(
        -1, 2 + 2 * ORDERS
    )


def chrf_statistics(hypotheses: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    """Sufficient statistics of chrF for each sentence, float64 (sentences, 18); see `Scores`."""
    rows = []
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        row: list[int] = []
        grams = (extract_all_char_ngrams(text, CHAR_ORDERS) for text in (hypothesis, reference))
        for mine, theirs in zip(*grams, strict=True):
            row += _matches(mine, theirs)
        rows.append(row)
    return np.array(rows, np.float64).reshape(-1, 3 * CHAR_ORDERS)


def bleu(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """BLEU (0 to 100) from summed statistics (..., 10); `BLEU.compute_bleu` with smooth_method "exp"."""
    length, wanted = sums[..., 0], sums[..., 1]
    correct, total = sums[..., 2 : 2 + ORDERS], sums[..., 2 + ORDERS :]
    smooth = 2.0 ** np.cumsum(correct == 0, axis=-1)  # each order without a match halves the count that it is given
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(correct > 0, correct, 1 / smooth) / total
        penalty = np.where(length < wanted, np.exp(1 - wanted / length), 1.0)
        score = 100 * penalty * np.exp(np.log(precision).mean(axis=-1))
    return np.where((total == 0).any(axis=-1) | (correct == 0).all(axis=-1) | (length == 0), 0.0, score)


def chrf(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """chrF2 (0 to 100) from summed statistics (..., 18): F of the mean precision and recall over the orders that occur."""
    mine, wanted, matched = (sums[..., place::3] for place in range(3))
    used = (mine > 0) & (wanted > 0)
    orders = np.maximum(used.sum(axis=-1), 1)
    precision = np.divide(matched, mine, out=np.zeros_like(mine), where=used).sum(axis=-1) / orders
    recall = np.divide(matched, wanted, out=np.zeros_like(mine), where=used).sum(axis=-1) / orders
    below = BETA**2 * precision + recall
    return 100 * np.divide((1 + BETA**2) * precision * recall, below, out=np.zeros_like(below), where=below > 0)


FORMULAS = {"BLEU": bleu, "chrF": chrf}


def measure(hypotheses: Sequence[str], references: Sequence[str]) -> Scores:
    """Score one system's translations. Raises TranslationError where sacrebleu's score is not a function of our counts."""
    score, signature, line = {}, {}, {}
    statistics = {
        "BLEU": bleu_statistics(hypotheses, references),
        "chrF": chrf_statistics(hypotheses, references),
    }
    for name, metric in (("BLEU", BLEU()), ("chrF", CHRF())):
        found = metric.corpus_score(list(hypotheses), [list(references)])
        ours = float(FORMULAS[name](statistics[name].sum(axis=0)))
        if abs(ours - found.score) > SAME:
            raise TranslationError(
                f"{name}: sacrebleu gives {found.score:.6f} and its summed counts {ours:.6f}: this version of sacrebleu computes "
                "otherwise; install the version of the requirements"
            )
        signature[name] = metric.get_signature().format()
        score[name] = found.score
        line[name] = found.format(width=2, signature=signature[name])
    return Scores(score, signature, line, statistics)


def resampled_sums(columns: NDArray[np.float64], *, resamples: int, seed: int) -> NDArray[np.float64]:
    """Sums of each column over sentences drawn anew, float64 (resamples, columns): the same sentences in every column.

    `columns` (sentences, columns) holds counts, so the sums are whole numbers.
    """
    n = len(columns)
    means = stratified_means(columns, np.zeros(n, np.int64), 1, resamples=resamples, seed=seed)[:, 0]
    return np.rint(means * n)


def resampled_scores(
    systems: Mapping[str, Scores], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Scores of every system in each resample: [metric][system] float64 (resamples,), all paired by sentence."""
    parts = [(metric, name) for metric in METRICS for name in systems]
    blocks = [systems[name].statistics[metric] for metric, name in parts]
    sums = resampled_sums(np.concatenate(blocks, axis=1), resamples=resamples, seed=seed)
    result: dict[str, dict[str, NDArray[np.float64]]] = {metric: {} for metric in METRICS}
    start = 0
    for (metric, name), block in zip(parts, blocks, strict=True):
        result[metric][name] = FORMULAS[metric](sums[:, start : start + block.shape[1]])
        start += block.shape[1]
    return result


def difference(value: float, first: NDArray[np.float64], second: NDArray[np.float64], level: float = 0.95) -> Estimate:
    """An observed difference with the percentile interval of its paired resamples."""
    return Estimate(value, percentile_interval(first - second, level), OVER)


@dataclass(frozen=True)
class Tested:
    """sacrebleu's paired bootstrap test of one system against a baseline: p by metric, and the test's signatures."""

    system: str
    baseline: str
    p: dict[str, float]
    signature: dict[str, str]


def paired_test(
    baseline: tuple[str, Sequence[str]], systems: Sequence[tuple[str, Sequence[str]]], references: Sequence[str]
) -> list[Tested]:
    """`sacrebleu.significance.PairedTest` (bootstrap) of each system against the baseline; its seed is in the signature.

    Translations that are all the same get p = 1: sacrebleu's test gives them the smallest p that it has, because no resampled
    difference exceeds the observed one of 0.
    """
    named = [("Baseline", list(baseline[1])), *((name, list(hypotheses)) for name, hypotheses in systems)]
    test = PairedTest(named, {"BLEU": BLEU(), "chrF": CHRF()}, [list(references)], "bs", TEST_RESAMPLES)
    signatures, found = test()
    keys = dict(zip(METRICS, [key for key in found if key != "System"], strict=True))  # chrF is called chrF2 there
    return [
        Tested(
            name,
            baseline[0],
            {
                metric: 1.0 if named[place][1] == named[0][1] else float(found[key][place].p_value)
                for metric, key in keys.items()
            },
            {metric: signatures[key].format() for metric, key in keys.items()},
        )
        for place, (name, _) in enumerate(systems, 1)
    ]


def _matches(mine: Counter, theirs: Counter) -> list[int]:
    """n-grams of the hypothesis (0 where the reference has none of this order), of the reference, and matched ones."""
    matched = sum(min(number, theirs[gram]) for gram, number in mine.items() if gram in theirs)
    return [mine.total() if theirs else 0, theirs.total(), matched]
