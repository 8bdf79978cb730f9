"""The plan of `run_all.sh --dry-run`: its arithmetic, its lines for every profile, and that the commands stay commands."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments import plan as planning
from experiments import planned_recording, run
from experiments.known_figures import CORPORA, TIMED
from experiments.model_sizes import masked_lm, memory, products, scaled_seconds, translation
from experiments.plan import Planned, corpus_figures, number, planned, size
from experiments.planned_recording import recording
from experiments.profiles import PROFILES
from experiments.script_variables import variables
from experiments.stages import Stage
from fairseq_ext.recording.schedule import Schedule
from fairseq_ext.recording.space import ENCODED
from fairseq_ext.recording.traces import WORDS

ROOT = Path(__file__).resolve().parents[2]
TABLE = 50_265 * 512 * 4  # bytes of the study's table


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def stages(profile: str, folder: Path, *options: str) -> list[Stage]:
    """The profile's training stages, in empty folders."""
    places = ["--runs", str(folder / "runs"), "--data-bin", str(folder / "data"), "--report", str(folder / "report")]
    context = run.make_context(run.parser().parse_args(["--profile", profile, *places, *options]))
    return [stage for stage in run.all_stages(context, run.experiments(None)) if stage.run]


def printed(capsys: pytest.CaptureFixture[str], profile: str, folder: Path, *options: str) -> list[str]:
    places = ["--runs", str(folder / "runs"), "--data-bin", str(folder / "data"), "--report", str(folder / "report")]
    capsys.readouterr()
    assert run.main(["--profile", profile, *places, *options, "--dry-run"]) == 0
    return capsys.readouterr().out.splitlines()


def of(profile: str, folder: Path) -> dict[tuple[str, str], Planned]:
    """The plan of each arm of a profile."""
    return {(stage.run.experiment, stage.run.arm): planned(stage) for stage in stages(profile, folder) if stage.run}


# -- the models ----------------------------------------------------------------------------------------------------------------


def test_the_studys_model_is_as_large_as_its_checkpoints_say() -> None:
    """A checkpoint of E1 in the profile quick was seen to take 543,517,327 bytes, one of E3 159,076,921, E4's as below."""
    seen = {
        masked_lm(6, 512, 2048, 50_265): 543_517_327,
        masked_lm(12, 128, 512, 50_265, pre_norm=True): 108_258_177,
        masked_lm(1, 128, 512, 50_265, pre_norm=True, untied=True): 159_076_921,
        translation(2, 256, 512, 8_004, "none"): 105_741_845,
        translation(2, 256, 512, 8_004, "decoder"): 81_152_477,
        translation(2, 256, 512, 8_004, "all"): 56_563_109,
    }
    for model, file in seen.items():
        rest = file - 12 * model.parameters  # the counters of exposure, names, the state of the loader
        assert 0 < rest < 900_000, (model, rest)


def test_memory_is_what_is_held_and_what_grows_with_the_batch() -> None:
    model = masked_lm(6, 512, 2048, 50_265)
    held, activations = memory(model, 1000, 100, 8, movement=True)
    assert held == 16 * model.parameters + 7 * TABLE
    assert memory(model, 1000, 100, 8, movement=False)[0] == held - 2 * TABLE
    assert memory(model, 1000, 100, 8, movement=True, cause=True)[0] == held + TABLE
    assert memory(model, 2000, 100, 8, movement=True) == (held, pytest.approx(2 * activations))
    # Korthikanti et al. 2022, eq. 1, doubled for 32 bits, lies close where ffn = 4 d.
    layers = activations - 150 * 50_265 * 12
    assert layers == pytest.approx(2 * 1000 * 512 * (34 + 5 * 8 * 100 / 512) * 6, rel=0.05)


def test_the_timed_training_takes_its_own_time_and_others_in_proportion() -> None:
    model = masked_lm(TIMED.layers, TIMED.dim, TIMED.ffn, TIMED.rows)
    assert scaled_seconds(TIMED, model, TIMED.updates, TIMED.tokens) == pytest.approx(99)
    assert scaled_seconds(TIMED, model, 10 * TIMED.updates, 3 * TIMED.tokens) == pytest.approx(99 * 30)
    twelve = masked_lm(12, TIMED.dim, TIMED.ffn, TIMED.rows)
    ratio = scaled_seconds(TIMED, twelve, TIMED.updates, TIMED.tokens) / 99
    assert ratio == pytest.approx(products(12, 512, 2048, 50_265) / products(6, 512, 2048, 50_265))
    assert 1.5 < ratio < 2


# -- the recording -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arm", "seen"), [
    (("E1", "base"), {"snapshots": 1.4, "exposure": 5.7e-3}),
    (("E2", "base"), {"snapshots": 77.2e-3, "exposure": 4.4e-3}),
    (("E3", "narrow32"), {"snapshots": 308.8e-3, "exposure": 3.8e-3}),
    (("E4", "none"), {"snapshots": 73.8e-3, "exposure": 656.6e-6}),
    (("E4", "decoder"), {"snapshots": 49.2e-3, "exposure": 656.6e-6}),
    (("E4", "all"), {"snapshots": 24.6e-3, "exposure": 656.6e-6}),
])  # fmt: skip
def test_the_recordings_of_quick_are_what_its_trainings_said(tmp_path, arm, seen) -> None:
    """In GB, as each training of a run of the profile quick logged it before its first update."""
    streams = of("quick", tmp_path)[arm].recording.streams
    for name, gigabytes in seen.items():
        assert streams[name] / 1e9 == pytest.approx(gigabytes, rel=0.03), name
    if arm[0] == "E1":
        assert (
            18.7e6 <= streams["traces"] < 2 * 18.7e6
        )  # at most: no more rows are traced than there are words and groups
        assert 106.4e3 <= streams["statistics"] < 2 * 106.4e3
    else:
        assert streams["traces"] == 0


def test_a_recordings_space_by_counting_every_update() -> None:
    schedules = {"statistics": "log2,every:10", "movement": "every:7", "traces": "every:9", "snapshots": "log2,every:50",
                 "exposure": "every:100"}  # fmt: skip
    found = recording(schedules, ((1000, 32), (800, 16)), tokens=5000, counters=77, updates=430).streams
    read = {name: Schedule.parse(text) for name, text in schedules.items()}
    times = {name: sum(u in schedule for u in range(431)) for name, schedule in read.items()}
    numbers = 1000 * 32 + 800 * 16
    assert found["snapshots"] == times["snapshots"] * numbers * 4
    assert found["exposure"] == times["exposure"] * 77 * 4
    groups = 6  # zero, 1-9, 10-99, 100-999, 1000+, unreachable
    assert found["traces"] == times["traces"] * (len(set(WORDS)) + 16 * groups) * (32 + 16) * 4
    together = sum(any(u in read[name] for name in ("statistics", "movement", "snapshots")) for u in range(431))
    assert found["statistics"] == 2 * together * (11 + 7 * groups) * 8


def test_the_causes_are_planned_where_they_are_recorded(tmp_path: Path) -> None:
    for profile, traced in (("quick", False), ("standard", True)):
        arms = of(profile, tmp_path)
        found = arms["E5", "adam"].recording.streams
        assert found["moments"] == found["snapshots"] // arms["E5", "adam"].model.dim * 4  # four numbers a row
        assert 0 < found["cause"] < 0.01 * found["snapshots"]
        assert (found["trace_state"] > 0) == traced
        assert arms["E1", "base"].recording.streams["cause"] == 0


def test_a_stream_is_planned_where_the_recording_knows_it(monkeypatch) -> None:
    """A recording with snapshots and causes, but no moments."""

    @dataclass
    class Config:
        record_dir: str
        record_snapshots: str = "none"
        record_cause: str = "none"
        record_trace_sample: int = 1
        record_window_encoding: str = ""

    def estimate(streams: Config, *arguments: object) -> SimpleNamespace:
        return SimpleNamespace(snapshots=len(streams.record_snapshots), cause=len(streams.record_cause))

    plugin = SimpleNamespace(RecordingConfig=Config, check=lambda options: options), SimpleNamespace(estimate=estimate)
    monkeypatch.setattr(planned_recording, "_plugin", lambda: (*plugin, SimpleNamespace(WORDS=())))
    given = {"snapshots": "every:5", "cause": "every:10", "moments": "every:100"}
    found = recording(given, ((10, 2),), tokens=100, counters=0, updates=20)
    assert found.streams == {"snapshots": 7, "cause": 8}
    assert found.total == 15


def test_every_update_of_the_study_takes_24_terabytes(tmp_path: Path) -> None:
    one = of("study", tmp_path)["E1", "base"]
    raw = 233_001 * TABLE
    assert one.every_update == {"raw": raw} | {kind: round(raw * share) for kind, share in ENCODED.items()}
    assert size(raw) == "24.0 TB"
    assert one.recording.streams["snapshots"] == (233_000 // 2330 + 18 + 1) * TABLE  # every:2330, 1 to 131,072, and 0


# -- the trainings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_the_plan_knows_the_variables_that_the_scripts_use(profile: str, tmp_path: Path) -> None:
    """The options that a script really gives to fairseq-train, by a stand-in for it."""
    fake = tmp_path / "fairseq-train"
    fake.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    fake.chmod(0o755)
    named = {"STATISTICS": "record-statistics", "MOVEMENT": "record-movement", "TRACES": "record-traces",
             "SNAPSHOTS": "record-snapshots", "EXPOSURE": "record-exposure", "UPDATES": "max-update",
             "LAYERS": "encoder-layers", "DIM": "encoder-embed-dim", "FFN": "encoder-ffn-embed-dim",
             "HEADS": "encoder-attention-heads", "UPDATE_FREQ": "update-freq", "KEEP": "keep-interval-updates"}  # fmt: skip
    arms = {(stage.run.experiment, stage.run.arm): stage for stage in stages(profile, tmp_path) if stage.run}
    for (experiment, _), stage in arms.items():
        given = variables(ROOT, stage.command[1], dict(stage.env))
        environment = {**os.environ, **dict(stage.env), "DEVICE": "cpu", "FAIRSEQ_TRAIN": str(fake)}
        done = subprocess.run(
            stage.command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        words = json.loads(done.stdout)
        used = {word[2:]: words[place + 1] for place, word in enumerate(words[:-1]) if word.startswith("--")}
        for variable, option in named.items():
            if variable == "KEEP" and experiment != "E4":
                assert used[option] == "1"
            elif variable == "EXPOSURE" and variable not in given:
                assert option not in used
            else:
                assert given[variable] == used[option], (stage.name, variable)
        if experiment == "E4":
            assert used["max-tokens"] == given["TOKENS"]
        elif experiment in ("E3", "E5"):
            assert used["sample-tokens-per-update"] == given["TOKENS"]
            for variable in ("CAUSE", "MOMENTS", "TRACE_STATE") if experiment == "E5" else ():
                assert used[f"record-{variable.lower().replace('_', '-')}"] == given[variable]
        else:
            assert used["batch-size"] == given["BATCH"]
            assert used.get("max-tokens", "0") == given.get("TOKENS", "0")


def test_the_files_of_checkpoints_are_those_that_fairseq_leaves(tmp_path: Path) -> None:
    """The newest, the last and the best one; E4 keeps as many of the newest as it averages."""
    quick, standard = of("quick", tmp_path), of("standard", tmp_path)
    assert {one.files for one in quick.values()} == {3}
    assert standard["E4", "all"].files == 5 + 2
    assert standard["E4", "all"].checkpoints == 7 * standard["E4", "all"].checkpoint


def test_tokens_of_an_update(tmp_path: Path) -> None:
    quick, standard, gpu, study = (of(name, tmp_path) for name in ("quick", "standard", "gpu", "study"))
    assert quick["E1", "base"].tokens == pytest.approx(8 * 564_092 / 6_386)  # examples of the corpus's mean length
    assert quick["E2", "base"].tokens == 512  # the limit, for many examples
    assert gpu["E2", "shuffled"].tokens == pytest.approx(64 * CORPORA["wikitext-103"].tokens)
    assert gpu["E3", "narrow16"].tokens == 8192  # drawn
    assert standard["E5", "sgd-untied"].tokens == 1024
    assert standard["E4", "all"].tokens == 4096
    assert study["E1", "base"].tokens == pytest.approx(20_000, rel=0.02)


def test_an_untied_arm_has_a_table_more(tmp_path: Path) -> None:
    arms = of("standard", tmp_path)
    tied, untied = arms["E5", "adam"], arms["E5", "adam-untied"]
    assert untied.model.tables == 2 * tied.model.tables
    assert untied.model.parameters - tied.model.parameters == 50_265 * tied.model.dim
    assert untied.recording.streams["snapshots"] == 2 * tied.recording.streams["snapshots"]


def test_a_prepared_corpus_says_itself_how_large_it_is(tmp_path: Path) -> None:
    for name, train, expected in (
        ("mine", {"examples": 50, "tokens": 600}, (50, 12.0)),
        ("pairs", {"pairs": 10, "tokens": {"en": 100, "de": 130}}, (10, 13.0)),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "corpus.json").write_text(json.dumps({"rows": 77, "splits": {"train": train}}))
        found = corpus_figures(tmp_path / name)
        assert (found.examples, found.tokens, found.rows) == (*expected, 77)
    assert corpus_figures(tmp_path / "wikitext-103-shuffled") == CORPORA["wikitext-103"]
    with pytest.raises(KeyError):
        corpus_figures(tmp_path / "unknown")


# -- what is printed -----------------------------------------------------------------------------------------------------------


def in_bytes(text: str) -> float:
    value, unit = text.split()
    return float(value) * {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]


@pytest.mark.parametrize("profile", PROFILES)
def test_the_lines_of_a_profile(profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, profile, tmp_path)
    comments = [line for line in lines if line.startswith("#")]
    assert lines[-len(comments) :] == comments  # the commands stand before, in one block to copy
    assert subprocess.run(["bash", "-n", "-c", "\n".join(lines)], check=False).returncode == 0
    assert max(map(len, comments)) < 260
    head = comments[1]
    arms = of(profile, tmp_path)
    recorded = [name for name in planning.STREAMS if any(one.recording.streams.get(name) for one in arms.values())]
    assert {"snapshots", "traces", "statistics", "exposure"} <= set(recorded)
    columns = ["training", "seeds", "updates", "tokens", "checkpoints", *recorded, "memory", "time"]
    assert "windows" not in head  # none are recorded
    starts = {name: re.search(rf"\b{name}\b", head).start() for name in columns}
    rows = comments[2 : 2 + len(arms)]
    disk, updates = 0.0, 0
    for row, ((experiment, arm), one) in zip(rows, arms.items(), strict=True):
        cells = {name: re.split(r"\s{2,}", row[start:])[0] for name, start in starts.items()}
        assert cells["training"] == f"{experiment} {arm}"
        assert cells["updates"] == f"{one.updates:,}"
        seeds = len(cells["seeds"].split(","))
        files, each = cells["checkpoints"].split(" x ")
        streams = sum(in_bytes(cells[name]) for name in recorded)
        assert streams == pytest.approx(one.recording.total, rel=0.06)
        disk += seeds * (int(files) * in_bytes(each) + streams)
        updates += seeds * one.updates
        measured = bool(one.seconds)
        assert cells["time"].startswith("about" if measured else "not measured")
    text = "\n".join(comments)
    assert f" trainings: {updates:,} updates, " in text
    total = re.search(
        r"# disk: ([\d.]+ \w+) \(checkpoints ([\d.]+ \w+), recordings ([\d.]+ \w+), ([\d.]+ \w+) while", text
    )
    parts = [in_bytes(part) for part in total.groups()]
    assert parts[0] == pytest.approx(sum(parts[1:]), rel=0.03)
    assert parts[1] + parts[2] == pytest.approx(disk, rel=0.05)
    assert re.search(
        r"at every update of E1 base, one seed: raw [\d.]+ \w+, lossless [\d.]+ \w+, lossy [\d.]+ \w+ \(", text
    )


def test_the_disk_is_compared_with_what_is_needed(tmp_path, capsys, monkeypatch) -> None:
    needed = next(line for line in printed(capsys, "quick", tmp_path) if line.startswith("# disk")).split(" (")[0]
    for factor, verdict in ((1.1, "enough"), (0.9, "NOT ENOUGH")):
        free = round(in_bytes(needed.removeprefix("# disk: ")) * factor)
        monkeypatch.setattr(planning, "free_disk", lambda folder, free=free: free)
        lines = printed(capsys, "quick", tmp_path)
        assert any(line.startswith("# disk") and line.endswith(f"{size(free)}, {verdict}") for line in lines)
        assert any("the disk is too small: give --runs" in line for line in lines) == (factor < 1)
    monkeypatch.undo()
    assert planning.free_disk(tmp_path / "not" / "there") == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)


def test_before_the_set_up_the_recordings_are_not_known(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(planned_recording, "_plugin", lambda: None)
    text = "\n".join(printed(capsys, "quick", tmp_path))
    assert "space is known once the set-up is made: bash scripts/setup.sh" in text
    assert "recordings not known yet" in text
    assert "E1 base" in text
    assert "at every update" not in text


def test_the_command_without_any_package_plans_all_the_same(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-S", str(ROOT / "scripts/run_all.py"), "--dry-run", "--runs", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
    assert "# plan of the profile quick" in done.stdout
    assert "recordings not known yet" in done.stdout


def test_an_unknown_size_is_said_and_the_rest_is_planned(tmp_path, capsys) -> None:
    (tmp_path / "data/mine").mkdir(parents=True)
    (tmp_path / "data/mine/dict.txt").touch()
    text = "\n".join(printed(capsys, "quick", tmp_path, "--corpus", "mine"))
    assert "E1 training, base, seed 1: not planned, its size is not known ('mine')" in text
    assert "E4 all" in text
    assert "no training is left" in planning.plan("quick", [], tmp_path)[0]


@pytest.mark.parametrize(("value", "text"), [(564_092, "564,092"), (41_000_000, "41.0 M"), (4.7e9, "4.7 G")])
def test_numbers_for_people(value: float, text: str) -> None:
    assert number(value) == text
