"""E3 as a whole on runs with planted effects: differences, verdicts, the value of a repeat, partial results, the section."""

import csv
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import zarr
from repetition_runs import (
    DISTINCT,
    DIVERSE,
    FRACTION,
    NARROW,
    REPEATED,
    TOKENS,
    Arm,
    learning_curve,
    make_arm,
    write_evaluation,
    write_probe,
)
from synthetic_dump import MAIN_TABLE

import repetition
import report
from cli import run
from data_constrained import effective_tokens
from designs import diversity_arms, main_repeated, read_design
from dump import Dump, DumpError
from evidence import Evidence, SnapshotCache
from runs import find_runs

FIGURES = {
    f"repetition_{name}" for name in ("loss", "differences", "memorisation", "frequency", "geometry", "similarity")
}


def analyse(folder):
    """The result for the runs below `folder`, and what is missing."""
    with ThreadPoolExecutor(1) as beside:
        evidence = Evidence("E3", find_runs(folder), folder / "figures", SnapshotCache(), beside)
        return repetition.analyse(evidence), evidence.missing


def verdicts(result):
    return {claim.id: claim.verdict for claim in result.claims}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One seed of five arms, analysed by the command: (folder of runs, folder of output, repetition.json)."""
    folder = tmp_path_factory.mktemp("one")
    for arm in (DISTINCT, REPEATED, DIVERSE, NARROW, FRACTION):
        made = make_arm(folder, arm)
        if arm in (DISTINCT, DIVERSE):
            write_probe(made)
    out = folder / "out"
    assert repetition.main([str(folder / "E3"), "--out", str(out)]) == 0
    return folder, out, json.loads((out / "repetition.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)


def test_planted_effects_are_found_and_decide(made):
    rows = {row["arm"]: row for row in made[2]["arms"]}
    assert [*rows] == ["all-distinct", "repeated", "diverse", "narrow", "fraction"]
    for arm in (REPEATED, DIVERSE, NARROW, FRACTION):
        row, share = rows[arm.name], (arm.loss - 6) / 6
        assert row["difference_share"] == pytest.approx(share, abs=1e-4)
        assert row["difference_share_low"] <= row["difference_share"] <= row["difference_share_high"]
        assert row["difference_share_over"] == "examples"
        assert row["held_out_loss"] == pytest.approx(arm.loss, abs=1e-4)
    assert rows["all-distinct"]["difference"] is None
    assert rows["repeated"]["memorisation"] == pytest.approx(0.2, abs=0.05)
    assert rows["fraction"]["role"] == "fraction"
    assert abs(rows["all-distinct"]["memorisation"]) < 0.05
    decided = {claim["id"]: claim for claim in made[2]["claims"]}
    assert {name: claim["verdict"] for name, claim in decided.items()} == {"C3.1": "holds", "C3.2": "holds"}
    assert decided["C3.1"]["study"] is None
    assert decided["C3.1"]["interval_over"] == "examples"
    assert "one seed" in decided["C3.1"]["reason"]
    assert "+5.00 %" in decided["C3.1"]["reason"]
    assert re.search(r"arm:repeated,all-distinct\|.*mask_seed:1", decided["C3.1"]["signature"])
    assert "downstream: WordSim-353 Spearman minus narrow's" in decided["C3.2"]["reason"]


def test_the_command_writes_table_json_and_figures(made):
    names = {path.name for path in made[1].iterdir()}
    assert names == {f"{stem}.{kind}" for stem in FIGURES for kind in ("png", "pdf")} | {
        "repetition.csv",
        "repetition.json",
    }
    with (made[1] / "repetition.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["arm"] for row in rows] == [row["arm"] for row in made[2]["arms"]]
    assert float(rows[1]["difference_share"]) == made[2]["arms"][1]["difference_share"]
    assert rows[0]["probe_accuracy"]
    assert not rows[1]["probe_accuracy"]


def test_equal_geometry_at_equal_exposure_is_no_difference(tmp_path):
    """Both arms hold the same table with the same exposures: nothing differs; an arm seen less differs in its plain groups."""
    for arm in (DISTINCT, REPEATED):
        make_arm(tmp_path, arm, evaluated=False)
    result, _ = analyse(tmp_path)
    matched = result.compared("repeated", "all-distinct").matched[0]
    assert [entry.value for entry in matched.differences] == pytest.approx([0, 0], abs=1e-12)
    assert result.compared("repeated", "all-distinct").share is None


def test_three_seeds_give_an_interval_over_seeds_paired_within_each(tmp_path):
    losses = (6.2, 6.3, 6.4)
    for seed, loss in enumerate(losses, 1):
        make_arm(tmp_path, DISTINCT, seed)
        make_arm(tmp_path, replace(REPEATED, loss=loss), seed)
    make_arm(tmp_path, REPEATED, 7)  # no all-distinct run of this seed
    result, _ = analyse(tmp_path)
    found = result.compared("repeated", "all-distinct")
    assert found.seeds == [1, 2, 3]
    assert found.share.over == "seeds"
    shares = np.array([(loss - 6) / 6 for loss in losses])
    half = 4.302653 * shares.std(ddof=1) / np.sqrt(3)
    assert found.share.value == pytest.approx(shares.mean(), abs=1e-4)
    assert found.share.interval == pytest.approx((shares.mean() - half, shares.mean() + half), abs=1e-3)
    claim = result.claims[0]
    assert (claim.seeds, claim.interval_over, claim.verdict) == (3, "seeds", "holds")
    assert "seed:1,2,3|" in claim.signature
    written = repetition.figures(result, tmp_path / "out")
    assert {path.stem for path in written} == FIGURES


@pytest.mark.parametrize(
    ("entropy", "verdict", "words"), [(6.67, "holds", "seed"), (6.6, "inconclusive", "fell short by 0.06 bits")]
)
def test_without_learning_nothing_is_decided_and_the_shortfall_is_said(tmp_path, entropy, verdict, words):
    for arm in (DISTINCT, REPEATED):
        make_arm(tmp_path, arm, entropy=entropy)
    result, _ = analyse(tmp_path)
    assert verdicts(result) == {"C3.1": verdict, "C3.2": "not run"}
    assert words in result.claims[0].reason
    assert ("did not learn enough" in result.value.reason) == (verdict == "inconclusive")


def test_a_planted_r_star_comes_back_with_its_interval(tmp_path):
    make_arm(tmp_path, DISTINCT, noise=0.05)
    for k in (2, 4, 16):
        tokens = effective_tokens(TOKENS / k, k - 1, 15.39)
        make_arm(tmp_path, Arm(f"k{k}", repeat=k, loss=float(learning_curve(tokens)), seen=0.2), noise=0.05)
    result, _ = analyse(tmp_path)
    low, high = result.value.r_star.interval
    assert result.value.r_star.value == pytest.approx(15.39, rel=0.1)
    assert low < 15.39 < high < 60
    assert "contains" in result.value.reason
    assert "rather too high" in result.value.reason
    worth = {entry.arm: entry.value.value for entry in result.value.arms}
    assert worth["k2"] > worth["k4"] > worth["k16"] > 0.5
    assert worth["k4"] == pytest.approx(0.908, abs=0.02)
    assert main_repeated([(arm.name, arm.design) for arm in result.arms]) == "k16"


@pytest.mark.parametrize(
    ("losses", "words"),
    [((6.4, 6.1), "do not rise"), ((5.9, 5.95), "below the end"), ((6.1, 11.0), "above the beginning")],
)
def test_a_value_that_the_arms_do_not_allow_is_refused_plainly(tmp_path, losses, words):
    make_arm(tmp_path, DISTINCT)
    for k, loss in zip((2, 16), losses, strict=True):
        make_arm(tmp_path, Arm(f"k{k}", repeat=k, loss=loss))
    result, _ = analyse(tmp_path)
    assert result.value.r_star is None
    assert re.search(f"do not allow a fit.*{words}", result.value.reason)


# Designs


def test_roles_come_from_the_design_and_not_from_the_name(tmp_path):
    arms = {
        "a": Arm("a", "all"),
        "b": Arm("b", "all", repeat=4),
        "c": Arm("c", "random", repeat=16, masks="identical"),
        "d": Arm("d", "random", repeat=8),
        "e": Arm("e", "diverse", repeat=4),
        "f": Arm("f", "narrow", repeat=4),
        "g": Arm("g", "random", repeat=64, fraction=0.1),
        "h": Arm("h", ""),
        "i": Arm("i", "diverse"),
    }
    designs = {
        name: read_design(Dump.open(make_arm(tmp_path, arm, evaluated=False, log=False))) for name, arm in arms.items()
    }
    roles = "all-distinct repeated repeated repeated diverse narrow fraction other other".split()
    assert [design.role for design in designs.values()] == roles
    assert main_repeated(designs.items()) == "d"  # identical masks are a variant
    assert diversity_arms(designs.items()) == {"repeated": "b", "diverse": "e", "narrow": "f"}
    assert designs["c"].words == "random pool, 16 times, identical masks"


def test_a_run_without_sampling_gives_one_line(synthetic):
    with pytest.raises(DumpError, match="did not sample; train it with --sample-pool") as error:
        read_design(Dump.open(synthetic.path))
    assert "\n" not in str(error.value)


def test_arms_that_do_not_match_are_not_compared(tmp_path):
    make_arm(tmp_path, DISTINCT)
    other = make_arm(tmp_path, REPEATED)
    root = zarr.open_group(other / "dump.zarr", mode="r+")
    root.attrs["sampling"] = {**root.attrs["sampling"], "tokens": int(TOKENS * 1.02)}
    result, _ = analyse(tmp_path)
    assert not result.comparisons
    assert "not matched within 1 %" in result.unmatched[0]
    assert "not matched" in result.claims[0].reason


def test_runs_of_another_corpus_or_design_are_left_out(tmp_path):
    make_arm(tmp_path, DISTINCT)
    make_arm(tmp_path, replace(DISTINCT, masks="identical"), 2)
    foreign = zarr.open_group(make_arm(tmp_path, REPEATED) / "dump.zarr", mode="r+")
    foreign.attrs["corpus"] = {**foreign.attrs["corpus"], "train_sha256": "f" * 64}
    regrouped = make_arm(tmp_path, NARROW) / "dump.zarr"
    rows = zarr.open_group(regrouped, mode="r+")[f"tables/{MAIN_TABLE}/rows"]
    rows.attrs["groups"] = [{**group, "name": f"{group['name']} rows"} for group in rows.attrs["groups"]]
    result, missing = analyse(tmp_path)
    assert [(arm.name, len(arm.runs)) for arm in result.arms] == [("all-distinct", 1)]
    listed = " ".join(entry.what for entry in missing)
    assert "E3/narrow/seed1: another corpus, dictionary or frequency groups" in listed
    assert "E3/all-distinct/seed2: another design" in listed
    assert "E3/repeated/seed1: another corpus" in listed


# Partial results and the report


def make_report(folder, *, expect=0):
    assert report.main(["--runs", str(folder), "--out", str(folder / "report")]) == expect
    content = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    return content, (folder / "report" / "index.html").read_text(encoding="utf-8")


def test_the_report_has_a_section_with_figures_tables_and_verdicts(made):
    content, page = make_report(made[0])
    assert "E3: repetition and diversity" in page
    for stem in FIGURES:
        assert f"figures/E3/{stem}.png" in content["figures"]
        assert f"figures/E3/{stem}.png, .pdf" in page
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert 'href="#E3-verdicts"' in page
    assert "E3-verdicts" in ids
    assert {claim["id"]: claim["verdict"] for claim in content["claims"] if claim["id"][:2] == "C3"} == {
        "C3.1": "holds",
        "C3.2": "holds",
    }
    assert "random pool, 16 times" in page
    assert "Effective value of a repeated token" in page
    assert "out of vocabulary" in page
    assert content["experiments"]["E3"]["runs"]["E3/repeated/seed1"]["held_out"]["memorisation"]["value"] > 0.1
    alternatives = re.findall(r'<img [^>]*alt="([^"]*)"', page)
    assert len(alternatives) == len(FIGURES)


def test_runs_that_were_not_evaluated_are_listed_with_the_command(tmp_path):
    make_arm(tmp_path, DISTINCT)
    make_arm(tmp_path, REPEATED, evaluated=False)
    make_arm(tmp_path, NARROW, evaluated=False, finished=False)
    content, page = make_report(tmp_path)
    missing = {entry["what"]: entry["command"] for entry in content["missing"]}
    lacking = {what.partition(":")[0]: command for what, command in missing.items() if "not evaluated" in what}
    assert lacking == {
        "E3/repeated/seed1": f"python -m fairseq_ext.evaluate {tmp_path}/E3/repeated/seed1",
        "E3/narrow/seed1": "bash scripts/run_all.sh --only E3 --profile smoke",
    }
    assert missing["E3: no arm is diverse, which C3.2 needs."] == "bash scripts/run_all.sh --only E3 --profile standard"
    decided = {claim["id"]: claim for claim in content["claims"]}
    assert decided["C3.1"]["verdict"] == "not run"
    assert "no seed that was evaluated in both" in decided["C3.1"]["reason"]
    assert "figures/E3/repetition_loss.png" in content["figures"]
    assert "E3-verdicts" in page


def test_broken_files_take_only_their_own_numbers_away(tmp_path):
    folders = [make_arm(tmp_path, arm) for arm in (DISTINCT, REPEATED, NARROW)]
    (folders[1] / "evaluation.npz").write_bytes(b"PK")
    (folders[0] / "probe.npz").write_text("x")
    (folders[2] / "dump.zarr" / "zarr.json").write_text("{")
    (folders[2] / "log" / "train.log").write_text("")
    content, _ = make_report(tmp_path)
    listed = " | ".join(entry["what"] for entry in content["missing"])
    assert re.search(r"E3/repeated/seed1: \S*evaluation.npz: expected an evaluation", listed)
    assert re.search(r"E3/all-distinct/seed1: \S*probe.npz: expected", listed)
    assert re.search(r"E3/narrow/seed1: \S*dump.zarr: not a dump", listed)
    arms = {row["arm"]: row for row in content["experiments"]["E3"]["arms"]}
    assert arms["all-distinct"]["held_out_loss"] == pytest.approx(6, abs=1e-4)
    assert arms["repeated"]["held_out_loss"] is None
    assert arms["repeated"]["simlex999_raw"] is not None


def test_targets_of_another_dictionary_are_refused(tmp_path):
    folder = make_arm(tmp_path, DISTINCT, evaluated=False)
    write_evaluation(folder, DISTINCT, 1, np.ones(5000, int))
    _, missing = analyse(tmp_path)
    assert any("targets beyond the dump's 420 rows" in entry.what for entry in missing)


def test_an_evaluation_of_other_masks_is_not_paired(tmp_path):
    make_arm(tmp_path, DISTINCT)
    make_arm(tmp_path, REPEATED, mask_seed=5)
    result, missing = analyse(tmp_path)
    assert result.compared("repeated", "all-distinct").share is None
    assert any("other mask_seed" in entry.what for entry in missing)


def test_no_runs_and_no_readable_runs_give_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(lambda: repetition.main([str(tmp_path / "E3"), "--out", str(tmp_path / "out")]))
    assert "expected <arm>/seed<k>/ folders" in stopped.value.code
    assert "\n" not in stopped.value.code
    (tmp_path / "E3" / "x" / "seed1").mkdir(parents=True)
    assert repetition.main([str(tmp_path / "E3"), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    make_report(tmp_path, expect=1)
