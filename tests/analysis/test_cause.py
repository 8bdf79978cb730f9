"""E5 on synthetic runs: planted parts of the drift come back, what is missing is named, arms are known by their configuration."""

from __future__ import annotations

import json
import math
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import matplotlib.pyplot as plt
import numpy as np
import pytest
import zarr
from cause_runs import ARMS, EVERY, OUTPUT_TABLE, UPDATES, Arm, make_arm, make_arms
from scipy import stats
from synthetic_dump import MAIN_TABLE

import cause
import cause_mechanisms
import cause_ratio
import isotropy
import report
from captions import CAPTIONS
from cause_design import CauseDesign, read_design
from cause_drawing import mean_band
from cause_isotropy import isotropy_words
from cause_mechanisms import record_weights
from cause_setting import differing, read_setting
from cause_streams import read_cause
from cli import run
from curves import Curve
from dump import Dump, DumpError
from evidence import Evidence, SnapshotCache
from runs import find_runs

ADAM, COUPLED, SGD = ARMS[0], ARMS[1], ARMS[3]


def analyse(folder):
    runs = [entry for entry in find_runs(folder) if entry.experiment == "E5"]
    with ThreadPoolExecutor(1) as beside:
        evidence = Evidence("E5", runs, folder / "figures", SnapshotCache(), beside)
        return cause.analyse(evidence), evidence.missing


def verdicts(result):
    return {claim.id: claim.verdict for claim in result.claims}


def reason(result, name):
    return next(claim.reason for claim in result.claims if claim.id == name)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Ten arms of one seed: (folder, result, missing)."""
    folder = tmp_path_factory.mktemp("cause")
    make_arms(folder)
    return folder, *analyse(folder)


@pytest.fixture
def undrawn(monkeypatch):
    """No figures, for tests of what is decided and listed."""
    monkeypatch.setattr("cause_figures.figures", lambda *_: [])


@pytest.fixture
def unsaved(monkeypatch):
    """Figures are drawn and not written, which takes most of their time."""

    def close(figure, out, name):
        plt.close(figure)
        return [out / f"{name}.png"]

    for module in ("cause_figures", "cause_mechanism_figures", "cause_second_moment", "cause_isotropy"):
        monkeypatch.setattr(f"{module}.save", close)


@pytest.fixture
def wordless(monkeypatch):
    """Without word similarity, whose resampling takes most of the time."""
    monkeypatch.setattr("similarity.analyse", lambda *_, **__: None)


# Mechanisms


def test_planted_parts_of_the_drift_come_back_exactly(made):
    _, result, missing = made
    assert not missing
    for name, place in (("adam", "tied"), ("adam-untied", "output")):
        split = result.arm(name).runs[0].tables[place].mechanisms
        assert split.shares == pytest.approx({"second_moment": 0.7, "coupled": 0.2, "decay": 0.1}, abs=1e-4)
        assert split.pushes == pytest.approx({"input": 0.25, "positive": -0.15, "negative": 0.9}, abs=1e-5)
        assert split.push_total == pytest.approx(1.4, abs=1e-3)
        assert abs(split.unexplained) < 1e-4
        assert sum(split.along.values()) == pytest.approx(split.drift.ratio, rel=1e-3)
        assert (split.records, split.every) == (UPDATES // EVERY, EVERY)
    nodecay = result.arm("nodecay").runs[0].main.mechanisms
    assert nodecay.shares["decay"] == pytest.approx(0, abs=1e-6)


def test_a_table_without_drift_has_no_shares_and_says_so(made):
    for name in ("sgd", "centred", "coupled"):
        split = made[1].arm(name).runs[0].main.mechanisms
        assert all(math.isnan(share) for share in [*split.shares.values(), *split.pushes.values(), split.unexplained])
        assert "no drift to account for" in split.reason
        assert not split.drift.drifted


def test_rare_rows_go_further_along_the_common_vector(made):
    run_ = made[1].arm("adam").runs[0]
    path = run_.main.mechanisms.group_path
    names = [group.name for group in run_.groups]
    assert (
        path[names.index("zero")]
        > path[names.index("1-9")]
        > path[names.index("10-99")]
        > path[names.index("100+")]
        > 0
    )
    assert np.all(run_.main.mechanisms.own < 1)


def test_the_drift_is_that_of_all_rows_beside_the_common_vector(tmp_path):
    written = make_arm(tmp_path, ADAM)
    dump = Dump.open(written.folder)
    found = cause_mechanisms.measure_drift(dump.table())
    np.testing.assert_allclose(found.vector, written.drift[MAIN_TABLE], atol=1e-6)
    values, counted = written.values[MAIN_TABLE].astype(np.float64), dump.table().counted
    common = values[-1][counted].mean(0) - values[0][counted].mean(0)
    assert found.common_length == pytest.approx(np.linalg.norm(common), rel=1e-5)
    cosine = common @ written.drift[MAIN_TABLE] / np.linalg.norm(common) / np.linalg.norm(written.drift[MAIN_TABLE])
    assert found.common_cosine == pytest.approx(cosine, abs=1e-5)
    assert not counted.all()


def test_what_sampling_misses_is_told_as_not_explained(tmp_path, wordless):
    """Steps of the mean vary, every fifth update is recorded: the shares are those of a sum by hand over the records."""
    written = make_arm(tmp_path, ADAM, noise=1.0)
    steps = np.diff(written.values[MAIN_TABLE].astype(np.float64).mean(axis=1), axis=0)
    drift = written.drift[MAIN_TABLE]
    records = np.arange(EVERY, UPDATES + 1, EVERY)
    nearest = [records[np.argmin(np.abs(records - update) - 1e-6 * records)] for update in range(1, UPDATES + 1)]
    explained = sum(steps[record - 1] @ drift for record in nearest) / (drift @ drift)
    result, _ = analyse(tmp_path)
    split = result.arms[0].runs[0].main.mechanisms
    assert abs(1 - explained) > 0.01
    assert split.unexplained == pytest.approx(1 - explained, abs=1e-5)
    assert sum(split.shares.values()) == pytest.approx(explained, abs=1e-5)
    assert split.shares["second_moment"] / explained == pytest.approx(0.7, abs=1e-5)


@pytest.mark.parametrize("updates", [[5, 10, 15, 20], [1, 2, 4, 8, 16], [3], [0, 7, 19, 30], [20]])
def test_each_update_is_stood_for_by_the_nearest_record(updates):
    updates = np.array(updates)
    inside = updates[(updates > 0) & (updates <= 20)]
    expected = dict.fromkeys(updates.tolist(), 0)
    for update in range(1, 21):
        best = min(inside, key=lambda known: (abs(known - update), -known))
        expected[int(best)] += 1
    assert record_weights(updates, 0, 20).tolist() == list(expected.values())
    assert record_weights(updates, 0, 20).sum() == 20


def test_records_that_lie_beyond_the_snapshots_explain_nothing(tmp_path, wordless):
    written = make_arm(tmp_path, ADAM)
    stream = zarr.open_group(written.folder / "dump.zarr", mode="r+")[f"tables/{MAIN_TABLE}/cause/update"]
    stream[:] = stream[:] + UPDATES
    result, missing = analyse(tmp_path)
    assert result.arms[0].runs[0].main.mechanisms is None
    assert any("no record of the stream cause lies after update 0" in entry.what for entry in missing)


# The ratio r


def test_the_interval_of_r_is_as_wide_as_the_spread_of_other_tokens():
    """Against many tables drawn anew from the same distribution."""
    rng = np.random.default_rng(0)
    found, halves = [], []
    for _ in range(200):
        rows = rng.normal(size=(300, 8)) + 0.6
        norms = np.linalg.norm(rows, axis=1)
        mean = rows.mean(axis=0)
        ratio = np.linalg.norm(mean) / norms.mean()
        parts = (rows @ mean / np.linalg.norm(mean) - ratio * norms) / norms.mean()
        found.append(ratio)
        estimate = cause_ratio.about(ratio, parts)
        halves.append((estimate.interval[1] - estimate.interval[0]) / 2)
    assert np.mean(halves) == pytest.approx(1.96 * np.std(found), rel=0.1)


def test_r_and_its_curve_are_the_recorded_ones(made):
    folder, result, _ = made
    table = result.arm("adam").runs[0].main
    dump = Dump.open(folder / "E5" / "adam" / "seed1").table()
    values = dump.snapshot(UPDATES)[dump.counted].astype(np.float64)
    expected = np.linalg.norm(values.mean(0)) / np.linalg.norm(values, axis=1).mean()
    assert table.end.value == pytest.approx(expected, rel=1e-6)
    assert table.ratio.updates.tolist() == list(range(UPDATES + 1))
    assert np.nanmean(table.parts) == pytest.approx(0, abs=1e-6)
    for place in range(0, len(values), 40):  # the jackknife: what leaving a row out takes away
        rest = np.delete(values, place, axis=0)
        without = np.linalg.norm(rest.mean(0)) / np.linalg.norm(rest, axis=1).mean()
        part = table.parts[dump.counted_rows[place]]
        assert (expected - without) * (len(values) - 1) == pytest.approx(part, abs=0.02)
    assert made[1].arm("sgd").runs[0].main.end.interval[0] >= 0


def test_r_is_never_that_of_an_earlier_update(tmp_path, wordless):
    """Where the statistics end early, the last snapshot tells."""
    written = make_arm(tmp_path, ADAM)
    group = zarr.open_group(written.folder / "dump.zarr", mode="r+")[f"tables/{MAIN_TABLE}/statistics"]
    for _, array in group.arrays():
        if array.shape[0] == UPDATES + 1:
            array.resize((UPDATES // 2, *array.shape[1:]))
    result, missing = analyse(tmp_path)
    found = result.arm("adam").runs[0].main
    values = written.values[MAIN_TABLE][-1][Dump.open(written.folder / "dump.zarr").table().counted].astype(np.float64)
    assert found.end.value == pytest.approx(np.linalg.norm(values.mean(0)) / np.linalg.norm(values, axis=1).mean())
    assert found.ratio.updates[-1] == UPDATES // 2 - 1
    assert not missing


def test_a_run_of_which_the_output_table_alone_was_recorded(tmp_path, wordless, unsaved):
    written = make_arm(tmp_path, ARMS[8])
    make_arm(tmp_path, ADAM)
    shutil.rmtree(written.folder / "dump.zarr" / "tables" / MAIN_TABLE)
    root = zarr.open_group(written.folder / "dump.zarr", mode="r+")
    root.attrs["tables"] = [OUTPUT_TABLE]
    result, missing = analyse(tmp_path)
    assert list(result.arm("adam-untied").runs[0].tables) == ["output"]
    assert verdicts(result)["D1"] == "holds"
    assert [entry.what for entry in missing] == [
        "E5/adam-untied/seed1: the tables are untied, and the dump holds no input table; record it (--record-tables)."
    ]
    assert cause.figures(result, tmp_path / "out")


def test_isotropy_equals_that_of_the_question_module(made):
    folder, result, _ = made
    for name, place, table in (("adam", "tied", MAIN_TABLE), ("adam-untied", "output", OUTPUT_TABLE)):
        found = result.arm(name).runs[0].tables[place].isotropy_end
        expected = isotropy.snapshot_isotropy(Dump.open(folder / "E5" / name / "seed1").table(table), UPDATES).variants
        assert found["isoscore"] == pytest.approx(expected["raw"].isoscore, abs=1e-5)
        assert found["mean_cosine"] == pytest.approx(expected["raw"].mean_cosine, abs=1e-6)
        assert found["mean_cosine_centred"] == pytest.approx(expected["centred"].mean_cosine, abs=1e-6)


# Verdicts on whole runs


def test_planted_arms_give_their_verdicts(made):
    result = made[1]
    assert verdicts(result) == dict.fromkeys(("D1", "D2", "D3", "D4", "D5", "D6"), "holds")
    claims = {claim.id: claim for claim in result.claims}
    assert [claims[name].study for name in claims] == [None, 0.85, 0.03, None, 0.52, None]
    assert claims["D1"].value == pytest.approx(1e-7, rel=0.3)
    assert claims["D1"].interval_over == claims["D2"].interval_over == "updates"
    assert claims["D3"].interval_over == "tokens"
    assert claims["D4"].interval_over == "examples"
    assert "validation loss adam 9.05 bits (unigram entropy 9.50)" in claims["D2"].reason
    assert "SimLex-999 centred" in claims["D5"].reason
    assert "one seed" in claims["D6"].reason


def test_three_seeds_are_judged_over_seeds(tmp_path, unsaved, wordless):
    make_arms(tmp_path, (ADAM, COUPLED, SGD), (1, 2, 3), noise=0.2)
    result, _ = analyse(tmp_path)
    claims = {claim.id: claim for claim in result.claims}
    assert verdicts(result)["D3"] == "holds"
    assert (claims["D3"].interval_over, claims["D3"].seeds) == ("seeds", 3)
    values = [entry.main.end.value for entry in result.arm("coupled").runs]
    half = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / math.sqrt(3)
    assert claims["D3"].interval == pytest.approx((np.mean(values) - half, np.mean(values) + half))
    curves = [entry.main.ratio for entry in result.arm("adam").runs]
    mean, low, high = mean_band(curves)
    at_end = [curve.values[-1] for curve in curves]
    assert mean.values[-1] == pytest.approx(np.mean(at_end))
    width = stats.t.ppf(0.975, 2) * np.std(at_end, ddof=1) / math.sqrt(3)
    assert (high[-1] - low[-1]) / 2 == pytest.approx(width)
    assert len(cause.figures(result, tmp_path / "out")) == 11  # all but word similarity


def test_bands_are_of_the_updates_that_all_seeds_have():
    curves = [
        Curve(np.array(updates), np.arange(3.0) + seed)
        for seed, updates in enumerate(([0, 1, 2], [1, 2, 3], [1, 2, 4]))
    ]
    assert mean_band(curves)[0].updates.tolist() == [1, 2]


# Arms


def test_arms_are_known_by_their_configuration_and_not_by_their_folders(tmp_path, wordless):
    for name, arm in (("x", "gating"), ("adam", "coupled"), ("coupled", "adam")):
        make_arm(tmp_path, Arm(arm, name=name, streams=("snapshots", "statistics")), evaluated=False)
    make_arm(tmp_path, Arm("adam", False, name="y", streams=("snapshots", "statistics")), evaluated=False)
    result, _ = analyse(tmp_path)
    designs = {arm.name: arm.design for arm in result.arms}
    assert designs == {
        "x": CauseDesign("gating", True),
        "adam": CauseDesign("coupled", True),
        "coupled": CauseDesign("adam", True),
        "y": CauseDesign("adam", False),
    }
    assert [arm.name for arm in result.arms] == ["coupled", "adam", "x", "y"]
    assert result.arm_of("adam", True).name == "coupled"


def test_a_design_follows_from_the_options(tmp_path):
    written = make_arm(tmp_path, Arm("adam", streams=("statistics",)), evaluated=False)
    root = zarr.open_group(written.folder / "dump.zarr", mode="r+")
    cases = [
        ({"_name": "adam"}, {"_name": "masked_lm"}, "adam"),
        ({"_name": "fused_adam"}, {"_name": "remedied_masked_lm", "cosine_regularization": 0.0}, "adam"),
        ({"_name": "fused_adam"}, {"cosine_regularization": 1.0, "gradient_gating": True}, "other"),
        ({"_name": "coupled_adam"}, {"gradient_gating": True}, "other"),
        ({"_name": "coupled_adam", "embedding_lr_scale": 2.0}, {}, "other"),
        ({"_name": "coupled_adam", "embedding_tables": "encoder.*"}, {}, "other"),
        ({"_name": "embedding_sgd", "embedding_lr_scale": 200.0}, {}, "sgd"),
        ({"_name": "embedding_sgd", "embedding_momentum": "0.9", "embedding_weight_decay": 0}, {}, "sgd"),
        ({"_name": "embedding_sgd", "embedding_momentum": 0.0}, {}, "other"),
        ({"_name": "embedding_sgd", "embedding_weight_decay": 0.5}, {}, "other"),
        ({"_name": "fused_adam"}, {"cosine_regularization": 1.0}, "cosine"),
        ({"_name": "fused_adam"}, {"cosine_regularization": 1e-6}, "other"),
        ({"_name": "fused_adam"}, {"gradient_gating": True, "gating_threshold": 0.03, "gating_memory": 50}, "gating"),
        ({"_name": "fused_adam"}, {"gradient_gating": True, "gating_threshold": 1e-9}, "other"),
        ({"_name": "nag"}, {}, "other"),
        ({}, {}, "other"),
    ]
    for optimizer, criterion, rule in cases:
        root.attrs["config"] = {"optimizer": optimizer, "criterion": criterion, "model": {}}
        assert read_design(Dump.open(written.folder)) == CauseDesign(rule, True), (optimizer, criterion)
    root.attrs["config"] = {"optimizer": {"_name": "adam"}, "model": {"untie_weights_roberta": True}}
    assert read_design(Dump.open(written.folder)).name == "adam-untied"
    root.attrs["config"] = None
    assert read_design(Dump.open(written.folder)) == CauseDesign("other", True)


def test_a_users_own_arm_is_shown_and_decides_nothing(tmp_path, wordless, undrawn):
    make_arms(tmp_path, (ADAM, COUPLED))
    before = verdicts(analyse(tmp_path)[0])
    make_arm(tmp_path, Arm("mine", name="<mine>", drift=0.5))
    make_arm(tmp_path, Arm("adam", name="again", drift=0.0))
    make_arm(tmp_path, Arm("mine", name="no config"), lose_config=True)
    result, _ = analyse(tmp_path)
    assert verdicts(result) == before
    assert result.arm_of("adam", True).name == "adam"
    assert {arm.name for arm in result.arms} == {"adam", "again", "coupled", "<mine>", "no config"}
    content, page = make_report(tmp_path)
    assert {row["arm"] for row in content["experiments"]["E5"]["arms"]} == {arm.name for arm in result.arms}
    assert "<mine>" not in page
    assert "&lt;mine&gt;" in page


def test_a_seed_of_another_design_and_a_run_of_another_corpus_are_left_out(tmp_path, wordless):
    make_arm(tmp_path, ADAM)
    make_arm(tmp_path, Arm("gating", name="adam"), 2)
    foreign = make_arm(tmp_path, COUPLED)
    root = zarr.open_group(foreign.folder / "dump.zarr", mode="r+")
    root.attrs["corpus"] = {**root.attrs["corpus"], "train_sha256": "f" * 64}
    result, missing = analyse(tmp_path)
    assert [(arm.name, [entry.seed for entry in arm.runs]) for arm in result.arms] == [("adam", [1])]
    listed = " ".join(entry.what for entry in missing)
    assert "E5/adam/seed2: Adam, gradient gating, tied, but seed 1 of its arm is Adam, tied" in listed
    assert "E5/coupled/seed1: another corpus" in listed


def test_arms_of_unequal_length_decide_nothing_together(tmp_path, wordless):
    make_arm(tmp_path, ADAM)
    make_arm(tmp_path, COUPLED, updates=100)
    make_arm(tmp_path, SGD)
    result, _ = analyse(tmp_path)
    assert verdicts(result)["D3"] == verdicts(result)["D4"] == verdicts(result)["D5"] == "not run"
    assert "not trained for equally many updates (within 1 %): coupled 100, sgd 120, adam 120" in reason(result, "D3")
    assert verdicts(result)["D2"] == "holds"
    assert ("coupled", "adam") not in result.comparisons


def configure(folder, **sections):
    """Give a run's configuration further options, by section."""
    root = zarr.open_group(folder / "dump.zarr", mode="r+")
    config = root.attrs["config"]
    root.attrs["config"] = config | {name: config.get(name, {}) | options for name, options in sections.items()}


def test_arms_of_other_options_are_not_compared(tmp_path, wordless):
    for arm, lr, betas in ((ADAM, [1e-3], "(0.9, 0.98)"), (COUPLED, 0.001, [0.9, 0.98]), (SGD, [1e-6], "(0.9,0.98)")):
        written = make_arm(tmp_path, arm)
        common = {
            "common": {"seed": 5, "amp": False},
            "task": {"record_dir": arm.rule, "sample_tokens_per_update": 512},
        }
        configure(written.folder, optimization={"lr": lr}, optimizer={"adam_betas": betas}, **common)
    result, _ = analyse(tmp_path)
    words = "the arms differ in more than the rule of the tables: lr sgd 1e-06, adam 0.001"
    assert result.unmatched == [words]
    assert set(result.comparisons) == {("coupled", "adam")}
    assert verdicts(result)["D3"] == verdicts(result)["D4"] == "not run"
    assert "lr coupled 0.001, sgd 1e-06, adam 0.001" in reason(result, "D3")
    assert verdicts(result)["D2"] == "holds"


@pytest.mark.parametrize(
    ("section", "option", "value", "is_shared"),
    [
        ("model", "encoder_layers", 3, True),
        ("model", "dropout", 0.2, True),
        ("model", "untie_weights_roberta", True, False),
        ("model", "save_dir", "x", False),
        ("task", "sample_tokens_per_update", 64, True),
        ("task", "record_cause", "every:7", False),
        ("task", "autocast_used", "bf16", True),
        ("optimizer", "weight_decay", 0.0, True),
        ("optimizer", "embedding_lr_scale", 7.0, False),
        ("lr_scheduler", "warmup_updates", 5, True),
        ("dataset", "batch_size", 16, True),
        ("dataset", "num_workers", 3, False),
        ("optimization", "update_freq", [4], True),
        ("distributed_training", "distributed_world_size", 2, True),
        ("common", "seed", 9, False),
    ],
)
def test_what_arms_must_share(tmp_path, section, option, value, is_shared):
    written = make_arm(tmp_path, Arm("adam", streams=("statistics",)), evaluated=False)
    configure(written.folder, **{section: {option: 1}})
    one = read_setting(Dump.open(written.folder))
    configure(written.folder, **{section: {option: value}})
    other = read_setting(Dump.open(written.folder))
    assert bool(differing({"a": one, "b": other})) == is_shared
    assert not differing({"a": one, "b": {}})  # of a version that did not write it


def test_a_copy_is_no_further_seed_and_a_seed_of_other_options_no_seed(tmp_path, wordless):
    make_arm(tmp_path, ADAM)
    for seed in (1, 2):
        configure(make_arm(tmp_path, COUPLED, seed).folder, optimization={"lr": [seed]})
    for name in ("copy/seed1", "coupled/seed3"):  # beside it, and as another seed
        shutil.copytree(tmp_path / "E5" / "coupled" / "seed1", tmp_path / "E5" / name)
    for seed, factor in ((1, 200.0), (2, 600.0)):
        configure(make_arm(tmp_path, SGD, seed).folder, optimizer={"embedding_lr_scale": factor})
    result, missing = analyse(tmp_path)
    assert [entry.seed for entry in result.arm("coupled").runs] == [1]
    assert [entry.seed for entry in result.arm("sgd").runs] == [1]
    listed = " ".join(entry.what for entry in missing)
    assert listed.count("its arm has a run of seed 1 already (E5/coupled/seed1); a copy is no further seed") == 2
    assert (
        "E5/sgd/seed2: it differs from another seed of its arm in embedding_lr_scale seed 1 200, seed 2 600" in listed
    )
    assert "E5/coupled/seed2: it differs from another seed of its arm in lr seed 1 1, seed 2 2" in listed


# What is missing


def test_missing_arms_give_not_run_with_the_reason_and_the_command(tmp_path, undrawn):
    make_arms(tmp_path, (ADAM, COUPLED))
    content, _ = make_report(tmp_path)
    claims = {claim["id"]: claim for claim in content["claims"]}
    command = "bash scripts/run_all.sh --only E5 --profile standard"
    for name, absent in (
        ("D1", "adam-untied"),
        ("D3", "sgd"),
        ("D4", "sgd"),
        ("D6", "adam-untied and no arm coupled-untied"),
    ):
        assert claims[name]["verdict"] == "not run"
        assert f"E5 has no arm {absent}" in claims[name]["reason"]
        assert command in claims[name]["reason"]
    assert "measured all the same: r, Coupled Adam, tied +0.01" in claims["D3"]["reason"]
    assert (claims["D2"]["verdict"], claims["D5"]["verdict"]) == ("holds", "holds")
    commands = {entry["what"]: entry["command"] for entry in content["missing"]}
    assert commands["E5: no arm is SGD on the tables, tied, which D3 and D4 need."] == command


def test_runs_without_the_streams_still_decide_what_needs_none(tmp_path, wordless, unsaved):
    for arm in (ADAM, COUPLED, SGD):
        make_arm(tmp_path, Arm(arm.rule, drift=arm.drift, streams=("snapshots", "statistics")))
    result, missing = analyse(tmp_path)
    assert verdicts(result)["D3"] == "holds"
    assert verdicts(result)["D2"] == "not run"
    assert "no seed of adam has a recorded stream cause" in reason(result, "D2")
    assert sum("no stream cause" in entry.what for entry in missing) == 3
    assert cause.figures(result, tmp_path / "out")
    make_arm(tmp_path, Arm("adam", drift=1.3, streams=("statistics", "cause")), 2)
    result, _ = analyse(tmp_path)
    assert result.arm("adam").run(2).main.mechanisms is None
    assert result.arm("adam").run(2).main.end.interval is None
    assert verdicts(result)["D2"] == "holds"


def test_unknown_roles_take_only_the_roles_away(tmp_path, wordless, unsaved):
    arms = [Arm("adam", tied, drift=1.3, output_drift=1.3, pushes=None) for tied in (True, False)]
    make_arms(tmp_path, tuple(arms))
    result, _ = analyse(tmp_path)
    split = result.arm("adam").runs[0].main.mechanisms
    assert split.shares["second_moment"] == pytest.approx(0.7, abs=1e-4)
    assert all(math.isnan(share) for share in split.pushes.values())
    assert "roles of the rows are not known" in split.reason
    assert verdicts(result)["D1"] == "not run"
    assert "with the roles of the rows" in reason(result, "D1")
    stems = {path.stem for path in cause.figures(result, tmp_path / "out")}
    assert "cause_mechanisms" in stems
    assert not stems & {"cause_roles", "cause_zero_sum", "cause_gradients"}


@pytest.mark.parametrize("name", ["update_mean", "second_moment_r2", "update_own_group"])
def test_a_truncated_stream_is_listed_and_the_rest_is_reported(tmp_path, wordless, name):
    written = make_arm(tmp_path, ADAM)
    make_arm(tmp_path, COUPLED)
    array = zarr.open_group(written.folder / "dump.zarr", mode="r+")[f"tables/{MAIN_TABLE}/cause/{name}"]
    array.resize((10, *array.shape[1:]))
    with pytest.raises(DumpError, match=f"cause/{name} has the shape") as error:
        read_cause(Dump.open(written.folder).table())
    assert "\n" not in str(error.value)
    result, missing = analyse(tmp_path)
    assert any("E5/adam/seed1" in entry.what and f"cause/{name}" in entry.what for entry in missing)
    assert not any("no stream cause" in entry.what for entry in missing)
    assert result.arm("adam").runs[0].main.cause is None
    assert result.arm("coupled").runs[0].main.cause is not None
    assert result.arm("adam").runs[0].main.end.value > 0.5


def test_another_optimisers_state_takes_only_the_split_away(tmp_path, wordless, unsaved):
    written = make_arm(tmp_path, Arm("mine", drift=1.3))
    stream = zarr.open_group(written.folder / "dump.zarr", mode="r+")[f"tables/{MAIN_TABLE}/cause"]
    for name in ("update_coupled", "update_decay", "push_input", "push_positive", "push_negative", "second_moment_r2"):
        stream[name][:] = np.nan
    result, missing = analyse(tmp_path)
    split = result.arm("mine").runs[0].main.mechanisms
    assert all(math.isnan(share) for share in split.shares.values())
    assert "the optimiser's state is not known" in split.reason
    assert split.drift.drifted
    assert np.isfinite(split.group_path[:4]).all()
    assert not missing
    assert cause.figures(result, tmp_path / "out")


def test_values_that_are_not_finite_are_refused_where_every_run_has_them(tmp_path):
    written = make_arm(tmp_path, ADAM)
    array = zarr.open_group(written.folder / "dump.zarr", mode="r+")[f"tables/{MAIN_TABLE}/cause/update_mean"]
    array[3] = np.nan
    with pytest.raises(DumpError, match="update_mean lacks the value of update 20"):
        read_cause(Dump.open(written.folder).table())


def test_an_untied_run_without_its_output_table_is_named(tmp_path, wordless, unsaved):
    written = make_arm(tmp_path, ARMS[8])
    root = zarr.open_group(written.folder / "dump.zarr", mode="r+")
    root.attrs["tables"] = [MAIN_TABLE]
    make_arm(tmp_path, ARMS[9])
    result, missing = analyse(tmp_path)
    assert any(
        "E5/adam-untied/seed1: the tables are untied, and the dump holds no output table" in entry.what
        for entry in missing
    )
    assert verdicts(result)["D6"] == "not run"
    assert cause.figures(result, tmp_path / "out")


def test_runs_that_were_not_evaluated_are_listed_with_the_command(tmp_path):
    make_arms(tmp_path, (ADAM, COUPLED), evaluated=False)
    result, missing = analyse(tmp_path)
    assert result.comparisons["coupled", "adam"].share is None
    assert verdicts(result)["D5"] == "holds"
    commands = [entry.command for entry in missing if "not evaluated" in entry.what]
    assert commands == [f"python -m fairseq_ext.evaluate {tmp_path}/E5/{name}/seed1" for name in ("adam", "coupled")]


# Is more isotropic better


def test_isotropy_is_told_in_words_without_a_verdict(made):
    text = " ".join(isotropy_words(made[1]))
    assert "I-STAR" in text
    assert "no test" in text
    assert re.search(r"Tied: Spearman of IsoScore and loss \(lower is better\) over 8 arms [+-]\d\.\d\d", text)
    assert not re.search("holds|does not hold", text)


def test_too_few_arms_tell_nothing_of_isotropy(tmp_path):
    make_arms(tmp_path, (ADAM, COUPLED))
    assert "cannot be told" in " ".join(isotropy_words(analyse(tmp_path)[0]))


# The report and the command


def make_report(folder, *, expect=0):
    assert report.main(["--runs", str(folder), "--out", str(folder / "report")]) == expect
    content = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    return content, (folder / "report" / "index.html").read_text(encoding="utf-8")


def test_the_report_has_a_section_with_figures_tables_and_verdicts(made, monkeypatch):
    folder, result, _ = made
    monkeypatch.setattr(cause, "analyse", lambda _: result)  # measured once is enough
    content, page = make_report(folder)
    assert "E5: what makes the embedding tables drift" in page
    stems = {name for name in CAPTIONS if name.startswith("cause_")}
    assert {f"figures/E5/{stem}.png" for stem in stems} == {
        name for name in content["figures"] if name.endswith(".png")
    }
    assert (folder / "report" / "figures" / "E5" / "cause_drift.pdf").read_bytes().startswith(b"%PDF")
    assert len(re.findall(r'<img [^>]*alt="([^"]{20,})"', page)) == len(stems)
    claims = {claim["id"]: claim for claim in content["claims"]}
    assert [name for name in claims if name[0] == "D"] == ["D1", "D2", "D3", "D4", "D5", "D6"]
    assert claims["D3"]["source"].startswith("arXiv 2502.08441")
    assert "source" not in claims["C1.1"]
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(ids)
    assert 'href="#E5-mechanisms"' in page
    own = page.index("Claims of this project")
    assert page.index('id="claim-C7.3"') < own < page.index('id="claim-D1"')
    assert "arXiv 2502.08441" in page[own : page.index('id="missing"')]
    assert "arXiv" not in page[:own]
    row = next(row for row in content["experiments"]["E5"]["arms"] if row["arm"] == "adam")
    assert row["share_second_moment"] == pytest.approx(0.7, abs=1e-3)
    assert not [entry for entry in content["missing"] if entry["what"].startswith("E5")]


def test_the_command_writes_tables(tmp_path, capsys, undrawn, wordless):
    make_arms(tmp_path, (ADAM, COUPLED, SGD, ARMS[8]))
    assert cause.main(["--runs", str(tmp_path / "E5"), "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "D3 holds" in shown
    assert "+70.0 %" in shown
    content = json.loads((tmp_path / "out" / "cause.json").read_text(encoding="utf-8"))
    assert len(content["arms"]) == 5
    assert (tmp_path / "out" / "cause.csv").read_text(encoding="utf-8").count("\n") == 6


def test_no_runs_and_no_readable_runs_give_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(lambda: cause.main(["--runs", str(tmp_path / "E5"), "--out", str(tmp_path / "out")]))
    assert "expected <arm>/seed<k>/ folders" in stopped.value.code
    assert "\n" not in stopped.value.code
    (tmp_path / "E5" / "x" / "seed1").mkdir(parents=True)
    assert cause.main(["--runs", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    content, page = make_report(tmp_path, expect=1)
    assert {claim["verdict"] for claim in content["claims"]} == {"not run"}
    assert "No run of this experiment has a recording" in page
