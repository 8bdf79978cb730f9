"""BLEU and chrF are sacrebleu's to the last digit, and the paired bootstrap finds planted differences as often as it says."""

import json
import subprocess
import sys

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF
from sharing_runs import Planted, corpus, translate

import translation_quality as quality
from claims import Rule, decide
from translation_files import TranslationError
from translation_quality import Scores, bleu, chrf, difference, measure, paired_test, resampled_scores, resampled_sums

MADE = corpus(150)
NONE = translate(MADE, Planted(0.25), 1)
WORSE = translate(MADE, Planted(0.32), 1)
EDGES = [
    (["a"], ["a b c d e"]),
    (["a b c d"], ["a b c d"]),
    (["x y z w v"], ["a b c d e"]),
    ([""], ["a b c"]),
    (["the cat sat on", "a"], ["the cat sat down", "a dog"]),
    (["a b x y z"], ["a b c d e"]),
    (["Straße 42, „ja“!"], ["Straße 43, „ja“ ..."]),
]


def test_scores_are_those_of_the_sacrebleu_command(tmp_path):
    for name, lines in (("ref", MADE.references), ("hyp", WORSE)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", str(tmp_path / "ref"), "-i", str(tmp_path / "hyp")]
    command += ["-m", "bleu", "chrf", "--format", "json", "-w", "6"]
    printed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    found = measure(WORSE, MADE.references)
    for metric, entry in zip(("BLEU", "chrF"), printed, strict=True):
        assert f"{found.score[metric]:.6f}" == f"{entry['score']:.6f}"
        assert entry["signature"] == found.signature[metric]
    plain = subprocess.run(
        [*command[:6], "-m", "bleu", "-f", "text", "-w", "2"], check=True, capture_output=True, text=True
    )
    assert found.line["BLEU"] == plain.stdout.strip()


@pytest.mark.parametrize(("hypotheses", "references"), [*EDGES, (WORSE, MADE.references)])
def test_summed_statistics_give_the_corpus_score(hypotheses, references):
    for statistics, formula, metric in (
        (quality.bleu_statistics, bleu, BLEU()),
        (quality.chrf_statistics, chrf, CHRF()),
    ):
        own = float(formula(statistics(hypotheses, references).sum(axis=0)))
        assert own == pytest.approx(metric.corpus_score(hypotheses, [references]).score, abs=1e-9)


def test_a_resample_is_the_corpus_score_of_the_drawn_sentences():
    scores = measure(WORSE, MADE.references)
    chosen = np.random.default_rng(3).integers(0, 150, 150)
    hypotheses, references = [WORSE[i] for i in chosen], [MADE.references[i] for i in chosen]
    again = measure(hypotheses, references)
    for metric, formula in quality.FORMULAS.items():
        assert float(formula(scores.statistics[metric][chosen].sum(axis=0))) == pytest.approx(again.score[metric])
    columns = np.arange(12.0).reshape(4, 3)
    drawn = resampled_sums(columns, resamples=50, seed=0)
    weights = (drawn[:, 1] - drawn[:, 0]) / 1.0  # columns differ by 1, so this is the number of sentences
    assert (weights == 4).all()
    assert (drawn[:, 2] - drawn[:, 1] == 4).all()


def test_a_library_that_scores_otherwise_is_refused(monkeypatch):
    monkeypatch.setitem(quality.FORMULAS, "BLEU", lambda sums: bleu(sums) + 0.01)
    with pytest.raises(TranslationError, match="this version of sacrebleu computes otherwise") as error:
        measure(NONE, MADE.references)
    assert "\n" not in str(error.value)


def test_the_interval_and_sacrebleus_p_agree():
    none, worse = measure(NONE, MADE.references), measure(WORSE, MADE.references)
    drawn = resampled_scores({"none": none, "worse": worse}, resamples=1000)["BLEU"]
    gap = worse.score["BLEU"] - none.score["BLEU"]
    estimate = difference(gap, drawn["worse"], drawn["none"])
    assert estimate.interval[0] < gap < estimate.interval[1] < 0
    tested = paired_test(("none", NONE), [("worse", WORSE), ("same", NONE)], MADE.references)
    assert tested[0].p["BLEU"] < 0.01
    assert tested[1].p["BLEU"] == 1  # sacrebleu's own test gives a system against itself the smallest p that there is
    assert "bs:1000|seed:12345" in tested[0].signature["BLEU"]


def test_a_small_difference_has_about_sacrebleus_p():
    """PairedTest centres |difference| by its mean; ours, computed likewise from our resamples, is the same but for the draw."""
    close = translate(MADE, Planted(0.257), 1)
    other = translate(MADE, Planted(0.25), 2)
    for hypotheses in (close, other):
        systems = {"none": measure(NONE, MADE.references), "other": measure(hypotheses, MADE.references)}
        drawn = resampled_scores(systems, resamples=1000)["BLEU"]
        gaps = np.abs(drawn["other"] - drawn["none"])
        observed = abs(systems["other"].score["BLEU"] - systems["none"].score["BLEU"])
        ours = ((gaps - gaps.mean() > observed).sum() + 1) / 1001
        theirs = paired_test(("none", NONE), [("other", hypotheses)], MADE.references)[0].p["BLEU"]
        assert ours == pytest.approx(theirs, abs=0.05)


def test_intervals_cover_the_planted_difference_as_often_as_they_say():
    """Statistics of many test sets from one population: the difference in the population lies in about 95 % of the intervals."""
    big = corpus(3000, seed=5)
    population = {p: quality.bleu_statistics(translate(big, Planted(p), 1), big.references) for p in (0.25, 0.28)}
    both = np.concatenate(list(population.values()), axis=1)
    truth = float(bleu(both[:, 10:].sum(axis=0)) - bleu(both[:, :10].sum(axis=0)))
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(60):
        sums = resampled_sums(both[rng.choice(3000, 150, replace=False)], resamples=400, seed=trial)
        low, high = difference(0.0, bleu(sums[:, 10:]), bleu(sums[:, :10])).interval
        inside += low <= truth <= high
    assert 52 <= inside <= 60


def test_equal_translations_differ_by_nothing():
    same = measure(NONE, MADE.references)
    drawn = resampled_scores({"a": same, "b": Scores(same.score, same.signature, same.line, same.statistics)})["BLEU"]
    estimate = difference(0.0, drawn["a"], drawn["b"])
    assert estimate.interval == (0.0, 0.0)
    assert decide(estimate, Rule(high=0)) != "holds"
