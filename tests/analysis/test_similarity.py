"""Word similarity against gensim's own evaluation, and the restriction to words that a run has seen."""

import json

import numpy as np
import pytest
import zarr
from repetition_runs import DISTINCT, REPEATED, make_arm
from synthetic_dump import MAIN_TABLE

import similarity
from dump import Dump, DumpError
from exposure import read_exposure
from geometry import row_geometry


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_arm(tmp_path_factory.mktemp("runs"), DISTINCT, evaluated=False)


def test_scores_are_gensims(folder):
    gensim = pytest.importorskip("gensim")
    datapath = pytest.importorskip("gensim.test.utils").datapath
    table = Dump.open(folder).table()
    update = int(table.snapshot_updates[-1])
    values = table.snapshot(update)
    words = {text[1:]: row for row, text in enumerate(table.texts) if text.startswith(" ")}
    result = similarity.analyse(Dump.open(folder))
    common = row_geometry(values, table).common
    for variant, shift in (("raw", 0), ("centred", common)):
        vectors = gensim.models.KeyedVectors(table.dim)
        vectors.add_vectors(list(words), (values - shift)[list(words.values())])
        for name, file in similarity.FILES.items():
            known = vectors.evaluate_word_pairs(datapath(file), case_insensitive=False)
            score = result.scores[name]
            assert score.correlation[variant].value == pytest.approx(known[1].statistic, abs=1e-6)
            assert 100 * (1 - score.covered / score.pairs) == pytest.approx(known[2])
            assert 20 < score.covered < score.pairs


def test_the_lists_are_whole():
    assert {name: len(entry.pairs) for name, entry in similarity.pair_lists().items()} == {
        "WordSim-353": 353,
        "SimLex-999": 999,
    }


def test_words_that_were_not_seen_are_left_out_where_asked(tmp_path):
    folder = make_arm(tmp_path, DISTINCT, evaluated=False)
    table = Dump.open(folder).table()
    seen = np.arange(table.rows) % 3 > 0
    stream = zarr.open_group(folder / "dump.zarr", mode="r+")["exposure/tokens"]
    for name in ("visible", "target"):
        stream[name][:] = np.tile(np.where(seen, 5, 0).astype(np.uint32), (2, 1))
    stream["replacement"][:] = 9  # standing in another token's place is not being seen
    result = similarity.analyse(Dump.open(folder))
    for name, score in result.scores.items():
        pairs = similarity.pair_lists()[name]
        rows, missing = similarity.find_rows(table.texts, pairs.pairs)
        both = (rows >= 0).all(axis=1) & seen[rows].all(axis=1)
        assert score.seen == both.sum() > 3
        cosines = similarity.pair_cosines(table.snapshot(result.update), rows)
        assert score.correlation_seen["raw"].value == pytest.approx(
            similarity.spearman(cosines[both], pairs.human[both])
        )
        assert score.missing == missing
        assert all(f" {word}" not in table.texts for word in missing)


def test_without_counters_nothing_is_said_of_seen_words(synthetic):
    score = similarity.analyse(Dump.open(synthetic.path)).scores["SimLex-999"]
    assert score.seen is None
    assert score.correlation_seen == {}
    assert read_exposure(Dump.open(synthetic.path)) is None


def test_a_run_against_itself_differs_by_nothing(folder, tmp_path):
    one = similarity.analyse(Dump.open(folder))
    two = similarity.analyse(Dump.open(make_arm(tmp_path, REPEATED, seed=2, evaluated=False)))
    same = similarity.score_difference(one, one, "SimLex-999")
    assert (same.value, same.interval) == (0, (0, 0))
    other = similarity.score_difference(one, two, "SimLex-999")
    assert other.interval[0] <= other.value <= other.interval[1]
    assert other.interval[1] - other.interval[0] > 0.05
    assert other.over == "pairs"


def test_curves_end_at_the_last_snapshots_score(folder):
    result = similarity.analyse(Dump.open(folder))
    for name, variants in result.over_updates.items():
        for variant, curve in variants.items():
            assert curve.updates[-1] == result.update
            assert curve.values[-1] == pytest.approx(result.scores[name].correlation[variant].value)


def test_the_command_writes_its_table_and_figure(folder, tmp_path, capsys):
    assert similarity.question(similarity, "similarity", [str(folder), "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"similarity.json", "similarity.png", "similarity.pdf"}
    assert "SimLex-999 centred, seen words" in capsys.readouterr().out
    content = json.loads((tmp_path / "similarity.json").read_text())
    assert content["results"][0]["scores"]["WordSim-353"]["pairs"] == 353


def test_a_list_of_another_form_gives_one_line(tmp_path):
    (tmp_path / "pairs.tsv").write_text("one two 3\n")
    with pytest.raises(DumpError, match="two words and a score") as error:
        similarity.read_pairs("mine", tmp_path / "pairs.tsv")
    assert "\n" not in str(error.value)


def test_counters_that_shrink_or_begin_later_are_refused(tmp_path):
    folder = make_arm(tmp_path, DISTINCT, evaluated=False)
    exposure = read_exposure(Dump.open(folder))
    assert exposure.examples(8).tolist() == (2 * np.arange(40)).tolist()
    assert exposure.tokens(7).update == 4
    with pytest.raises(DumpError, match="no counters at or before update 3"):
        exposure.tokens(3)
    chunk = folder / "dump.zarr" / "exposure" / "tokens" / "visible" / "c" / "1" / "0"
    chunk.unlink()
    with pytest.raises(DumpError, match="visible shrinks") as error:
        read_exposure(Dump.open(folder)).tokens(8)
    assert "\n" not in str(error.value)
    assert MAIN_TABLE in Dump.open(folder).tables
