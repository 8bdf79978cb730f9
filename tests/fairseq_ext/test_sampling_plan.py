"""Pools and plans against brute force: every example as often as designed, whatever the order, epochs, ranks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_ext.errors import UserError
from fairseq_ext.sampling import pools
from fairseq_ext.sampling.plan import Plan, uniform
from fairseq_ext.sampling.pools import Design, Request, choose_pool

EXAMPLES = 6000
SIZES = np.clip(np.random.default_rng(7).lognormal(3.5, 0.6, EXAMPLES), 4, 200).astype(np.int64)
ORDER = np.random.default_rng(8).permutation(EXAMPLES).astype(np.int32)


def request(**changed: object) -> Request:
    values = {
        "kind": "random", "repeat": 1, "fraction": 0.0, "order": "spread", "tokens_per_update": 1000, "pool_tokens": 0,
        "updates": 60, "batches": 1, "seed": 1,
    }  # fmt: skip
    return Request(**{**values, **changed})


def design(**changed: object) -> Design:
    return choose_pool(request(**changed), ORDER, SIZES)


def received(plan: Plan) -> list[np.ndarray]:
    """The examples of each update, in the order of training; checks the numbering of draws on the way."""
    updates, next_draw = [], 0
    for number in range(1, plan.epochs + 1):
        part = plan.epoch(number)
        assert part.first_draw == next_draw
        next_draw += len(part.examples)
        assert np.array_equal(np.sort(np.concatenate(part.batches)), np.arange(part.first_draw, next_draw))
        step = plan.design.batches
        for first in range(0, len(part.batches), step):
            draws = np.concatenate(part.batches[first : first + step])
            updates.append(part.examples[draws - part.first_draw])
    return updates


def times_drawn(updates: list[np.ndarray]) -> np.ndarray:
    return np.bincount(np.concatenate(updates), minlength=EXAMPLES)


def planned(design: Design) -> np.ndarray:
    counts = np.zeros(EXAMPLES, np.int64)
    counts[design.pool] = 1
    counts[design.pool[: design.repeated]] = design.repeat
    return counts


@settings(max_examples=60, deadline=None)
@given(
    repeat=st.sampled_from([1, 2, 3, 5, 12, 20]),
    order=st.sampled_from(["spread", "epochs", "consecutive"]),
    fraction=st.sampled_from([0.0, 0.0, 0.25, 0.5]),
    batches=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 2**31),
    cap=st.sampled_from([1 << 22, 700, 150]),
)
def test_every_example_is_drawn_as_often_as_designed(
    repeat: int, order: str, fraction: float, batches: int, seed: int, cap: int
) -> None:
    if fraction and repeat == 1:
        fraction = 0.0
    try:
        made = design(repeat=repeat, order=order, fraction=fraction, batches=batches, seed=seed, updates=120)
    except UserError as error:
        if "within 1 %" not in str(error):
            raise
        return
    plan = Plan(made, cap)
    updates = received(plan)
    assert len(updates) == 120
    assert np.array_equal(times_drawn(updates), planned(made))
    tokens = np.array([SIZES[update].sum() for update in updates])
    assert abs(tokens.sum() / 120_000 - 1) <= 0.01
    assert tokens.min() > 500
    assert tokens.max() < 1700
    if fraction:
        of_set = np.isin(np.concatenate(updates), made.pool[: made.repeated])
        share = SIZES[np.concatenate(updates)[of_set]].sum() / tokens.sum()
        assert abs(share - fraction) <= 0.01 * fraction + (0.01 if order == "consecutive" else 0)


def test_arms_share_updates_and_tokens_and_smaller_pools_lie_in_larger_ones() -> None:
    pools = [design(repeat=repeat) for repeat in (1, 2, 5, 10, 20)]
    assert all(abs(pool.tokens / 60_000 - 1) <= 0.01 for pool in pools)
    for larger, smaller in pairwise(pools):
        assert set(smaller.pool) < set(larger.pool)
        assert np.array_equal(np.concatenate([smaller.pool, smaller.rest]), ORDER)


@pytest.mark.parametrize("seed", range(40))
def test_pools_of_a_few_examples_hold_their_tokens_and_still_nest(seed: int) -> None:
    sizes = np.clip(np.random.default_rng(seed).lognormal(4.2, 0.8, EXAMPLES), 8, 500).astype(np.int64)
    order = np.random.default_rng(100 + seed).permutation(EXAMPLES).astype(np.int32)
    before: set[int] | None = None
    for repeat in (2, 8, 32):
        made = choose_pool(request(repeat=repeat, tokens_per_update=512, updates=120), order, sizes)
        assert abs(made.tokens / (512 * 120) - 1) <= 0.005
        assert len(set(made.pool)) == len(made.pool)
        assert sorted([*made.pool, *made.rest]) == list(range(EXAMPLES))
        assert before is None or set(made.pool.tolist()) <= before
        before = set(made.pool.tolist())


@given(st.integers(0, 10**6), st.integers(300, 9000))
def test_a_pool_lies_in_one_four_times_as_large(seed: int, tokens: int) -> None:
    lengths = np.random.default_rng(seed).integers(5, 200, 400)
    order = np.arange(400, dtype=np.int32)
    small, large = (pools._fitted(order, lengths, size) for size in (tokens, 4 * tokens))
    assert sorted(small.tolist()) == order.tolist()
    inside, around = (
        set(made[: pools._nearest(np.cumsum(lengths[made]), size)].tolist())
        for made, size in ((small, tokens), (large, 4 * tokens))
    )
    assert inside <= around


def test_equal_seeds_draw_equal_sequences_and_others_do_not() -> None:
    one, again, other = (received(Plan(design(repeat=4, seed=seed))) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert sum(np.array_equal(a, b) for a, b in zip(one, other, strict=True)) == 0


def positions(updates: list[np.ndarray], example: int) -> list[int]:
    return [number for number, update in enumerate(updates) for _ in range(np.count_nonzero(update == example))]


def test_epochs_draw_each_example_once_in_each_pass() -> None:
    made = design(repeat=6, order="epochs")
    window = Plan(made)._window
    for example in made.pool[::7]:
        found = np.array(positions(received(Plan(made)), example))
        assert (np.abs(found - 60 * (np.arange(6) + 0.5) / 6) <= 5 + window).all()


def test_spread_is_uniform_over_the_run() -> None:
    made = design(repeat=20)
    found = np.concatenate([positions(received(Plan(made)), example) for example in made.pool])
    share = np.histogram(found, bins=6, range=(0, 60))[0] / len(found)
    assert np.abs(share - 1 / 6).max() < 0.03
    first = np.array([positions(received(Plan(made)), example)[0] for example in made.pool[:20]])
    assert first.std() > 0.5  # not one pass after another


def test_consecutive_trains_the_same_examples_in_consecutive_updates() -> None:
    made = design(repeat=5, order="consecutive", batches=2)
    updates = received(Plan(made))
    for first in range(0, 60, 5):
        group = [sorted(update) for update in updates[first : first + 5]]
        assert all(update == group[0] for update in group)
    mixed = design(repeat=6, order="consecutive", fraction=0.5, updates=120)
    updates = received(Plan(mixed))
    for example in mixed.pool[: mixed.repeated]:
        found = positions(updates, example)
        assert found == list(range(found[0], found[0] + 6))


def test_draws_of_an_update_have_like_lengths() -> None:
    updates = received(Plan(design()))
    padded = sum(len(update) * SIZES[update].max() for update in updates)
    assert padded / SIZES[np.concatenate(updates)].sum() < 1.15  # in order of time it is above 2


def test_a_small_repeated_set_does_not_fill_batches_with_copies() -> None:
    updates = received(Plan(design(repeat=40, updates=120)))
    copies = [len(update) - len(set(update)) for update in updates]
    assert np.mean(copies) < 0.1 * np.mean([len(update) for update in updates])


@pytest.mark.parametrize("order", ["spread", "epochs", "consecutive"])
def test_memory_does_not_grow_with_the_repeats(order: str) -> None:
    """The same pool, repeated more often: more epochs, none of them larger."""
    largest = {}
    for repeat in (10, 20, 40):
        made = design(repeat=repeat, updates=50 * repeat, order=order)
        plan = Plan(made, 2000)
        assert plan.epochs == -(-made.draws // 2000)
        largest[repeat] = max(len(plan.epoch(number).examples) for number in range(1, plan.epochs + 1))
    assert largest[40] < 1.2 * largest[10]


def test_hash_is_uniform_and_without_collisions() -> None:
    values = np.concatenate([uniform(3, key, 50_000) for key in range(3)])
    assert len(set(values.tolist())) == len(values)
    assert np.abs(np.histogram(values, 20, (0, 1))[0] / len(values) - 0.05).max() < 0.003
    assert abs(np.corrcoef(values[:50_000], values[50_000:100_000])[0, 1]) < 0.02
    assert uniform(1, 0, 3).tolist() == pytest.approx(uniform(1, 0, 5)[:3].tolist(), abs=0)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"updates": 600}, "need a pool of 600,000 tokens; the training split has"),
        ({"tokens_per_update": 0, "pool_tokens": 500_000}, "need a pool of 500,000 tokens"),
        ({"pool_tokens": 20_000, "repeat": 2}, "60 updates of 1,000 tokens need 60,000, but the pool of 20,000"),
        ({"pool_tokens": 50_000, "repeat": 2}, "some repeats would never be drawn"),
        (
            {"order": "consecutive", "repeat": 7},
            "must be a multiple of --sample-repeat; found 60 and 7; use 56 updates",
        ),
        ({"order": "consecutive", "repeat": 25, "fraction": 0.1}, "no whole number of groups of 25"),
        ({"tokens_per_update": 100}, "the pool's longest example has"),
        ({"repeat": 1200}, "cannot be had within 1 %"),
        ({"updates": 2000, "repeat": 40, "tokens_per_update": 500, "batches": 40}, "as many examples"),
        ({"kind": "all"}, "--sample-pool all draws each of"),
    ],
)
def test_a_design_that_cannot_be_is_one_line(changed: dict[str, object], says: str) -> None:
    with pytest.raises(UserError) as caught:
        design(**changed)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pool_size_can_be_given_instead_of_tokens_per_update() -> None:
    made = design(tokens_per_update=0, pool_tokens=10_000, repeat=6)
    assert abs(made.tokens / 60_000 - 1) <= 0.01
    everything = choose_pool(request(kind="all", tokens_per_update=0, repeat=3), ORDER, SIZES)
    assert np.array_equal(np.sort(everything.pool), np.arange(EXAMPLES))
    assert everything.tokens == 3 * SIZES.sum()
