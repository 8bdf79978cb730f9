"""The categories' figures and tables, from synthetic results: with and without intervals, opposites, earlier snapshots, odd texts."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.text import Text

import category_figures
import category_tables as tables
from categories import find_tokens
from category_result import ClusteringResult, SnapshotTests
from category_tests import CategoryTest
from claims import Estimate
from cli import print_table
from evidence import plain_table
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


def made(names, *, updates=(0, 64, 1024, 16384), pairs=90, words=None, intervals=True, seed=1):
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


def stems(paths):
    return sorted({path.stem for path in paths})


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (made(many(48)), ["categories", "categories_over_updates", "opposites"]),
        (made(many(12), intervals=False), ["categories", "categories_over_updates", "opposites"]),
        (made(["colours", "months", "war"], pairs=12), ["categories", "categories_over_updates", "opposites"]),
        (made(["war", "body", "cities"], pairs=31), ["categories", "categories_over_updates", "opposites"]),
        (made(many(10), updates=(16384,), pairs=3), ["categories", "opposites"]),
        (made(many(10), pairs=0), ["categories", "categories_over_updates"]),
        (made(many(10), updates=(0, 100, 200)), ["categories", "categories_over_updates", "opposites"]),
        (made([], pairs=40), ["opposites"]),
        (made([], updates=()), []),
        (
            made([*ODD, *CLAIMED[:3]], words=[f" {text}" for text in ODD]),
            ["categories", "categories_over_updates", "opposites"],
        ),
        (made(ODD, words=ODD, pairs=20), ["categories", "categories_over_updates", "opposites"]),
    ],
    ids=[
        "48",
        "no intervals",
        "three",
        "not claimed",
        "one snapshot",
        "no pairs",
        "linear",
        "none",
        "nothing",
        "odd",
        "only odd",
    ],
)
@pytest.mark.filterwarnings("ignore:Glyph")  # the font lacks the Han characters
def test_every_figure_is_drawn_that_can_be(result, expected, tmp_path):
    written = category_figures.figures(result, tmp_path)
    assert stems(written) == expected
    assert {path.suffix for path in written} == ({".png", ".pdf"} if expected else set())
    assert all(path.stat().st_size > 5000 for path in written)
    assert sorted(tmp_path.iterdir()) == sorted(written)


def drawn_texts(result, tmp_path, monkeypatch):
    """What stands in the figures, by figure."""
    found = {}

    def keep(figure, out, name):
        figure.canvas.draw()
        found[name] = list(dict.fromkeys(text.get_text() for text in figure.findobj(Text) if text.get_text()))
        category_figures.plt.close(figure)
        return []

    monkeypatch.setattr(category_figures, "save", keep)
    category_figures.figures(result, tmp_path)
    return found


def test_the_figures_name_what_they_show(tmp_path, monkeypatch):
    result = made(many(48))
    texts = drawn_texts(result, tmp_path, monkeypatch)
    rows = texts["categories"]
    assert sum(text.startswith("articles and determiners") for text in rows) == 44
    assert "colours (3)" in rows
    title = next(text for text in rows if "at update" in text)
    assert "update 16,384" in title
    assert "19,999 random sets" in title
    for name in texts:
        notes = [text.partition("\n") for text in texts[name] if "corpus:" in text]
        assert [(note[0], note[2].replace("\n", "|")) for note in notes] == [(result.matching, result.signature)]
    assert "999 or 19,999" in " ".join(texts["categories_over_updates"])
    pairs = [text for text in texts["opposites"] if " – other" in text]
    assert len(pairs) == 30
    found = result.snapshots[-1].opposites
    order = np.argsort(-np.subtract(found.cosines, found.matched))
    expected = [tables.pair_words(result, found.pairs[place]) for place in [*order[:15], *order[-15:]]]
    assert pairs == expected
    assert "… 60 more …" in texts["opposites"]


def test_few_pairs_are_all_shown(tmp_path, monkeypatch):
    for number in (3, 29, 30):
        texts = drawn_texts(made(CLAIMED, pairs=number), tmp_path, monkeypatch)["opposites"]
        assert sum(" – other" in text for text in texts) == number
        assert not any("more …" in text for text in texts)


def test_texts_are_drawn_as_they_are_and_not_as_formulas(tmp_path, monkeypatch):
    parsed = []
    monkeypatch.setattr("matplotlib.mathtext.MathTextParser.parse", lambda *_, **__: parsed.append(1))
    with pytest.warns(UserWarning, match="Glyph"):
        texts = drawn_texts(made(ODD, words=ODD, pairs=20), tmp_path, monkeypatch)
    assert not parsed
    names = [re.sub(r" \(\d+\)$", "", text) for text in texts["categories"]]
    assert {"$x_1$", "a$\\frac{1}{", "under_score", "back\\slash", "new\\u000aline", "<b>&"} <= set(names)
    assert any(text.startswith("$x_1$ – ") for text in texts["opposites"])


def test_filled_marks_are_the_clustered_ones(tmp_path, monkeypatch):
    faces = []

    def keep(figure, out, name):
        if name == "categories":
            for line in figure.axes[0].lines:
                if line.get_marker() in ("o", "s"):
                    faces.append(line.get_markerfacecolor() != "white")
        category_figures.plt.close(figure)
        return []

    monkeypatch.setattr(category_figures, "save", keep)
    result = made(many(20))
    category_figures.figures(result, tmp_path)
    expected = [entry.clustered for entry in tables.ordered(result.snapshots[-1].categories)]
    assert faces == expected
    assert len(set(faces)) == 2


def small():
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
        ["other partners", "3", "+0.267", "+0.317", "-0.050", "–", "0.9000"],
    ]
    assert tables.pairs_table(result) == [
        ["pair", "cosine", "matched pairs", "difference"],
        ["small – a_b", "+0.400", "+0.000", "+0.400"],
        ["a_b – big", "+0.300", "+0.100", "+0.200"],
        ["big – small", "+0.100", "+0.000", "+0.100"],
    ]
    assert len(tables.opposites_table(made(CLAIMED, pairs=0))) == 1
    assert len(tables.pairs_table(made(CLAIMED, pairs=0))) == 1
    assert len(tables.summary(made([], updates=()))) == 1


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
    result = made(many(48))
    for table in (tables.summary(result), tables.opposites_table(result)):
        head, *rows = table
        for row in rows:
            for name, cell in zip(head, row, strict=True):
                if name.startswith("p ") or name == "p":
                    assert re.fullmatch(r"(≤ )?[01]\.\d*[1-9]\d*|1\.0000", cell), (name, cell)


def test_the_tables_can_be_printed_and_put_on_a_page(capsys):
    result = made([*many(9), *ODD[:4]], words=ODD)
    for table in (tables.summary(result), tables.opposites_table(result), tables.pairs_table(result)):
        assert all(isinstance(cell, str) and "\n" not in cell for row in table for cell in row)
        head, body = plain_table(table)
        assert {len(row) for row in body} == {len(head)}
        print_table(table)
        assert len(capsys.readouterr().out.splitlines()) == len(table)
        json.dumps(table)


def test_when_a_category_forms_is_told_from_what_was_looked_at():
    result = made(CLAIMED, updates=(0, 8, 16))
    result = replace(result, forms_at={"colours": 0, "pronouns": 8})
    words = [tables.forms_words(result, name) for name in CLAIMED]
    assert words == ["0", "8", "–", "–"]
    assert tables.forms_words(replace(result, snapshots=result.snapshots[1:]), "pronouns") == "≤ 8"


def test_values_that_could_not_be_had_come_last(tmp_path):
    result = made(many(6), updates=(0, 64))
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


def test_rows_are_in_order_of_purity_over_chance(tmp_path, monkeypatch):
    result = made(many(30))
    rows = tables.summary(result)[1:]
    for kind in ("semantic", "grammatical"):
        ratios = [float(row[7].split()[0]) for row in rows if row[1] == kind]
        assert len(ratios) > 4
        assert ratios == sorted(ratios, reverse=True)
    assert [row[1] for row in rows] == sorted((row[1] for row in rows), reverse=True)
    drawn = [text for text in drawn_texts(result, tmp_path, monkeypatch)["categories"] if text.endswith(")")]
    assert [text.rpartition(" (")[0] for text in drawn if text[0].islower() and " (" in text] == [
        row[0] for row in rows
    ]


def test_every_figure_has_its_caption(tmp_path, monkeypatch):
    assert set(category_figures.CAPTIONS) == set(drawn_texts(made(many(8)), tmp_path, monkeypatch))
    assert all(words.alt and words.text for words in category_figures.CAPTIONS.values())
