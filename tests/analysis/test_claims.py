"""Verdicts: effect size and interval, seeds combined by Student's t, and the form of report.json."""

from __future__ import annotations

import json
import math

import pytest

from claims import (
    STATEMENTS,
    Claim,
    Estimate,
    Rule,
    combine_seeds,
    decide,
    decide_claim,
    merge_signatures,
    not_run,
    number_words,
    require_learning,
)

BELOW = Rule(high=-0.5)


@pytest.mark.parametrize(
    ("value", "interval", "rule", "verdict"),
    [
        (-0.8, (-0.9, -0.6), BELOW, "holds"),
        (-0.8, (-0.9, -0.5), BELOW, "inconclusive"),
        (-0.8, (-0.9, -0.4), BELOW, "inconclusive"),
        (-0.4, (-0.49, -0.3), BELOW, "does not hold"),
        (-0.4, (-0.51, -0.3), BELOW, "inconclusive"),
        (0.06, (0.051, 0.07), Rule(low=0.05), "holds"),
        (0.04, (0.03, 0.05), Rule(low=0.05), "does not hold"),
        (-0.2, (-0.24, -0.16), Rule(-0.25, -0.15), "holds"),
        (-0.3, (-0.34, -0.26), Rule(-0.25, -0.15), "does not hold"),
        (-0.2, (-0.3, -0.1), Rule(-0.25, -0.15), "inconclusive"),
        (-0.8, None, BELOW, "inconclusive"),
        (math.nan, (-0.9, -0.8), BELOW, "inconclusive"),
        (-0.8, (math.nan, -0.8), BELOW, "inconclusive"),
        (0.02, (0.001, 0.04), Rule(low=0.01, opposite=0.0), "holds"),
        (0.02, (0.0, 0.04), Rule(low=0.01, opposite=0.0), "inconclusive"),
        (-0.02, (-0.04, -0.001), Rule(high=-0.01, opposite=0.0), "holds"),
        (-0.02, (-0.04, 0.001), Rule(high=-0.01, opposite=0.0), "inconclusive"),
        (-0.001, (-0.01, 0.04), Rule(high=-0.01, opposite=0.0), "does not hold"),
    ],
)
def test_a_verdict_needs_the_whole_interval(
    value: float, interval: tuple[float, float] | None, rule: Rule, verdict: str
) -> None:
    assert decide(Estimate(value, interval), rule) == verdict


def test_a_rule_tells_what_it_asks() -> None:
    assert str(Rule(low=0.01, opposite=0.0)) == "> +0.01, interval above 0"
    assert str(Rule(high=-0.005, opposite=0.0)) == "< -0.005, interval below 0"


def test_three_seeds_give_students_interval() -> None:
    """Golden: 0.1, 0.2, 0.3 have the mean 0.2 and the standard error 0.1 / sqrt 3; t(0.975, 2) = 4.302653."""
    combined = combine_seeds([Estimate(value, (value - 1, value + 1)) for value in (0.1, 0.2, 0.3)])
    assert combined.over == "seeds"
    assert combined.value == pytest.approx(0.2)
    assert combined.interval == pytest.approx((0.2 - 0.2484139, 0.2 + 0.2484139), abs=1e-6)


def test_fewer_seeds_keep_the_interval_over_tokens_and_say_so() -> None:
    one, two = Estimate(-0.8, (-0.85, -0.75)), Estimate(-0.7, (-0.72, -0.45))
    assert combine_seeds([one]) == one
    combined = combine_seeds([one, two])
    assert combined.value == pytest.approx(-0.75)
    assert (combined.interval, combined.over) == ((-0.85, -0.45), "tokens")
    assert combine_seeds([one, Estimate(-0.7, None)]).interval is None
    reasons = [decide_claim("C2.2", [("s", BELOW, [one] * n)], ["a:b"] * n).reason for n in (1, 2, 3)]
    assert ["one seed" in reasons[0], "two seeds" in reasons[1], "3 seeds" in reasons[2]] == [True] * 3
    with pytest.raises(ValueError, match="no seed"):
        combine_seeds([])


@pytest.mark.parametrize(
    ("second", "verdict"),
    [
        (Estimate(-0.7, (-0.8, -0.6)), "holds"),
        (Estimate(-0.5, (-0.6, -0.4)), "inconclusive"),
        (Estimate(-0.2, (-0.3, -0.1)), "does not hold"),
        (Estimate(math.nan, None), "inconclusive"),
    ],
)
def test_every_part_must_hold(second: Estimate, verdict: str) -> None:
    first = Estimate(-0.8, (-0.9, -0.7))
    claim = decide_claim("C2.2", [("seen", BELOW, [first]), ("all", BELOW, [second])], ["x:1"], note="said so")
    assert claim.verdict == verdict
    assert (claim.measure, claim.value, claim.interval, claim.study) == ("seen", -0.8, (-0.9, -0.7), -0.8044)
    assert claim.reason.endswith("said so")
    content = json.loads(json.dumps(claim.to_json(), allow_nan=False))
    assert [part["verdict"] for part in content["parts"]] == ["holds", verdict]


def test_a_short_run_may_show_an_effect_but_refuses_nothing() -> None:
    for value, updates, verdict in ((-0.1, 99, "inconclusive"), (-0.1, 100, "does not hold"), (-0.8, 3, "holds")):
        estimate = [Estimate(value, (value - 0.01, value + 0.01))]
        claim = decide_claim("C2.2", [("seen", BELOW, estimate)], ["s:1"], note="said so", updates=updates)
        assert claim.verdict == verdict
        assert ("said so; too few updates" in claim.reason) == (verdict == "inconclusive")


def test_numbers_that_would_all_be_zero_are_told_as_powers_of_ten() -> None:
    assert number_words(Estimate(4e-8, (3e-8, 5.5e-8))) == ("+4.0e-08", "[+3.0e-08, +5.5e-08]")
    assert number_words(Estimate(4e-8, (3e-8, 0.01))) == ("+0.000", "[+0.000, +0.010]")
    assert number_words(Estimate(0.0, (0.0, 0.0))) == ("+0.000", "[+0.000, +0.000]")
    assert number_words(Estimate(math.nan, None)) == ("no value", "no interval")
    claim = decide_claim("D1", [("m", Rule(high=0.01), [Estimate(1e-7, (0.0, 2e-7))])], ["s:1"])
    assert "m: +1.0e-07 [+0.0e+00, +2.0e-07] over tokens (rule < +0.01)" in claim.reason


def test_the_entry_has_the_reports_schema() -> None:
    claim = Claim("C1.1", "m", math.nan, (math.inf, 1.0), "tokens", 1, "inconclusive", "r", None, "s")
    content = json.loads(json.dumps(claim.to_json(), allow_nan=False))
    assert list(content) == ("id measure value interval interval_over seeds verdict reason study signature".split())
    assert content["value"] is None
    assert content["interval"] == [None, 1.0]
    assert not_run("C6.1", "E4 was not run").to_json()["verdict"] == "not run"


def test_all_claims_of_the_study_and_those_of_this_project_are_listed() -> None:
    numbers = {1: 3, 2: 3, 3: 2, 4: 3, 5: 2, 6: 4, 7: 3}
    study = [f"C{group}.{place}" for group, most in numbers.items() for place in range(1, most + 1)]
    own = [f"D{number}" for number in range(1, 7)]
    assert list(STATEMENTS) == study + own
    figures = {name: entry.figure for name, entry in STATEMENTS.items() if entry.figure is not None}
    assert {name: figures[name] for name in study if name in figures} == {
        "C2.1": -0.2022,
        "C2.2": -0.8044,
        "C6.1": -0.2,
        "C6.2": -1.5,
        "C6.3": 0.15,
    }
    assert {name: figures[name] for name in own if name in figures} == {"D2": 0.85, "D3": 0.03, "D5": 0.52}
    for name, entry in STATEMENTS.items():
        assert entry.own == (name in own) == entry.source.startswith("arXiv 2502.08441")
        assert not (entry.own and entry.needs_learning)


def test_a_claim_of_this_projects_own_names_the_source_of_its_figure() -> None:
    content = not_run("D3", "E5 was not run").to_json()
    assert content["study"] == 0.03
    assert content["source"].startswith("arXiv 2502.08441")


def test_claims_that_need_learning_are_inconclusive_without_it() -> None:
    estimate = [Estimate(1.0, (0.9, 1.1))]
    needs = decide_claim("C7.2", [("m", Rule(low=0.05), estimate)], ["s:1"])
    other = decide_claim("C2.3", [("m", Rule(low=0.05), estimate)], ["s:1"])
    assert require_learning(needs, 9.0, 10.0).verdict == "holds"
    refused = require_learning(needs, 9.01, 10.0)
    assert refused.verdict == "inconclusive"
    assert "9.00" in refused.reason
    assert "fell short by 0.01 bits" in refused.reason
    assert require_learning(needs, None, 10.0).verdict == "inconclusive"
    assert require_learning(other, 12.0, 10.0) == other
    assert require_learning(not_run("C7.2", "no run"), 12.0, 10.0).verdict == "not run"


def test_signatures_of_several_seeds_become_one() -> None:
    texts = [
        "corpus:w|seed:1|table:a|code:0.1",
        "corpus:w|seed:2|table:a|code:0.1",
        "corpus:w|seed:10|table:a|code:0.1",
    ]
    assert merge_signatures(texts) == "corpus:w|seed:1,2,10|table:a|code:0.1"
    assert merge_signatures(texts[:1]) == texts[0]
