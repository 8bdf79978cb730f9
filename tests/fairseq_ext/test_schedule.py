"""Schedules against brute force, and the texts that are refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_ext.errors import UserError
from fairseq_ext.recording.schedule import Schedule

numbers = st.integers(0, 300)
parts = st.one_of(
    st.tuples(st.just("every"), st.integers(1, 60)),
    st.tuples(st.just("at"), st.lists(numbers, min_size=1, max_size=4)),
    st.tuples(st.just("window"), st.tuples(numbers, numbers).map(sorted)),
    st.tuples(st.just("log2"), st.none()),
)


def text_of(part: tuple[str, object]) -> str:
    kind, value = part
    match kind:
        case "every":
            return f"every:{value}"
        case "at":
            return "at:" + ";".join(map(str, value))
        case "window":
            return f"window:{value[0]}:{value[1]}"
    return "log2"


def updates_of(part: tuple[str, object], last: int) -> set[int]:
    kind, value = part
    match kind:
        case "every":
            return set(range(0, last + 1, value))
        case "at":
            return set(value)
        case "window":
            return set(range(value[0], value[1] + 1))
    return {2**k for k in range(20)}


@settings(deadline=None)
@given(st.lists(parts, min_size=1, max_size=5), numbers, numbers)
def test_holds_exactly_the_updates_of_its_parts_and_update_0(chosen: list, first: int, last: int) -> None:
    schedule = Schedule.parse(" , ".join(text_of(part) for part in chosen))
    wanted = {0}.union(*(updates_of(part, last) for part in chosen))
    assert schedule
    assert [u for u in range(last + 1) if u in schedule] == sorted(u for u in wanted if u <= last)
    inside = sorted(u for u in wanted if first <= u <= last)
    assert list(schedule.updates(last, first)) == inside
    assert schedule.count(last, first) == len(inside)


def test_counts_the_updates_of_a_run_that_never_ends_at_once() -> None:
    schedule = Schedule.parse("log2,every:6,every:10,at:7;12,window:1:1000000000,window:5:20")
    assert schedule.count(2**40) == 10**9 + 1 + (2**40 // 6 + 2**40 // 10 - 2**40 // 30) - (
        10**9 // 6 + 10**9 // 10 - 10**9 // 30
    ) + len([k for k in range(41) if 2**k > 10**9])  # no power of two is a multiple of 6 or 10


@settings(deadline=None)
@given(st.lists(parts, min_size=1, max_size=3), st.lists(parts, min_size=1, max_size=3), numbers)
def test_a_union_holds_the_updates_of_either(one: list, other: list, last: int) -> None:
    a, b = (Schedule.parse(",".join(text_of(part) for part in chosen)) for chosen in (one, other))
    assert (a | b).count(last) == sum(1 for u in range(last + 1) if u in a or u in b)
    assert (a | Schedule.parse("none")).count(last) == a.count(last)


def test_nothing_is_in_none() -> None:
    schedule = Schedule.parse("none")
    assert not schedule
    assert 0 not in schedule
    assert schedule.count(100) == 0


@pytest.mark.parametrize(
    "text",
    ["", " ", ",", "every", "every:", "every:0", "every:-1", "every:1.5", "log", "LOG2", "at:", "at:1;", "at:1,2", "window:3", "window:5:3", "window:1:2:3", "none,log2", "10", "every:10;log2", "at:-1"],
)  # fmt: skip
def test_refuses_in_one_line_what_is_no_schedule(text: str) -> None:
    with pytest.raises(UserError, match=r"--record-x: expected a comma list of every:N, log2") as caught:
        Schedule.parse(text, "--record-x")
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)
