"""E4 as a whole on runs with planted effects: verdicts in each direction, every error line, partial results, the section."""

import csv
import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zarr
from sharing_runs import (
    ALL,
    ENCODER,
    NONE,
    SHAPE,
    Planted,
    corpus,
    make_experiment,
    make_run,
    side_counts,
    translate,
    write_dump,
    write_speed,
    write_translation,
)

import report
import sentence_types
import sharing
import translation_quality
from claims import EXACT, Estimate, combine_seeds, exact
from cli import run
from dump import Dump, DumpError
from evidence import Evidence, SnapshotCache
from exposure import read_exposure
from runs import find_runs
from sharing_claims import decide
from training_log import read_training_log
from training_speed import LEAST_ROUNDS

FIGURES = {
    f"sharing_{name}" for name in ("parameters", "quality", "speed", "types", "frequency", "alignment", "learning")
}
MADE = corpus()
SMALL = corpus(60)


def analyse(folder):
    """The result for the runs below `folder`, and what is missing."""
    with ThreadPoolExecutor(1) as beside:
        evidence = Evidence("E4", find_runs(folder), folder / "figures", SnapshotCache(), beside)
        return sharing.analyse(evidence), evidence.missing


def verdicts(result):
    return {claim.id: claim.verdict for claim in result.claims}


@cache
def measured(hypotheses, references):
    return translation_quality.measure(hypotheses, references)


@pytest.fixture
def quick(monkeypatch):
    """Fewer resamples, equal translations scored once, and none of sacrebleu's own tests, which take a second a pair."""
    monkeypatch.setattr("sharing.paired_test", lambda *_: [])
    monkeypatch.setattr("sharing_run.measure", measured)
    monkeypatch.setattr("sharing.resampled_scores", partial(translation_quality.resampled_scores, resamples=500))
    monkeypatch.setattr("sentence_types.measure", partial(sentence_types.measure, resamples=600))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One seed of three arms, analysed by the command: (folder of runs, folder of output, sharing.json)."""
    folder = tmp_path_factory.mktemp("one")
    make_experiment(folder)
    out = folder / "out"
    assert sharing.main([str(folder / "E4"), "--out", str(out)]) == 0
    return folder, out, json.loads((out / "sharing.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)


def test_planted_effects_are_found_and_decide(made):
    content = made[2]
    decided = {claim["id"]: claim for claim in content["claims"]}
    assert {name: claim["verdict"] for name, claim in decided.items()} == dict.fromkeys(
        ("C6.1", "C6.2", "C6.3", "C6.4"), "holds"
    )
    tables = SHAPE["rows"] * SHAPE["encoder_embed_dim"]
    rows = {row["arm"]: row for row in content["arms"]}
    assert [*rows] == ["none", "decoder", "all"]
    assert rows["none"]["parameters"] - rows["all"]["parameters"] == 2 * tables
    assert rows["none"]["parameters"] == rows["none"]["parameters_closed_form"]
    one = decided["C6.1"]
    assert one["interval_over"] == EXACT
    assert one["interval"] == [one["value"], one["value"]] == [-2 * tables / rows["none"]["parameters"]] * 2
    assert "one seed" not in one["reason"]
    assert decided["C6.2"]["value"] == pytest.approx(rows["all"]["BLEU"] - rows["none"]["BLEU"])
    assert decided["C6.2"]["interval_over"] == "sentences"
    for words in ("one seed", "-1.5 lies above the interval", "33.13 -> 33.46", "paired test p = 0.001"):
        assert words in decided["C6.2"]["reason"]
    assert re.search(
        r"arm:all,none\|seed:1\|update:1200.*tok:13a\|smooth:exp\|sacrebleu:2", decided["C6.2"]["signature"]
    )
    assert decided["C6.3"]["value"] == pytest.approx(0.12, abs=0.02)
    assert decided["C6.3"]["interval_over"] == "rounds"
    assert decided["C6.3"]["study"] == 0.15
    assert "seed" not in decided["C6.3"]["reason"]
    assert content["contexts"]["largest"] in ("rare-many", "unseen")
    assert "largest of 9 types" in decided["C6.4"]["reason"]
    assert content["speed"]["ratio"]["decoder"]["value"] == pytest.approx(1.06, abs=0.02)


def test_the_command_writes_tables_json_and_figures(made):
    names = {path.name for path in made[1].iterdir()}
    assert names == {f"{stem}.{kind}" for stem in FIGURES for kind in ("png", "pdf")} | {"sharing.csv", "sharing.json"}
    with (made[1] / "sharing.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["arm"] for row in rows] == ["none", "decoder", "all"]
    assert float(rows[2]["BLEU_minus_none"]) == made[2]["arms"][2]["BLEU_minus_none"]


def test_geometry_tells_what_was_planted(made):
    found = made[2]["geometry"]
    assert found["update"] == 100
    assert [entry["label"] for entry in found["tables"]] == [
        *("encoder", "decoder input", "decoder output"),
        *("encoder", "decoder input = output", "all three"),
    ]
    assert all(entry["correlations"]["spearman_seen"]["value"] < -0.8 for entry in found["tables"])
    pairs = {(tuple(map(tuple, pair["tables"])), pair["group"]): pair for pair in found["pairs"]}
    none = {name: ("none", name) for name in ("encoder", "decoder input", "decoder output")}
    for group, low, high in (("both", 0.5, 1), ("source", -0.1, 0.1), ("target", -0.1, 0.1)):
        cka = pairs[(none["encoder"], none["decoder input"]), group]["measures"]["cka"]
        assert low < cka["value"] < high
        assert cka["over"] == "tokens"
    assert pairs[(none["decoder input"], none["decoder output"]), "target"]["measures"]["cka"]["value"] > 0.6
    whole = (("all", "all three"), none["encoder"])
    assert (
        pairs[whole, "source"]["measures"]["procrustes"]["value"] < pairs[whole, "source"]["null"]["procrustes"] - 0.1
    )
    both = int(((side_counts()["source"] > 0) & (side_counts()["target"] > 0)).sum())
    assert both - 10 <= pairs[whole, "both"]["tokens"] <= both


def test_examples_follow_their_rule(made):
    examples = made[2]["examples"]
    worse = [entry for entry in examples if entry["why"] == "none better"]
    gaps = [entry["chrf_first"] - entry["chrf_second"] for entry in worse]
    assert len(worse) == 4
    assert gaps == sorted(gaps, reverse=True)
    rest = [entry for entry in examples if entry["why"] == "at random"]
    assert len(rest) == 4
    assert all(gaps[-1] >= entry["chrf_first"] - entry["chrf_second"] for entry in rest)
    assert worse[0]["source"] == MADE.sources[worse[0]["number"]]


def test_three_seeds_give_intervals_over_seeds(tmp_path, quick):
    make_experiment(tmp_path, (1, 2, 3), dump=False, log=False, made=corpus(300))
    result, _ = analyse(tmp_path)
    found = result.compared("all", "none")
    assert found.seeds == [1, 2, 3]
    values = np.array([entry.value for entry in found.estimates])
    half = 4.302653 * values.std(ddof=1) / np.sqrt(3)
    assert found.combined.over == "seeds"
    assert found.combined.interval == pytest.approx((values.mean() - half, values.mean() + half))
    claims = {claim.id: claim for claim in result.claims}
    assert claims["C6.2"].seeds == claims["C6.4"].seeds == 3
    assert claims["C6.1"].interval_over == EXACT
    assert claims["C6.4"].interval_over == "seeds and sentences"
    assert "seed:1,2,3|" in claims["C6.2"].signature


# Verdicts


def test_c61_follows_the_share_alone():
    for share, verdict in ((-0.2, "holds"), (-0.4, "does not hold"), (-0.1, "does not hold"), (-0.15, "does not hold")):
        count = SimpleNamespace(arm="x", counted=100, closed=100, exact=True, in_tables=50)
        saving = SimpleNamespace(share=share, difference=-20, expected=-20, exact=True)
        result = SimpleNamespace(
            savings={"all": saving},
            counts={"all": count, "none": count},
            runs={"all": {}, "none": {}},
            compared=lambda *_: None,
            speed=None,
            contexts=None,
            scores={},
        )
        assert decide(result)[0].verdict == verdict
        assert [claim.verdict for claim in decide(result)[1:]] == ["not run"] * 3


@pytest.mark.parametrize(
    ("none", "all_", "words"),
    [
        (Planted(0.2), Planted(0.3), "holds"),
        (Planted(0.3), Planted(0.2), "does not hold"),
        (Planted(0.2), Planted(0.2, draw=8), "inconclusive"),
        (Planted(0.75), Planted(0.85), "inconclusive"),
    ],
)
def test_c62_in_each_direction_and_without_translation(tmp_path, quick, none, all_, words):
    for arm, planted in (("none", none), ("all", all_)):
        make_run(tmp_path, arm, planted=planted, made=MADE, dump=False, log=False)
    result, _ = analyse(tmp_path)
    claim = result.claims[1]
    assert claim.verdict == words
    short = none.wrong > 0.7
    assert ("too short" in claim.reason) == short
    if short:
        assert claim.interval[1] < 0
        assert re.search(r"the better arm has BLEU \d\.\d\d, below 10", claim.reason)
        assert result.claims[3].verdict == "inconclusive"
        assert "too short" in result.claims[3].reason


def test_too_few_updates_refuse_nothing(tmp_path, quick):
    for arm, planted in (("none", Planted(0.3)), ("all", Planted(0.2))):
        make_run(tmp_path, arm, planted=planted, made=SMALL, dump=False, log=False, update=99)
    result, _ = analyse(tmp_path)
    assert result.claims[1].verdict == "inconclusive"
    assert "too few updates" in result.claims[1].reason


@pytest.mark.parametrize(
    ("ratio", "rounds", "verdict"),
    [
        (1.12, 20, "holds"),
        (1.0, 20, "does not hold"),
        (1.04, 20, "inconclusive"),
        (1.5, LEAST_ROUNDS - 1, "inconclusive"),
    ],
)
def test_c63_in_each_direction(tmp_path, ratio, rounds, verdict):
    make_run(tmp_path, "none", translated=False, dump=False, log=False)
    write_speed(tmp_path, {"none": 1.0, "all": ratio}, rounds=rounds)
    result, _ = analyse(tmp_path)
    claim = result.claims[2]
    assert claim.verdict == verdict
    assert ("7 rounds are too few" in claim.reason) == (rounds == 7)


def test_c64_in_each_direction(tmp_path, quick):
    for folder, planted, verdict in (
        ("a", Planted(0.3), "does not hold"),
        ("b", ALL, "holds"),
        ("c", Planted(0.2, draw=8), "inconclusive"),
    ):
        for arm, wrong in (("none", NONE), ("all", planted)):
            make_run(tmp_path / folder, arm, planted=wrong, made=MADE, dump=False, log=False)
        result, _ = analyse(tmp_path / folder)
        assert result.claims[3].verdict == verdict, folder


def test_translations_of_other_sentences_are_left_out(tmp_path, quick):
    make_run(tmp_path, "none", made=SMALL, dump=False)
    make_run(tmp_path, "all", made=corpus(60, seed=1), dump=False)
    result, missing = analyse(tmp_path)
    listed = {entry.what: entry.command for entry in missing}
    what = "E4/all/seed1: other references than E4/none/seed1; all arms must translate one test set."
    assert listed[what] == f"python -m fairseq_ext.translate {tmp_path}/E4/all/seed1"
    assert verdicts(result)["C6.2"] == "not run"
    assert "no run of arm all has translations" in result.claims[1].reason


def test_translations_made_otherwise_are_left_out(tmp_path, quick):
    for arm in ("none", "all"):
        make_run(tmp_path, arm, made=SMALL, dump=False)
    path = tmp_path / "E4" / "all" / "seed1" / "translation" / "translation.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps(about | {"lenpen": 5.0, "checkpoints": ["a.pt", "b.pt"]}))
    result, missing = analyse(tmp_path)
    said = [entry.what for entry in missing if "translated otherwise" in entry.what]
    assert len(said) == 1
    assert f"lenpen 5.0 ({about['lenpen']}), averaged checkpoints 2 (1)" in said[0]
    assert verdicts(result)["C6.2"] == "not run"


def test_times_of_other_models_decide_nothing(tmp_path, quick):
    for arm in ("none", "all"):
        make_run(tmp_path, arm, made=SMALL, dump=False)
    path = write_speed(tmp_path)
    width = json.loads((tmp_path / "E4" / "all" / "seed1" / "model.json").read_text())["shape"]["encoder_embed_dim"]
    content = json.loads(path.read_text())
    for settings, decided in (({"encoder_embed_dim": width}, True), ({"encoder_embed_dim": width + 1}, False)):
        path.write_text(json.dumps(content | {"settings": settings}))
        result, missing = analyse(tmp_path)
        assert (result.speed is not None) == decided
        assert any(f"encoder_embed_dim {width + 1} were timed" in entry.what for entry in missing) != decided


# Dumps of translation


def test_counts_by_side_and_exposure_of_a_translation_dump(tmp_path, synthetic):
    dump = Dump.open(write_dump(tmp_path / "run", "none", 1))
    table = dump.table()
    assert (table.side, dump.table("decoder.output_projection.weight").side) == ("source", "target")
    assert (table.count_by_side["target"] == side_counts()["target"]).all()
    exposure = read_exposure(dump)
    by_side = side_counts()
    source, target, both = (exposure.tokens(100, side) for side in ("source", "target", "both"))
    assert (source.visible == 2 * by_side["source"]).all()
    assert not source.target.any()
    assert (target.target == 4 * by_side["target"]).all()
    assert (both.total == source.total + target.total).all()
    with pytest.raises(DumpError, match="kept by side") as error:
        exposure.tokens(100)
    assert "\n" not in str(error.value)
    with pytest.raises(DumpError, match="no side 'left'"):
        exposure.tokens(100, "left")
    with pytest.raises(DumpError, match="no counts by side"):
        _ = Dump.open(synthetic.path).table().count_by_side
    rows = zarr.open_group(dump.path, mode="r+")[f"tables/{ENCODER}/rows"]
    rows["count_source"][:] = 0
    with pytest.raises(DumpError, match="do not sum"):
        _ = Dump.open(dump.path).table().count_by_side


def test_the_log_of_label_smoothing_is_read(tmp_path):
    make_run(tmp_path, "none", made=SMALL, dump=False)
    log = read_training_log(tmp_path / "E4" / "none" / "seed1" / "log" / "train.log")
    assert {"nll_loss", "valid_nll_loss", "valid_bleu"} <= set(log.columns)
    last = log.loc[1200]
    assert last["valid_loss"] - last["valid_nll_loss"] == pytest.approx(1.1)
    assert last["loss"] - last["nll_loss"] == pytest.approx(1.1)


def test_another_experiments_section_takes_a_translation_dump(tmp_path, monkeypatch):
    """A user's own experiment of any name is reported like E1."""
    monkeypatch.setattr("sections._interactive", lambda *_: None)
    monkeypatch.setattr("sections._figures", lambda *_: None)
    for name in ("learning", "frequency", "common_vector", "isotropy", "training_log"):
        monkeypatch.setattr(f"{name}.figures", lambda *_: [])
    make_run(tmp_path, "none", made=SMALL)
    (tmp_path / "E4").rename(tmp_path / "mine")
    about = tmp_path / "mine" / "none" / "seed1" / "run.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"experiment": "mine"}))
    assert report.main(["--runs", str(tmp_path), "--out", str(tmp_path / "report"), "--points", "40"]) == 0
    content = json.loads((tmp_path / "report" / "report.json").read_text())
    assert {claim["id"]: claim["verdict"] for claim in content["claims"]}["C2.2"] == "holds"


# Partial results and the report


def make_report(folder, *, expect=0):
    assert report.main(["--runs", str(folder), "--out", str(folder / "report")]) == expect
    content = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    return content, (folder / "report" / "index.html").read_text(encoding="utf-8")


@pytest.fixture
def no_figures(monkeypatch, quick):
    monkeypatch.setattr("sharing_figures.figures", lambda *_: [])


def test_the_report_has_a_section_with_figures_tables_examples_and_verdicts(made, quick, monkeypatch):
    def copied(_, out):
        """The figures as the command drew them."""
        out.mkdir(parents=True)
        drawn = [path for path in made[1].iterdir() if path.suffix in (".png", ".pdf")]
        return [Path(shutil.copy(path, out)) for path in drawn]

    monkeypatch.setattr("sharing.figures", copied)
    hostile = "<script>alert(1)</script> & “{{ 7 * 7 }}”"
    folder = made[0] / "E4" / "all" / "seed1"
    hypotheses = translate(MADE, ALL, 1)
    hypotheses[3] = hostile
    write_translation(folder, MADE, hypotheses)
    content, page = make_report(made[0])
    assert "E4: translation with shared embeddings" in page
    for stem in FIGURES:
        assert f"figures/E4/{stem}.png" in content["figures"]
        assert f"figures/E4/{stem}.png, .pdf" in page
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert 'href="#E4-verdicts"' in page
    assert {claim["verdict"] for claim in content["claims"] if claim["id"][:2] == "C6"} == {"holds"}
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:" in page
    assert "equal to the closed form to the unit" in page
    data = content["experiments"]["E4"]
    assert data["runs"]["E4/none/seed1"]["sacrebleu"]["BLEU"].startswith("nrefs:1|")
    assert data["types"][0]["name"] == "ordinary"
    assert data["geometry"]["pairs"]
    alternatives = re.findall(r'<img [^>]*alt="([^"]*)"', page)
    assert len(alternatives) == len(FIGURES)
    assert not any(text.startswith("Figure:") for text in alternatives)


def test_whatever_is_missing_is_listed_and_the_rest_is_reported(tmp_path, no_figures):
    make_run(tmp_path, "none", made=SMALL, dump=False)
    make_run(tmp_path, "all", made=SMALL, dump=False, translated=False, finished=False)
    content, page = make_report(tmp_path)
    missing = {entry["what"]: entry["command"] for entry in content["missing"]}
    assert missing["E4: no run of arm decoder."] == "bash scripts/run_all.sh --only E4"
    assert missing["E4/all/seed1: not translated (translation/), so no BLEU."] == (
        "bash scripts/run_all.sh --only E4 --profile smoke"
    )
    assert any("speed.json: expected the arms' times, found no such file" in what for what in missing)
    assert "E4/none/seed1: no recording (dump.zarr)." in missing
    decided = {claim["id"]: claim for claim in content["claims"]}
    assert decided["C6.1"]["verdict"] == "holds"
    assert decided["C6.2"]["reason"] == "no run of arm all has translations"
    assert [decided[f"C6.{number}"]["verdict"] for number in (2, 3, 4)] == ["not run"] * 3
    assert "No run has a recording of translation" in page


def test_only_one_arm_is_still_reported(tmp_path, no_figures):
    make_run(tmp_path, "none", made=SMALL)
    content, _ = make_report(tmp_path)
    reasons = {claim["id"]: claim["reason"] for claim in content["claims"]}
    assert reasons["C6.1"] == "experiment E4 has no run of arm all: bash scripts/run_all.sh --only E4"
    assert content["experiments"]["E4"]["arms"][0]["BLEU"] > 10
    assert len(content["experiments"]["E4"]["geometry"]["tables"]) == 3


def test_broken_files_take_only_their_own_numbers_away(tmp_path, no_figures):
    folders = {arm: make_run(tmp_path, arm, made=MADE) for arm in ("none", "all", "decoder")}
    (folders["all"] / "model.json").write_text("{")
    (folders["decoder"] / "translation" / "hypotheses.txt").write_text("x\n")
    (folders["none"] / "dump.zarr" / "zarr.json").write_text("{")
    (tmp_path / "E4" / "speed.json").write_text("[]")
    (tmp_path / "E4" / "both").mkdir()
    make_run(tmp_path, "none", 2, made=MADE, model=False, translated=False, log=False, dump=False)
    content, _ = make_report(tmp_path)
    listed = " | ".join(entry["what"] for entry in content["missing"])
    for words in (
        r"E4/all/seed1: \S*model.json: expected JSON",
        r"E4/decoder/seed1: \S*translation: expected as many hypotheses",
        r"E4/none/seed1: \S*dump.zarr: not a dump",
        r"E4: \S*speed.json: expected format",
        r"E4/none/seed2: \S*model.json: expected format 'embedding-model', found no such file",
    ):
        assert re.search(words, listed), words
    decided = {claim["id"]: claim["verdict"] for claim in content["claims"]}
    assert (decided["C6.1"], decided["C6.2"], decided["C6.3"]) == ("not run", "holds", "not run")
    assert {entry["arm"] for entry in content["experiments"]["E4"]["geometry"]["tables"]} == {"all", "decoder"}


def test_tables_of_another_vocabulary_are_not_compared(tmp_path, quick):
    for arm in ("none", "all"):
        make_run(tmp_path, arm, made=SMALL, translated=False)
    write_dump(tmp_path / "E4" / "all" / "seed1", "all", 1, dictionary="e")
    result, missing = analyse(tmp_path)
    assert any("E4/all/seed1: another vocabulary or corpus than E4/none/seed1" in entry.what for entry in missing)
    assert {entry.arm for entry in result.geometry.tables} == {"none"}
    write_dump(tmp_path / "E4" / "all" / "seed1", "all", 1, updates=(1, 7))
    result, missing = analyse(tmp_path)
    assert result.geometry is None
    assert any("no snapshot of one update in common" in entry.what for entry in missing)


def test_no_runs_and_no_readable_runs_give_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(lambda: sharing.main([str(tmp_path / "E4"), "--out", str(tmp_path / "out")]))
    assert "expected <arm>/seed<k>/ folders" in stopped.value.code
    assert "\n" not in stopped.value.code
    (tmp_path / "E4" / "none" / "seed1").mkdir(parents=True)
    assert sharing.main([str(tmp_path / "E4"), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    make_report(tmp_path, expect=1)


def test_an_exact_count_needs_no_seeds():
    assert combine_seeds([exact(-0.2)] * 3) == Estimate(-0.2, (-0.2, -0.2), EXACT)
    assert combine_seeds([exact(-0.2), exact(-0.2), exact(-0.3)]).over == "seeds"
