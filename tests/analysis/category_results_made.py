"""Made results of the categories' tests for the tests of figures and tables: with and without intervals, opposites, earlier snapshots."""

from __future__ import annotations

import math

import numpy as np

from categories import find_tokens
from category_result import ClusteringResult, SnapshotTests
from category_tests import CategoryTest
from claims import Estimate
from opposites import OppositesTest

ODD = ["$x_1$", "a$\\frac{1}{", "under_score", "back\\slash", "new\nline", "<b>&", "{}%", "漢字"]
CLAIMED = ["colours", "pronouns", "sizes", "months"]


def estimate(value, half, over="tokens"):
    return Estimate(value, None if half is None else (value - half, value + half), over)


def category(name, strength, rng, *, size=12, grammatical=False, intervals=True, permutations=999, tests=90):
    """A category of `strength` 0 (as random sets) to 1 (its nearest tokens are all its own)."""
    chance = (size - 1) / (100 * rng.integers(3, 9))
    purity = min(1.0, chance + strength * (1 - chance))
    silhouette = -0.02 + 0.35 * strength
    p = 1 / (1 + permutations) if strength > 0.08 else float(rng.uniform(0.02, 0.9))
    found = purity / chance >= 2 and strength > 0.08
    wide = 0.05 + 0.1 * strength if intervals else None
    return CategoryTest(
        name=name,
        grammatical=grammatical,
        rows=tuple(range(size)),
        pool=600,
        k=min(10, size - 1),
        silhouette=estimate(silhouette, wide),
        silhouette_null=(-0.035, -0.02, 0.01),
        purity=estimate(purity, wide),
        purity_null=(max(0.0, chance - 0.02), chance, chance + 0.03),
        chance=chance,
        ratio=estimate(purity / chance, wide and wide / chance),
        within=0.2 + strength,
        between=0.01,
        p_silhouette=p,
        p_purity=p,
        holm_silhouette=min(1.0, p * tests),
        holm_purity=min(1.0, p * tests),
        clustered=bool(found),
    )


def opposites(number, texts, rng, *, intervals=True):
    matched = rng.normal(0.02, 0.01, number)
    cosines = np.clip(matched + rng.normal(0.18, 0.12, number), -1, 1)
    first = len(texts) - 2 * number
    half = 0.03 if intervals else None
    return OppositesTest(
        pairs=tuple((first + 2 * place, first + 2 * place + 1) for place in range(number)),
        cosines=tuple(cosines.tolist()),
        matched=tuple(matched.tolist()),
        null=(-0.012, 0.0, 0.013),
        difference=estimate(float((cosines - matched).mean()), half, "pairs"),
        p=0.00005,
        repaired=estimate(0.11, half, "pairs"),
        p_repaired=0.0123,
    )


def made_result(names, *, updates=(0, 64, 1024, 16384), pairs=90, words=None, intervals=True, seed=1):
    """A result with categories that form one after the other; `words`: texts of the pairs' first words."""
    rng = np.random.default_rng(seed)
    words = words or ["conservative", "big", "northern", "hot"]
    texts = [f" t{row}" for row in range(40)]
    for place in range(pairs):
        texts += [f" {words[place % len(words)]}", f" other{place}"]
    strength = rng.beta(1, 2.2, len(names))
    snapshots = []
    for number, update in enumerate(updates):
        share = (number + 1) / len(updates) if len(updates) > 1 else 1.0
        last = number == len(updates) - 1
        tests = [
            category(
                name,
                float(strength[place] * max(0.0, share**2 * 1.2 - 0.2)),
                np.random.default_rng((seed, place)),
                size=3 + (7 * place) % 40,
                grammatical=place % 6 == 5 or name in ("pronouns",),
                intervals=intervals,
                permutations=19999 if last else 999,
                tests=2 * len(names),
            )
            for place, name in enumerate(names)
        ]
        found = opposites(pairs, texts, rng, intervals=intervals) if pairs else None
        snapshots.append(
            SnapshotTests(update=update, permutations=19999 if last else 999, categories=tuple(tests), opposites=found)
        )
    return ClusteringResult(
        dump="dump.zarr",
        signature="corpus:wikitext103|experiment:E1|arm:base|seed:1|update:16384|table:encoder.embed_tokens|rows:50265|dim:768"
        "|precision:bf16|code:0.3.0|format:1|permutations:19999|categories:2",
        snapshots=tuple(snapshots),
        forms_at={
            entry.name: updates[(3 * place + 1) % len(updates)]
            for place, entry in enumerate(snapshots[-1].categories if snapshots else ())
            if entry.clustered
        },
        tokens=find_tokens(texts, np.ones(len(texts), np.int64)),
        texts=texts,
        few={"seasons": 2},
        matching="Random sets are alike in form and token count.",
    )


def many(number):
    return [*CLAIMED, *(f"articles and determiners {place}" for place in range(number - 4))]


def small() -> ClusteringResult:
    """Two categories and three pairs with numbers that are easy to read."""
    base = category("colours", 0.5, np.random.default_rng(0))
    values = {name: getattr(base, name) for name in base.__dataclass_fields__}
    clustered = CategoryTest(
        **values
        | {
            "rows": tuple(range(16)),
            "silhouette": Estimate(0.1234, (0.1, 0.15), "tokens"),
            "silhouette_null": (-0.03, -0.0001, 0.02),
            "purity": Estimate(0.5, (0.4, 0.6), "tokens"),
            "chance": 0.05,
            "ratio": Estimate(10.0, (8.0, 12.0), "tokens"),
            "p_silhouette": 1 / 20000,
            "p_purity": 2 / 20000,
            "holm_silhouette": 4 / 20000,
            "holm_purity": 6 / 20000,
            "clustered": True,
        }
    )
    other = CategoryTest(
        **values
        | {
            "name": "pro_nouns",
            "grammatical": True,
            "rows": (1, 2, 3),
            "silhouette": Estimate(-0.02, None, "tokens"),
            "purity": Estimate(0.0, (0.0, 0.0), "tokens"),
            "chance": 0.0,
            "ratio": Estimate(math.nan, None, "tokens"),
            "p_silhouette": 0.71234,
            "p_purity": 1.0,
            "holm_silhouette": 1.0,
            "holm_purity": 1.0,
            "clustered": False,
        }
    )
    pairs = OppositesTest(
        pairs=((0, 1), (1, 2), (2, 0)),
        cosines=(0.1, 0.4, 0.3),
        matched=(0.0, 0.0, 0.1),
        null=(-0.0123, 0.0, 0.01),
        difference=Estimate(0.23333, (0.1, 0.4), "pairs"),
        p=1 / 20000,
        repaired=Estimate(-0.05, None, "pairs"),
        p_repaired=0.9,
    )
    texts = [" big", " small", " a_b"]
    snapshot = SnapshotTests(update=4096, permutations=19999, categories=(other, clustered), opposites=pairs)
    return ClusteringResult(
        dump="d",
        signature="s",
        snapshots=(snapshot,),
        forms_at={"colours": 4096},
        tokens=find_tokens(texts, np.ones(3, np.int64)),
        texts=texts,
        few={},
        matching="",
    )
