"""The categories' tables, from made results: every cell text, no p-value of 0, order, odd texts."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from category_results_made import CLAIMED, ODD, made_result, many, small

import category_figures
import category_tables as tables
from claims import Estimate
from cli import print_table
from evidence import plain_table


def test_the_summary_of_a_small_result():
    head, *rows = tables.summary(small())
    assert dict(zip(head, rows[0], strict=True)) == {
        "category": "colours",
        "kind": "semantic",
        "tokens": "16",
        "silhouette": "0.123 [0.100, 0.150]",
        "random sets' silhouette": "0.000",
        "purity": "0.500",
        "chance": "0.050",
        "purity / chance": "10.00 [8.00, 12.00]",
        "p silhouette (Holm)": "≤ 0.00020",
        "p purity (Holm)": "0.00030",
        "clustered": "yes",
        "forms at update": "≤ 4,096",
    }
    expected = [
        "pro_nouns",
        "grammatical",
        "3",
        "-0.020",
        "-0.020",
        "0.000",
        "0.000",
        "–",
        "1.0000",
        "1.0000",
        "no",
        "–",
    ]
    assert rows[1:] == [expected]


def test_the_tables_of_opposites():
    result = small()
    assert tables.opposites_table(result) == [
        ["opposites minus", "pairs", "mean cosine", "of the others", "difference", "random pairs (95 %)", "p"],
        ["matched pairs", "3", "+0.267", "+0.033", "+0.233 [+0.100, +0.400]", "-0.012 to +0.010", "≤ 0.000050"],
        ["matched pairs, less other partners", "3", "+0.267", "–", "-0.050", "–", "0.9000"],
    ]
    assert tables.pairs_table(result) == [
        ["pair", "cosine", "matched pairs", "difference"],
        ["small – a_b", "+0.400", "+0.000", "+0.400"],
        ["a_b – big", "+0.300", "+0.100", "+0.200"],
        ["big – small", "+0.100", "+0.000", "+0.100"],
    ]
    assert len(tables.opposites_table(made_result(CLAIMED, pairs=0))) == 1
    assert len(tables.pairs_table(made_result(CLAIMED, pairs=0))) == 1
    assert len(tables.summary(made_result([], updates=()))) == 1


def test_what_the_vocabulary_lacks_is_said():
    result = small()
    assert tables.missing_words(result) == result.tokens.report()


@pytest.mark.parametrize(
    ("p", "at_least", "words"),
    [
        (0.5, False, "0.5000"),
        (0.0023, False, "0.0023"),
        (0.0046, True, "≤ 0.0046"),
        (0.001, True, "≤ 0.0010"),
        (0.00099, False, "0.00099"),
        (0.00005, True, "≤ 0.000050"),
        (1e-9, False, "0.0000000010"),
        (1.0, False, "1.0000"),
        (math.nan, False, "–"),
        (0.0, False, "–"),
    ],
)
def test_p_values_are_never_zero(p, at_least, words):
    assert tables.p_words(p, at_least=at_least) == words


@pytest.mark.parametrize("permutations", [1, 9, 99, 999, 1999, 19999, 10**6])
def test_the_smallest_p_value_is_known_as_such(permutations):
    assert (1 + 0) / (1 + permutations) <= tables.smallest(permutations) < 2 / (1 + permutations)
    assert float(np.float32(0) + 1) / (1 + permutations) <= tables.smallest(permutations)


def test_no_table_holds_a_p_value_of_zero(capsys):
    result = made_result(many(48))
    for table in (tables.summary(result), tables.opposites_table(result)):
        head, *rows = table
        for row in rows:
            for name, cell in zip(head, row, strict=True):
                if name.startswith("p ") or name == "p":
                    assert re.fullmatch(r"(≤ )?[01]\.\d*[1-9]\d*|1\.0000", cell), (name, cell)


def test_the_tables_can_be_printed_and_put_on_a_page(capsys):
    result = made_result([*many(9), *ODD[:4]], words=ODD)
    for table in (tables.summary(result), tables.opposites_table(result), tables.pairs_table(result)):
        assert all(isinstance(cell, str) and "\n" not in cell for row in table for cell in row)
        head, body = plain_table(table)
        assert {len(row) for row in body} == {len(head)}
        print_table(table)
        assert len(capsys.readouterr().out.splitlines()) == len(table)
        json.dumps(table)


def test_when_a_category_forms_is_told_from_what_was_looked_at():
    result = made_result(CLAIMED, updates=(0, 8, 16))
    result = replace(result, forms_at={"colours": 0, "pronouns": 8})
    words = [tables.forms_words(result, name) for name in CLAIMED]
    assert words == ["0", "8", "–", "–"]
    assert tables.forms_words(replace(result, snapshots=result.snapshots[1:]), "pronouns") == "≤ 8"


def test_values_that_could_not_be_had_come_last(tmp_path):
    result = made_result(many(6), updates=(0, 64))
    last = result.snapshots[-1]
    nothing = Estimate(math.nan, None)
    broken = replace(last.categories[0], silhouette=nothing, ratio=nothing)
    last = replace(last, categories=(broken, *last.categories[1:]))
    result = replace(result, snapshots=(result.snapshots[0], last))
    semantic = [entry.name for entry in tables.ordered(last.categories) if not entry.grammatical]
    assert semantic[-1] == "colours"
    row = tables.summary(result)[len(semantic)]
    assert (row[0], row[3], row[7]) == ("colours", "–", "–")
    assert len(category_figures.figures(result, tmp_path)) == 6
