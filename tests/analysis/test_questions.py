"""The question modules on a synthetic dump: numbers by brute force, verdicts, partial dumps, the command lines."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic_dump import SyntheticDump, write_synthetic_dump

import common_vector
import compare
import frequency
import isotropy
import learning
from cli import question, run
from dump import Dump, DumpError
from geometry import row_geometry

ANALYSIS = Path(learning.__file__).parent


# Of the synthetic dump of seed 0 at update 40, as first computed by scipy from all pairs.
SPEARMAN_SEEN = -0.6965994452
PEARSON_ALL = -0.8243460455


def by_id(decided: list) -> dict:
    return {claim.id: claim for claim in decided}


def test_learning_equals_the_statistics_of_its_ends(synthetic: SyntheticDump) -> None:
    result = learning.analyse(Dump.open(synthetic.path))
    expected = synthetic.statistics
    assert result.rise.value == pytest.approx(expected["mean_cosine"][40] - expected["mean_cosine"][0], abs=1e-7)
    for end, update in zip(result.ends, (0, 40), strict=True):
        np.testing.assert_allclose(end.means, expected["mean_cosine_group"][update], atol=1e-7)
    groups = [group.name for group in result.groups]
    assert groups == ["zero", "1-9", "10-99", "100+", "unreachable"]
    end = expected["mean_cosine_group"][40]
    assert result.rare_minus_frequent.value == pytest.approx(end[1] - end[3], abs=1e-7)
    # The mean of the rows' mean cosines is the mean pairwise cosine.
    assert result.frequent_minus_all.value == pytest.approx(end[3] - expected["mean_cosine"][40], abs=1e-7)
    shared = expected["update_shared_group"][4:]
    assert result.shared_rare_minus_frequent.value == pytest.approx((shared[:, 1] - shared[:, 3]).mean())
    np.testing.assert_array_equal(result.mean_cosine.values, expected["mean_cosine"])


def test_intervals_hold_the_value_and_are_as_wide_as_the_spread(synthetic: SyntheticDump) -> None:
    result = learning.analyse(Dump.open(synthetic.path))
    for estimate in (result.rise, result.curve_rank, result.frequent_minus_all, result.rare_minus_frequent):
        assert estimate.interval is not None
        assert estimate.interval[0] <= estimate.value <= estimate.interval[1]
    table = Dump.open(synthetic.path).table()
    rows = row_geometry(synthetic.values[40], table)
    spread = [rows.mean_cosine[rows.pool & (table.group == index)] for index in (1, 3)]
    error = math.sqrt(sum(part.var() / len(part) for part in spread))
    low, high = result.rare_minus_frequent.interval
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.15)


def test_frequency_golden_numbers(synthetic: SyntheticDump) -> None:
    """The recorded correlations of the synthetic dump of seed 0, as first computed by scipy from all pairs."""
    result = frequency.analyse(Dump.open(synthetic.path))
    for name in frequency.CORRELATIONS:
        assert result.correlations[name].value == pytest.approx(synthetic.statistics[name][40], abs=1e-9)
    assert result.correlations["spearman_seen"].value == pytest.approx(SPEARMAN_SEEN, abs=1e-6)
    assert result.correlations["pearson_all"].value == pytest.approx(PEARSON_ALL, abs=1e-6)
    live = np.linalg.norm(synthetic.values[40], axis=1) > 0
    cosine = result.mean_cosine
    zero = synthetic.counts[synthetic.counted & live] == 0
    assert result.zero_minus_seen.value == pytest.approx(cosine[zero].mean() - cosine[~zero].mean())
    assert len(result.counts) == 590
    earlier = frequency.analyse(Dump.open(synthetic.path), update=4)
    assert earlier.correlations["pearson_seen"].value == pytest.approx(synthetic.statistics["pearson_seen"][4])


def test_common_vector_equals_the_recorded_curves(synthetic: SyntheticDump) -> None:
    result = common_vector.analyse(Dump.open(synthetic.path))
    recorded = synthetic.statistics
    assert result.rise.value == pytest.approx(recorded["common_cosine"][4] - recorded["common_cosine"][0])
    assert result.zero_minimum.value == pytest.approx(recorded["common_cosine_group"][4:, 0].min())
    for estimate in (result.rise, result.zero_minimum):
        assert estimate.interval[0] < estimate.value < estimate.interval[1]


def test_a_drift_that_all_claims_describe_holds(synthetic: SyntheticDump) -> None:
    dump = Dump.open(synthetic.path)
    decided = {}
    for module in (learning, frequency, common_vector):
        decided |= by_id(module.claims([module.analyse(dump)]))
    verdicts = {name: claim.verdict for name, claim in decided.items()}
    assert verdicts.pop("C4.2") == "inconclusive"  # 40 updates are too few to tell
    assert "32 needed" in decided["C4.2"].reason
    assert verdicts == dict.fromkeys(("C1.1", "C1.2", "C1.3", "C2.1", "C2.2", "C2.3", "C4.1", "C4.3"), "holds")
    for claim in decided.values():
        assert "one seed" in claim.reason
        assert "experiment:E1|arm:base|seed:1|update:40" in claim.signature
        json.dumps(claim.to_json(), allow_nan=False)


def test_an_untrained_table_holds_nothing(tmp_path: Path) -> None:
    """Only update 0 and one unchanged update: no claim may hold."""
    write_synthetic_dump(tmp_path / "dump.zarr", rows=300, updates=0)
    dump = Dump.open(tmp_path)
    for module in (learning, frequency, common_vector):
        for claim in module.claims([module.analyse(dump)]):
            assert claim.verdict in ("inconclusive", "does not hold"), claim
            json.dumps(claim.to_json(), allow_nan=False)


def test_three_seeds_are_combined_over_seeds(tmp_path: Path) -> None:
    results = []
    for seed in (1, 2, 3):
        path = tmp_path / "E1" / "base" / f"seed{seed}" / "dump.zarr"
        write_synthetic_dump(path, rows=300, updates=12, seed=seed)
        results.append(learning.analyse(Dump.open(path)))
    claim = by_id(learning.claims(results))["C1.1"]
    assert (claim.seeds, claim.interval_over) == (3, "seeds")
    assert claim.value == pytest.approx(np.mean([result.rise.value for result in results]))
    assert "|seed:1,2,3|" in claim.signature
    assert len(learning.figures(results, tmp_path / "out")) == 6


@pytest.mark.parametrize("module", [learning, frequency, common_vector])
def test_without_runs_nothing_was_run(module) -> None:
    assert {claim.verdict for claim in module.claims([])} == {"not run"}


@pytest.mark.parametrize("module", [learning, frequency, common_vector, isotropy])
def test_snapshots_alone_are_enough(module, tmp_path: Path) -> None:
    """Curves are then computed of the snapshots, and equal what the recording would have held."""
    written = write_synthetic_dump(tmp_path / "a.zarr", rows=200, updates=20)
    write_synthetic_dump(tmp_path / "b.zarr", rows=200, updates=20, streams=("snapshots",))
    with_statistics, without = (module.analyse(Dump.open(tmp_path / name)) for name in ("a.zarr", "b.zarr"))
    assert module.figures([without], tmp_path / "out")
    module.claims([without])
    module.summary(without)
    if module is learning:
        np.testing.assert_array_equal(without.mean_cosine.updates, written.snapshot_updates)
        at = written.snapshot_updates
        np.testing.assert_allclose(without.mean_cosine.values, with_statistics.mean_cosine.values[at], atol=1e-7)
        assert by_id(module.claims([without]))["C1.3"].verdict == "inconclusive"  # no movement was recorded


def test_statistics_alone_give_values_without_intervals(tmp_path: Path) -> None:
    write_synthetic_dump(tmp_path / "dump.zarr", rows=200, updates=20, streams=("statistics",))
    dump = Dump.open(tmp_path)
    for module in (learning, common_vector):
        result = module.analyse(dump)
        assert module.figures([result], tmp_path / "out")
        decided = by_id(module.claims([result]))
        assert decided.get("C1.2", decided.get("C4.1")).verdict == "inconclusive"
    for module in (frequency, isotropy):
        with pytest.raises(DumpError, match="no snapshots"):
            module.analyse(dump)


def test_a_vocabulary_without_zero_count_tokens_leaves_those_claims_open(tmp_path: Path) -> None:
    import zarr

    written = write_synthetic_dump(tmp_path / "dump.zarr", rows=200, updates=20)
    rows = zarr.open_group(tmp_path / "dump.zarr", mode="r+")[f"tables/{Dump.open(tmp_path).tables[0]}/rows"]
    counts = np.where(written.group == 0, 1, written.counts)
    rows["count"][:] = counts
    rows["group"][:] = np.where(written.group == 0, 1, written.group)
    groups = [dict(group) for group in written.groups]
    groups[1]["rows"] += groups[0]["rows"]
    groups[0]["rows"] = 0
    rows.attrs["groups"] = groups
    dump = Dump.open(tmp_path)
    claims = by_id([*frequency.claims([frequency.analyse(dump)]), *common_vector.claims([common_vector.analyse(dump)])])
    for name in ("C2.3", "C4.3"):
        assert claims[name].verdict == "inconclusive"
        assert "no zero-count token" in claims[name].reason


def test_comparing_a_dump_with_itself_finds_no_difference(synthetic: SyntheticDump, tmp_path: Path) -> None:
    dump = Dump.open(synthetic.path)
    result = compare.compare(dump, dump)
    assert result.row_correlation == pytest.approx(1)
    for entry in [*result.statistics, *result.mean_cosine_group]:
        assert entry.first == entry.second
        if entry.difference is not None:
            assert (entry.difference.value, entry.difference.interval) == (0, (0, 0))
    assert len(compare.figures(result, tmp_path)) == 4


def test_comparing_different_runs_gives_second_minus_first(tmp_path: Path) -> None:
    written = [write_synthetic_dump(tmp_path / f"{seed}.zarr", rows=200, updates=9, seed=seed) for seed in (0, 1)]
    result = compare.compare(*(Dump.open(entry.path) for entry in written))
    assert result.update == 9
    found = {entry.name: entry for entry in result.statistics}["mean_cosine"]
    expected = [entry.statistics["mean_cosine"][9] for entry in written]
    assert (found.first, found.second) == pytest.approx(tuple(expected))
    assert found.difference.value == pytest.approx(expected[1] - expected[0])
    assert found.difference.interval[0] < found.difference.value < found.difference.interval[1]


def test_other_vocabularies_and_updates_are_refused(tmp_path: Path) -> None:
    for name, options in {"a": {}, "rows": {"rows": 160}, "no": {"streams": ("statistics",)}}.items():
        write_synthetic_dump(tmp_path / f"{name}.zarr", **({"rows": 150, "updates": 3} | options))
    write_synthetic_dump(tmp_path / "words.zarr", rows=150, updates=3)
    tokens = next((tmp_path / "words.zarr" / "tables").iterdir()) / "tokens.json"
    tokens.write_text(tokens.read_text().replace(" red", " rot"))
    first = Dump.open(tmp_path / "a.zarr")
    for name, words in (("rows", "160 rows, but 150"), ("words", "1 rows differ"), ("no", "no update of which both")):
        with pytest.raises(DumpError, match=words):
            compare.compare(first, Dump.open(tmp_path / f"{name}.zarr"))


def call(script: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ANALYSIS / script), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_command_line_writes_figures_and_numbers_from_any_folder(synthetic: SyntheticDump, tmp_path: Path) -> None:
    done = call("frequency.py", synthetic.path.parent, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "C2.2 holds" in done.stdout
    names = {path.name for path in (tmp_path / "out").iterdir()}
    figures = {f"frequency_{name}.{kind}" for name in ("cosine", "correlation") for kind in ("png", "pdf")}
    assert names == {*figures, "frequency.json"}
    content = json.loads((tmp_path / "out" / "frequency.json").read_text())
    assert [claim["id"] for claim in content["claims"]] == ["C2.1", "C2.2", "C2.3"]
    assert content["results"][0]["update"] == 40
    assert "mean_cosine" not in content["results"][0]


@pytest.mark.parametrize(
    ("module", "arguments", "words"),
    [
        (learning, ["absent", "--out", "out"], "expected a dump folder"),
        (common_vector, ["{dump}", "--out", "out", "--table", "lm_head"], "no table 'lm_head'"),
        (frequency, ["{dump}", "--out", "out", "--update", "3"], "no snapshot of update 3"),
        (isotropy, ["{dump}", "--out", "file", "--snapshots", "1"], "file"),
    ],
)
def test_bad_input_ends_in_one_line(
    synthetic: SyntheticDump,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("not a folder")
    given = [text.format(dump=synthetic.path) for text in arguments]
    with pytest.raises(SystemExit) as stopped:
        run(lambda: question(module, "name", given))
    line = stopped.value.code  # Python prints a text to stderr and exits with 1
    assert isinstance(line, str)
    assert line.startswith("error: ")
    assert "\n" not in line
    assert words in line
    assert not Path("out").exists()


def test_an_error_of_the_command_line_has_no_traceback(synthetic: SyntheticDump, tmp_path: Path) -> None:
    done = call("compare.py", synthetic.path, "absent", "--out", "out", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == "error: absent: expected a dump folder (dump.zarr), found nothing; give the path of a run's dump\n"
    )
