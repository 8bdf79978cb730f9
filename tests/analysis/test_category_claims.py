"""Verdicts of C7.1 to C7.3 from constructed tests: effects, p-values, several seeds, what cannot be tested, what is too short."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from categories import find_tokens
from category_claims import decide
from category_result import ClusteringResult, SnapshotTests
from category_tests import CategoryTest
from claims import Claim, Estimate, require_learning
from opposites import OppositesTest

LISTED = ("colours", "pronouns", "sizes", "months")
TEXTS = [" big", " small", " hot", " cold", " liberal", " conservative"]


def category(name, low=3.0, high=9.0, p=0.001, value=None) -> CategoryTest:
    """A tested category with the given interval of the ratio and the same corrected p-value of both measures."""
    middle = Estimate(0.3, (0.2, 0.4))
    return CategoryTest(
        name=name,
        grammatical=False,
        rows=tuple(range(12)),
        pool=400,
        k=10,
        silhouette=middle,
        silhouette_null=(-0.1, 0.0, 0.1),
        purity=middle,
        purity_null=(0.0, 0.05, 0.1),
        chance=0.05,
        ratio=Estimate((low + high) / 2 if value is None else value, (low, high)),
        within=0.3,
        between=0.1,
        p_silhouette=p / 90,
        p_purity=p / 90,
        holm_silhouette=p,
        holm_purity=p,
    )


def opposites(low=0.08, high=0.2, p=0.001) -> OppositesTest:
    difference = Estimate((low + high) / 2, (low, high), "pairs")
    return OppositesTest(
        ((0, 1), (2, 3), (5, 4)), (0.3, 0.2, 0.1), (0.1,) * 3, (-0.1, 0, 0.1), difference, p, difference, p
    )


CLOSE = opposites()


def result(changed=(), *, pairs=CLOSE, seed=1, update=4096, without=(), forms_at=()) -> ClusteringResult:
    """All four categories cluster, and opposites are close, but for the `changed` ones."""
    tests = {name: category(name) for name in LISTED if name not in without} | {test.name: test for test in changed}
    return ClusteringResult(
        dump="dump.zarr",
        signature=f"corpus:tiny|seed:{seed}",
        snapshots=(SnapshotTests(0, 999, (), None), SnapshotTests(update, 19_999, tuple(tests.values()), pairs)),
        forms_at=dict(forms_at),
        few=dict.fromkeys(without, 2),
        matching="",
        tokens=find_tokens(TEXTS, np.ones(6, np.int64)),
        texts=TEXTS,
    )


def verdicts(*results: ClusteringResult) -> dict[str, str]:
    return {claim.id: claim.verdict for claim in decide(results)}


def claim_of(name: str, *results: ClusteringResult) -> Claim:
    return next(claim for claim in decide(results) if claim.id == name)


def test_without_results_there_are_no_claims():
    assert decide([]) == []


def test_large_effects_with_small_p_values_hold():
    assert verdicts(result()) == {"C7.1": "holds", "C7.2": "holds", "C7.3": "holds"}


@pytest.mark.parametrize(
    ("name", "id_"), [("colours", "C7.1"), ("pronouns", "C7.1"), ("sizes", "C7.1"), ("months", "C7.3")]
)
@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"low": 0.2, "high": 1.9}, "does not hold"),
        ({"low": 0.2, "high": 2.0}, "does not hold"),
        ({"low": 0.2, "high": 1.9, "p": 0.9}, "does not hold"),
        ({"low": 1.5, "high": 9.0}, "inconclusive"),
        ({"low": 1.5, "high": 2.4}, "inconclusive"),
        ({"low": 3.0, "high": 9.0, "p": 0.01}, "inconclusive"),
        ({"low": 3.0, "high": 9.0, "p": 0.0099}, "holds"),
        ({"low": 30.0, "high": 90.0, "p": 1.0}, "inconclusive"),
        ({"value": float("nan")}, "inconclusive"),
        ({"p": float("nan")}, "inconclusive"),
    ],
)
def test_a_claim_is_refused_by_the_effect_alone_and_holds_with_p_as_well(name, id_, changes, verdict):
    found = verdicts(result([category(name, **changes)]))
    assert found.pop(id_) == verdict
    assert set(found.values()) == {"holds"}


@pytest.mark.parametrize("measure", ["holm_silhouette", "holm_purity"])
def test_both_p_values_must_be_small(measure):
    found = claim_of("C7.1", result([replace(category("sizes"), **{measure: 0.02})]))
    assert found.verdict == "inconclusive"
    assert found.reason.endswith("p is not below 0.01")
    words = {"holm_silhouette": "p 0.02 for silhouette and 0.001", "holm_purity": "p 0.001 for silhouette and 0.02"}
    assert f"sizes (12 tokens): {words[measure]} for purity (Holm)" in found.reason


def test_a_part_that_fails_refuses_the_claim_whatever_the_others():
    parts = [category("colours", p=0.5), category("sizes", 0.1, 1.5)]
    assert verdicts(result(parts))["C7.1"] == "does not hold"
    assert verdicts(result(parts[1:], without=["pronouns"]))["C7.1"] == "does not hold"


@pytest.mark.parametrize(("name", "id_"), [("pronouns", "C7.1"), ("months", "C7.3")])
def test_a_category_of_which_too_few_tokens_can_be_tested_leaves_the_claim_open(name, id_):
    for results in ([result(without=[name])], [result(), result(without=[name], seed=2)]):
        found = claim_of(id_, *results)
        assert found.verdict == "inconclusive"
        assert f"{name}: too few tokens of the list can be tested" in found.reason
        found.to_json()


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict"),
    [
        (0.051, 0.2, 0.0099, "holds"),
        (0.051, 0.2, 0.01, "inconclusive"),
        (0.2, 0.6, 0.3, "inconclusive"),
        (0.04, 0.2, 0.0001, "inconclusive"),
        (-0.1, 0.05, 0.0001, "does not hold"),
        (-0.3, -0.1, 1.0, "does not hold"),
    ],
)
def test_the_verdict_on_opposites(low, high, p, verdict):
    found = verdicts(result(pairs=opposites(low, high, p)))
    assert found == {"C7.1": "holds", "C7.2": verdict, "C7.3": "holds"}


def test_opposites_need_a_small_p_value_in_every_seed():
    assert verdicts(result(), result(pairs=opposites(p=0.02), seed=2))["C7.2"] == "inconclusive"
    assert verdicts(result(pairs=opposites(p=0.02)), result(seed=2))["C7.2"] == "inconclusive"
    assert verdicts(result(), result(seed=2))["C7.2"] == "holds"


@pytest.mark.parametrize("place", [0, 1])
def test_a_categorys_p_value_that_is_no_number_passes_in_no_seed(place):
    seeds = [result(), result(seed=2)]
    seeds[place] = result([category("months", p=float("nan"))], seed=place + 1)
    assert verdicts(*seeds) == {"C7.1": "holds", "C7.2": "holds", "C7.3": "inconclusive"}


@pytest.mark.parametrize("place", [0, 1])
def test_the_opposites_p_value_that_is_no_number_passes_in_no_seed(place):
    seeds = [result(), result(seed=2)]
    seeds[place] = result(pairs=opposites(p=float("nan")), seed=place + 1)
    assert verdicts(*seeds) == {"C7.1": "holds", "C7.2": "inconclusive", "C7.3": "holds"}


def test_without_three_pairs_opposites_are_inconclusive():
    for results in ([result(pairs=None)], [result(), result(pairs=None, seed=2)]):
        found = claim_of("C7.2", *results)
        assert (found.verdict, found.value, found.seeds) == ("inconclusive", None, len(results))
        assert "fewer than 3 pairs" in found.reason


def test_the_reason_names_the_studys_pairs_and_the_other_partners():
    reason = claim_of("C7.2", result()).reason
    for words in (
        "3 pairs, p 0.001",
        "re-paired +0.140 (p 0.001)",
        "big/small +0.30, its matched pairs +0.10",
        "liberal/conservative +0.10, its matched pairs +0.10",
    ):
        assert words in reason
    without = replace(CLOSE, pairs=((2, 3), (3, 2), (5, 4)))
    reason = claim_of("C7.2", result(pairs=without)).reason
    assert reason.endswith("; big/small not tested; liberal/conservative +0.10, its matched pairs +0.10")


def test_the_reason_says_when_a_category_formed_where_earlier_updates_were_looked_at():
    formed = result(forms_at={"colours": 8})
    words = "colours (12 tokens): p 0.001 for silhouette and 0.001 for purity (Holm)"
    assert f"{words}, formed by update 8" in claim_of("C7.1", formed).reason
    other = result(forms_at={"colours": 1024}, seed=2)
    assert f"{words}, formed by update 8, 1,024" in claim_of("C7.1", formed, other).reason
    alone = claim_of("C7.1", replace(formed, snapshots=formed.snapshots[1:])).reason
    assert words in alone
    assert "formed" not in alone


def test_two_seeds_are_decided_by_the_union_of_their_intervals():
    one, two = result(), result([category("months", 1.5, 9)], seed=2)
    found = claim_of("C7.3", one, two)
    assert (found.verdict, found.interval, found.seeds) == ("inconclusive", (1.5, 9), 2)
    assert found.signature == "corpus:tiny|seed:1,2"
    assert verdicts(one, result([category("months", 2.5, 4)], seed=2))["C7.3"] == "holds"
    refused = result([category("months", 0.1, 1.9)]), result([category("months", 0.2, 1.5)], seed=2)
    assert verdicts(*refused)["C7.3"] == "does not hold"
    assert verdicts(one, refused[0])["C7.3"] == "inconclusive"


def test_three_seeds_are_decided_by_students_interval_and_the_largest_p():
    """Golden: means 6, 7 and 8 have the interval 7 +- 4.302653 / sqrt 3."""
    seeds = [result([category("months", 0, 2 * value)], seed=value) for value in (6, 7, 8)]
    found = claim_of("C7.3", *seeds)
    assert (found.verdict, found.seeds, found.interval_over) == ("holds", 3, "seeds")
    assert found.interval == pytest.approx((7 - 2.484139, 7 + 2.484139), abs=1e-5)
    seeds[1] = result([category("months", 0, 14, p=0.02)], seed=7)
    assert verdicts(*seeds)["C7.3"] == "inconclusive"
    differences = [
        result(pairs=opposites(value, value + 0.02), seed=place) for place, value in enumerate((0.0, 0.01, 0.02))
    ]
    assert verdicts(*differences)["C7.2"] == "does not hold"


def test_a_short_run_refuses_nothing():
    parts = [category("months", 0.1, 1.5)]
    for update, verdict in ((99, "inconclusive"), (100, "does not hold")):
        found = claim_of("C7.3", result(parts, update=update))
        assert found.verdict == verdict
        assert ("too few updates" in found.reason) == (update == 99)
    assert verdicts(result(update=99)) == {"C7.1": "holds", "C7.2": "holds", "C7.3": "holds"}


def test_what_holds_is_inconclusive_where_the_model_learned_too_little():
    for claim in decide([result()]):
        assert require_learning(claim, 8.9, 10.0).verdict == "holds"
        for losses in ((9.1, 10.0), (None, 10.0), (8.0, None)):
            assert require_learning(claim, *losses).verdict == "inconclusive"
    refused = claim_of("C7.3", result([category("months", 0.1, 1.5)]))
    assert require_learning(refused, 9.1, 10.0).verdict == "inconclusive"
