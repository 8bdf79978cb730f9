"""D1 to D6 at and beyond each threshold of docs/cause.md's rules, on planted numbers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import cause_claims
from cause import ArmResult, CauseResult, Comparison
from cause_design import INPUT, OUTPUT, TIED, CauseDesign
from claims import Estimate, combine_seeds

RECORDS = 40


def estimate(value, half=0.01, over="tokens"):
    return Estimate(value, None if half is None else (value - half, value + half), over)


def stream(head=1e-6, r2=0.86, rank=0.9):
    """A stream cause whose numbers lie closely about the planted ones; a list of two gives the halves."""

    def spread(planted):
        halves = planted if isinstance(planted, list) else [planted, planted]
        wobble = 1 + 0.001 * np.sin(np.arange(RECORDS))
        return np.repeat(halves, RECORDS // 2) * wobble

    numbers = {"head_sum": spread(head), "gradient_length": np.ones(RECORDS)}
    return SimpleNamespace(numbers={**numbers, "second_moment_r2": spread(r2), "second_moment_spearman": spread(rank)})


def table(r=0.03, half=0.01, **numbers):
    cause = stream(**numbers)
    parts = None if half is None else np.array([-1.0, 1.0] * 200) * half / 1.96 * np.sqrt(400)
    return SimpleNamespace(end=estimate(r, half), parts=parts, cause=cause, similarity=None)


def run(arm, seed, updates, tables, loss=9.8, entropy=11.07, setting=None):
    learning = SimpleNamespace(valid_loss=loss, unigram_entropy=entropy)
    main = tables.get(TIED) or tables[INPUT]
    return SimpleNamespace(
        arm=arm,
        seed=seed,
        updates=updates,
        tables=tables,
        main=main,
        learning=learning,
        signature=f"arm:{arm}|seed:{seed}",
        setting=setting or {},
    )


def arm(rule, tables, *, tied=True, updates=1000, **options):
    """`tables`: one dictionary of tables a seed."""
    design = CauseDesign(rule, tied)
    runs = [run(design.name, seed, updates, found, **options) for seed, found in enumerate(tables, 1)]
    return ArmResult(design.name, design, runs)


def tied(rule, values, **options):
    values = values if isinstance(values, list) else [values]
    return arm(
        rule, [{TIED: table(*value) if isinstance(value, tuple) else table(value)} for value in values], **options
    )


def decide(name, arms, comparisons=None):
    result = CauseResult(arms=arms, comparisons=comparisons or {})
    return next(claim for claim in cause_claims.decide(result) if claim.id == name)


# D1


def zero_sum(head_tied, head_untied, updates=1000):
    untied = [{INPUT: table(), OUTPUT: table(head=head_untied)}]
    arms = [
        arm("adam", [{TIED: table(head=head_tied)}], updates=updates),
        arm("adam", untied, tied=False, updates=updates),
    ]
    return decide("D1", arms)


@pytest.mark.parametrize(
    ("head_tied", "head_untied", "verdict"),
    [
        (1e-7, 1e-7, "holds"),
        (0.0099, 0.0098, "holds"),
        (0.0101, 1e-7, "does not hold"),
        (1e-7, 0.5, "does not hold"),
        (0.01, 1e-7, "inconclusive"),
        ([0.02, 1e-7], 1e-7, "inconclusive"),  # half of the updates fail
    ],
)
def test_the_zero_sum_must_hold_on_both(head_tied, head_untied, verdict):
    claim = zero_sum(head_tied, head_untied)
    assert claim.verdict == verdict
    assert claim.interval_over == "updates"
    assert [part.rule.high for part in claim.parts] == [0.01, 0.01]


def test_too_short_a_run_refuses_nothing():
    assert zero_sum(0.5, 1e-7, updates=99).verdict == "inconclusive"


def test_unknown_roles_leave_the_zero_sum_not_run():
    claim = zero_sum(np.nan, np.nan)
    assert claim.verdict == "not run"
    assert "no seed of adam has a recorded stream cause with the roles" in claim.reason
    assert "run_all.sh --only E5 --profile standard" in claim.reason


# D2


@pytest.mark.parametrize(
    ("r2", "verdict"),
    [
        (0.86, "holds"),
        (0.71, "holds"),
        (0.69, "does not hold"),
        (0.7, "inconclusive"),
        ([0.1, 0.86], "holds"),  # the last half of the updates decides
        ([0.86, 0.1], "does not hold"),
    ],
)
def test_the_second_moment_must_follow_the_count_in_the_last_half(r2, verdict):
    claim = decide("D2", [arm("adam", [{TIED: table(r2=r2, rank=0.2)}])])  # ranks decide nothing
    assert claim.verdict == verdict
    assert claim.study == 0.85
    assert len(claim.parts) == 1
    assert "deciding nothing: Spearman of the same pairs +0.200 [" in claim.reason


def test_few_records_give_no_interval():
    found = cause_claims.median(np.array([1.0, 2.0, 3.0, np.nan]))
    assert (found.value, found.interval) == (2.0, None)
    assert cause_claims.median(np.array([np.nan])) is None
    many = cause_claims.median(np.arange(100.0))
    assert many.interval[0] < many.value == 49.5 < many.interval[1]


# D3


@pytest.mark.parametrize(
    ("adam", "coupled", "sgd", "verdict"),
    [
        (0.8, 0.03, 0.01, "holds"),
        (0.511, 0.039, 0.039, "holds"),
        (0.8, 0.06, 0.01, "inconclusive"),  # its interval reaches 0.05
        (0.8, 0.07, 0.01, "does not hold"),
        (0.8, 0.01, 0.3, "does not hold"),
        (0.3, 0.03, 0.01, "inconclusive"),  # nothing to remove
        (0.3, 0.2, 0.01, "inconclusive"),
        (0.505, 0.03, 0.01, "inconclusive"),  # not above 0.5 with its interval
        (0.3, 0.6, 0.01, "inconclusive"),  # whatever the remedies do
        (0.3, 0.01, 0.7, "inconclusive"),
        ((0.8, None), 0.03, 0.01, "inconclusive"),
    ],
)
def test_the_remedies_must_remove_a_drift_that_is_there(adam, coupled, sgd, verdict):
    claim = decide("D3", [tied("adam", adam), tied("coupled", coupled), tied("sgd", sgd)])
    assert claim.verdict == verdict
    assert claim.study == 0.03
    assert claim.value == pytest.approx(coupled)
    assert ("nothing to remove" in claim.reason) == (verdict == "inconclusive" and adam != 0.8)
    assert "validation loss coupled 9.80, sgd 9.80, adam 9.80 bits (unigram entropy 11.07)" in claim.reason


def test_arms_that_differ_in_more_than_the_rule_decide_nothing():
    arms = [tied(rule, r, setting={"optimization.lr": lr}) for rule, r, lr in (("adam", 0.8, "0.001"), ("coupled", 0.03, "1e-06"), ("sgd", 0.01, "0.001"))]  # fmt: skip
    claim = decide("D3", arms)
    assert claim.verdict == "not run"
    assert (
        "the arms differ in more than the rule of the tables: lr coupled 1e-06, sgd 0.001, adam 0.001" in claim.reason
    )
    arms[1] = tied("coupled", 0.03, setting={"optimization.lr": "0.001"})
    assert decide("D3", arms).verdict == "holds"


def test_a_short_run_does_not_refuse_that_the_drift_is_removed():
    claim = decide(
        "D3", [tied(rule, value, updates=50) for rule, value in (("adam", 0.3), ("coupled", 0.7), ("sgd", 0.0))]
    )
    assert claim.verdict == "inconclusive"


def test_seeds_are_those_that_all_arms_have():
    arms = [tied("adam", [0.8, 0.81, 0.82]), tied("coupled", [0.03, 0.031, 0.032]), tied("sgd", [0.01, 0.02])]
    claim = decide("D3", arms)
    assert (claim.seeds, claim.interval_over) == (2, "tokens")
    claim = decide("D3", [*arms[:2], tied("sgd", [0.01, 0.011, 0.012])])
    assert (claim.verdict, claim.seeds, claim.interval_over) == ("holds", 3, "seeds")
    assert "seed:1,2,3" in claim.signature
    wide = decide("D3", [*arms[:2], tied("sgd", [0.0, 0.0, 0.06])])  # Student's t over such seeds is wide
    assert wide.verdict == "inconclusive"


# D4


def losses(coupled, sgd):
    arms = [tied("adam", 0.8), tied("coupled", 0.03), tied("sgd", 0.01)]
    comparisons = {}
    for rule, (value, half) in (("coupled", coupled), ("sgd", sgd)):
        share = estimate(value, half, "examples")
        paired = [SimpleNamespace(share=share)]
        comparisons[rule, "adam"] = Comparison(rule, "adam", [1], paired, share, combine_seeds([share]))
    return decide("D4", arms, comparisons)


@pytest.mark.parametrize(
    ("coupled", "sgd", "verdict"),
    [
        ((-0.01, 0.002), (0.001, 0.002), "holds"),
        ((0.0, 0.004), (0.003, 0.0019), "holds"),
        ((0.004, 0.002), (0.0, 0.001), "inconclusive"),
        ((0.01, 0.004), (0.0, 0.001), "does not hold"),
        ((0.0, 0.001), (0.02, 0.001), "does not hold"),
        ((0.0, None), (0.0, 0.001), "inconclusive"),
    ],
)
def test_neither_remedy_may_cost_half_a_per_cent(coupled, sgd, verdict):
    claim = losses(coupled, sgd)
    assert claim.verdict == verdict
    assert claim.study is None
    assert "coupled" in claim.reason


def test_without_an_evaluation_the_loss_was_not_run():
    claim = decide("D4", [tied("adam", 0.8), tied("coupled", 0.03), tied("sgd", 0.01)])
    assert claim.verdict == "not run"
    assert "an evaluation of the same held-out text" in claim.reason


# D5


@pytest.mark.parametrize(
    ("value", "interval", "verdict"),
    [
        (0.3, (0.1, 0.5), "holds"),
        (0.06, (0.001, 0.1), "holds"),  # the interval need only exclude 0
        (0.06, (-0.01, 0.1), "inconclusive"),
        (0.04, (0.01, 0.06), "inconclusive"),
        (0.02, (-0.01, 0.05), "does not hold"),
        (-0.2, (-0.3, -0.1), "does not hold"),
        (0.3, None, "inconclusive"),
    ],
)
def test_word_similarity_must_rise_by_a_twentieth(monkeypatch, value, interval, verdict):
    asked = []

    def difference(one, two, name, *, variant, seen_only):
        asked.append((name, variant, seen_only))
        return Estimate(value, interval, "pairs")

    monkeypatch.setattr(cause_claims, "score_difference", difference)
    arms = [tied("adam", 0.8), tied("coupled", 0.03)]
    for found in arms:
        found.runs[0].main.similarity = SimpleNamespace(scores={})
    claim = decide("D5", arms)
    assert claim.verdict == verdict
    assert asked[0] == ("WordSim-353", "raw", False)
    assert "WordSim-353 centred" in claim.reason
    assert "SimLex-999 raw" in claim.reason


# D6


def untied(output, entry, coupled, half=0.01):
    arms = [
        arm("adam", [{INPUT: table(entry, half), OUTPUT: table(output, half)}], tied=False),
        arm("coupled", [{INPUT: table(0.02), OUTPUT: table(coupled)}], tied=False),
    ]
    for found in arms[0].runs[0].tables.values():  # other signs, so that the parts do not cancel
        found.parts = found.parts if found is arms[0].runs[0].tables[OUTPUT] else -found.parts
    return decide("D6", arms)


@pytest.mark.parametrize(
    ("output", "entry", "coupled", "verdict"),
    [
        (0.8, 0.1, 0.03, "holds"),
        (0.5, 0.1, 0.03, "holds"),
        (0.41, 0.1, 0.03, "inconclusive"),
        (0.3, 0.1, 0.03, "does not hold"),
        (0.1, 0.8, 0.03, "does not hold"),
        (0.8, 0.1, 0.045, "inconclusive"),
        (0.8, 0.1, 0.1, "does not hold"),
    ],
)
def test_untied_the_drift_must_live_on_the_output_table(output, entry, coupled, verdict):
    claim = untied(output, entry, coupled)
    assert claim.verdict == verdict
    assert claim.value == pytest.approx(output - entry)
    assert (claim.interval[1] - claim.interval[0]) / 2 == pytest.approx(
        0.02, rel=0.01
    )  # of rows that go against one another


# What is absent


def test_what_is_absent_is_named_with_the_command():
    for claim in cause_claims.decide(CauseResult()):
        assert claim.verdict == "not run"
        assert "E5 has no arm adam" in claim.reason or "E5 has no arm coupled" in claim.reason
        assert claim.reason.endswith("bash scripts/run_all.sh --only E5 --profile standard")


def test_arms_without_a_seed_in_common_decide_nothing():
    arms = [tied("adam", [0.8]), tied("coupled", [0.03]), tied("sgd", [0.01])]
    arms[2].runs[0].seed = 7
    claim = decide("D3", arms)
    assert claim.verdict == "not run"
    assert "no seed in common" in claim.reason


def test_a_loss_that_is_not_known_is_said():
    claim = decide("D2", [tied("adam", 0.8, loss=None)])
    assert claim.verdict == "holds"
    assert "the validation loss is not known" in claim.reason
