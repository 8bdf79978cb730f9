"""C3.1 and C3.2 at and beyond each threshold of STUDY.md's rules."""

from types import SimpleNamespace

import pytest

import repetition_claims
from claims import Estimate, combine_seeds
from designs import Design
from repetition import ArmResult, Comparison, RepetitionResult

MEMORISED = (0.1, (0.05, 0.15))
WORSE = (0.05, (0.04, 0.06))


def design(pool, repeat):
    return Design(pool, repeat, 0.0, "spread", "fresh", 100, 1000, 10.0, 100 * repeat, 1000 * repeat)


def estimate(entry):
    return Estimate(*entry, over="examples")


def arm(name, pool, repeat, *, seeds=1, memorised=MEMORISED, loss=6.0, entropy=9.5, update=2000):
    runs = [
        SimpleNamespace(
            seed=seed,
            valid_loss=loss,
            unigram_entropy=entropy,
            heldout=SimpleNamespace(memorisation=estimate(memorised)),
            evaluation=SimpleNamespace(update=update),
            similarity=None,
            signature=f"arm:{name}|seed:{seed}",
        )
        for seed in range(1, seeds + 1)
    ]
    return ArmResult(name, design(pool, repeat), runs)


def compared(first, second, shares):
    paired = [SimpleNamespace(share=estimate(share)) for share in shares]
    together = combine_seeds([entry.share for entry in paired])
    return Comparison(first, second, list(range(1, len(shares) + 1)), paired, together, together, [], [])


def repetition_claim(share, memorised=MEMORISED, **options):
    shares = share if isinstance(share, list) else [share]
    arms = [
        arm("base", "random", 1, seeds=len(shares), **options),
        arm("many", "random", 16, seeds=len(shares), memorised=memorised, update=options.get("update", 2000)),
    ]
    result = RepetitionResult(arms, "base", "many", {}, {("many", "base"): compared("many", "base", shares)})
    return repetition_claims.decide(result)[0]


def diversity_claim(to_narrow, to_random, losses=(6.0, 6.0, 6.0)):
    names = (("diverse", "diverse"), ("narrow", "narrow"), ("plain", "random"))
    arms = [arm(name, pool, 16, loss=loss) for (name, pool), loss in zip(names, losses, strict=True)]
    comparisons = {
        ("diverse", "narrow"): compared("diverse", "narrow", [to_narrow]),
        ("diverse", "plain"): compared("diverse", "plain", [to_random]),
    }
    roles = {"diverse": "diverse", "narrow": "narrow", "repeated": "plain"}
    return repetition_claims.decide(RepetitionResult(arms, None, None, roles, comparisons))[1]


@pytest.mark.parametrize(
    ("share", "memorised", "verdict"),
    [
        (WORSE, MEMORISED, "holds"),
        ((0.0101, (0.0001, 0.03)), MEMORISED, "holds"),  # the size of the value, and an interval above 0
        ((0.01, (0.005, 0.03)), MEMORISED, "inconclusive"),  # not more than 1 %
        ((0.02, (0.0, 0.04)), MEMORISED, "inconclusive"),  # the interval does not exclude 0
        ((0.02, (-0.01, 0.05)), MEMORISED, "inconclusive"),
        ((0.005, (0.001, 0.01)), MEMORISED, "does not hold"),  # all of it at most 1 %
        ((0.005, (0.001, 0.0101)), MEMORISED, "inconclusive"),
        ((-0.03, (-0.04, -0.02)), MEMORISED, "does not hold"),
        ((0.02, None), MEMORISED, "inconclusive"),
        (WORSE, (0.0201, (0.0001, 0.05)), "holds"),
        (WORSE, (0.02, (0.01, 0.05)), "inconclusive"),
        (WORSE, (0.03, (-0.001, 0.06)), "inconclusive"),
        (WORSE, (0.01, (0.0, 0.02)), "does not hold"),
        (WORSE, (float("nan"), None), "inconclusive"),
    ],
)
def test_repetition_needs_both_sizes_and_intervals_above_zero(share, memorised, verdict):
    claim = repetition_claim(share, memorised)
    assert claim.verdict == verdict
    assert claim.study is None
    assert len(claim.parts) == 2
    assert "one seed" in claim.reason


@pytest.mark.parametrize(
    ("to_narrow", "to_random", "verdict"),
    [
        ((-0.05, (-0.06, -0.04)), (-0.01, (-0.02, -0.001)), "holds"),
        ((-0.0051, (-0.02, -0.0001)), (0.001, (-0.002, 0.0049)), "holds"),
        ((-0.005, (-0.008, -0.002)), (0.0, (-0.002, 0.002)), "inconclusive"),
        ((-0.006, (-0.02, 0.0)), (0.0, (-0.002, 0.002)), "inconclusive"),
        ((-0.003, (-0.005, -0.001)), (0.0, (-0.002, 0.002)), "does not hold"),
        ((-0.05, (-0.06, -0.04)), (0.003, (0.001, 0.005)), "inconclusive"),  # may be worse than random by 0.5 %
        ((-0.05, (-0.06, -0.04)), (0.008, (0.006, 0.01)), "does not hold"),
    ],
)
def test_diversity_must_beat_narrow_and_not_lose_to_random(to_narrow, to_random, verdict):
    claim = diversity_claim(to_narrow, to_random)
    assert claim.verdict == verdict
    assert "downstream" in claim.reason


def test_learning_is_judged_by_the_all_distinct_arm_and_by_the_best_of_the_compared():
    assert repetition_claim(WORSE, loss=8.55).verdict == "holds"
    refused = repetition_claim(WORSE, loss=8.56)
    assert refused.verdict == "inconclusive"
    assert "fell short by 0.01 bits" in refused.reason
    undecided = repetition_claim((0.02, None), loss=9.0)
    assert "fell short by 0.45 bits" in undecided.reason
    better = (-0.05, (-0.06, -0.04)), (0.0, (-0.001, 0.001))
    assert diversity_claim(*better, losses=(9.4, 9.4, 8.5)).verdict == "holds"
    assert diversity_claim(*better, losses=(9.4, 9.4, 8.6)).verdict == "inconclusive"
    assert "unigram entropy of the corpus is not known" in repetition_claim(WORSE, entropy=None).reason


def test_three_seeds_are_judged_over_seeds_and_a_short_run_refuses_nothing():
    claim = repetition_claim([(share, (share - 0.001, share + 0.001)) for share in (-0.02, 0.05, 0.12)])
    assert (claim.verdict, claim.interval_over, claim.seeds) == ("inconclusive", "seeds", 3)
    two = repetition_claim([WORSE, (0.03, (0.02, 0.04))])
    assert two.interval == (0.02, 0.06)
    assert "two seeds" in two.reason
    refused = (-0.03, (-0.04, -0.02))
    assert repetition_claim(refused, update=99).verdict == "inconclusive"
    assert repetition_claim(refused, update=100).verdict == "does not hold"


def test_what_is_absent_is_named():
    claims = repetition_claims.decide(RepetitionResult())
    assert [claim.verdict for claim in claims] == ["not run", "not run"]
    assert "an all-distinct arm and of a plainly repeated arm" in claims[0].reason
    assert "a diverse arm and of a narrow arm and of a random arm of the same k" in claims[1].reason
