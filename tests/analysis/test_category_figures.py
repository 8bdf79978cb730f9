"""The categories' figures, from made results: with and without intervals, opposites, earlier snapshots, odd texts."""

from __future__ import annotations

import re

import numpy as np
import pytest
from category_results_made import CLAIMED, ODD, made_result, many
from matplotlib.text import Text

import category_figures
import category_tables as tables


def stems(paths):
    return sorted({path.stem for path in paths})


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (made_result(many(48)), ["categories", "categories_over_updates", "opposites"]),
        (made_result(many(12), intervals=False), ["categories", "categories_over_updates", "opposites"]),
        (made_result(["colours", "months", "war"], pairs=12), ["categories", "categories_over_updates", "opposites"]),
        (made_result(["war", "body", "cities"], pairs=31), ["categories", "categories_over_updates", "opposites"]),
        (made_result(many(10), updates=(16384,), pairs=3), ["categories", "opposites"]),
        (made_result(many(10), pairs=0), ["categories", "categories_over_updates"]),
        (made_result(many(10), updates=(0, 100, 200)), ["categories", "categories_over_updates", "opposites"]),
        (made_result([], pairs=40), ["opposites"]),
        (made_result([], updates=()), []),
        (
            made_result([*ODD, *CLAIMED[:3]], words=[f" {text}" for text in ODD]),
            ["categories", "categories_over_updates", "opposites"],
        ),
        (made_result(ODD, words=ODD, pairs=20), ["categories", "categories_over_updates", "opposites"]),
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
    result = made_result(many(48))
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
        texts = drawn_texts(made_result(CLAIMED, pairs=number), tmp_path, monkeypatch)["opposites"]
        assert sum(" – other" in text for text in texts) == number
        assert not any("more …" in text for text in texts)


def test_texts_are_drawn_as_they_are_and_not_as_formulas(tmp_path, monkeypatch):
    parsed = []
    monkeypatch.setattr("matplotlib.mathtext.MathTextParser.parse", lambda *_, **__: parsed.append(1))
    with pytest.warns(UserWarning, match="Glyph"):
        texts = drawn_texts(made_result(ODD, words=ODD, pairs=20), tmp_path, monkeypatch)
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
    result = made_result(many(20))
    category_figures.figures(result, tmp_path)
    expected = [entry.clustered for entry in tables.ordered(result.snapshots[-1].categories)]
    assert faces == expected
    assert len(set(faces)) == 2


def test_rows_are_in_order_of_purity_over_chance(tmp_path, monkeypatch):
    result = made_result(many(30))
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
    assert set(category_figures.CAPTIONS) == set(drawn_texts(made_result(many(8)), tmp_path, monkeypatch))
    assert all(words.alt and words.text for words in category_figures.CAPTIONS.values())
