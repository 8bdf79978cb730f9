"""The report: its schema, an offline page in which every token is escaped, and honest partial results."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from cause_runs import ARMS, make_arms
from report_runs import HOSTILE, make_run

import report
from claims import STATEMENTS
from cli import run
from page import Section
from section_outcome import Outcome

MEASURED = {"C1.1", "C1.2", "C1.3", "C2.1", "C2.2", "C2.3", "C4.1", "C4.2", "C4.3", "C7.1", "C7.2", "C7.3"}


class Page(HTMLParser):
    """The elements of a page, as a browser would find them: (tag, attributes), and the text inside scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self._in_script = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._in_script = self._in_script and tag != "script"

    def handle_data(self, data):
        if self._in_script:
            self.scripts[-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report of one finished run: (folder, dump, report.json, page)."""
    folder = tmp_path_factory.mktemp("made")
    dump = make_run(folder / "runs")
    assert report.main(["--runs", str(folder / "runs"), "--out", str(folder / "report"), "--points", "80"]) == 0
    content = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    return folder, dump, content, Page((folder / "report" / "index.html").read_text(encoding="utf-8"))


@pytest.fixture
def quick(monkeypatch):
    """Figures and maps left out, for tests of what is listed and decided."""
    monkeypatch.setattr("sections._interactive", lambda *_: None)
    monkeypatch.setattr("sections._figures", lambda *_: None)
    for name in ("learning", "frequency", "common_vector", "isotropy", "training_log", "clustering"):
        monkeypatch.setattr(f"{name}.figures", lambda *_: [])


def make_report(folder, *, expect=0):
    """Run the command on folder/runs; report.json's content and the page's text."""
    assert report.main(["--runs", str(folder / "runs"), "--out", str(folder / "report")]) == expect
    content = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))
    return content, (folder / "report" / "index.html").read_text(encoding="utf-8")


def listed(content):
    return " | ".join(entry["what"] for entry in content["missing"])


# The file for machines


def test_report_json_has_every_claim_in_the_designs_schema(made):
    _, _, content, _ = made
    assert [claim["id"] for claim in content["claims"]] == list(STATEMENTS)
    keys = {"id", "measure", "value", "interval", "interval_over", "seeds", "verdict", "reason", "study", "signature"}
    for claim in content["claims"]:
        assert keys <= set(claim)
        assert claim["verdict"] in ("holds", "does not hold", "inconclusive", "not run")
        assert (claim["verdict"] == "not run") == (claim["id"] not in MEASURED)
        assert claim["reason"]
    decided = {claim["id"]: claim for claim in content["claims"]}
    assert decided["C2.2"]["study"] == -0.8044
    for name in MEASURED - {"C4.2"}:  # 24 updates are too few to see an oscillation
        low, high = decided[name]["interval"]
        assert low <= decided[name]["value"] <= high
        assert decided[name]["interval_over"] in ("tokens", "updates", "pairs")
        assert decided[name]["seeds"] == 1
        assert "seed:1" in decided[name]["signature"]
    assert "learned too little" in decided["C7.1"]["reason"]


def test_the_signature_names_what_the_report_was_made_of(made):
    _, _, content, _ = made
    assert re.match(r"report:1\|corpus:tiny\|experiment:E1\|arm:base\|seed:1\|update:24\|", content["signature"])
    seed = content["experiments"]["E1"]["base"]["seeds"][0]
    assert seed["valid_loss_bits"] == 9.25
    assert seed["unigram_entropy_bits"] == 9.5
    assert seed["beats_unigram_entropy_by_a_tenth"] is False


def test_every_figure_is_there_as_png_and_pdf(made):
    folder, _, content, page = made
    stems = {name.rpartition(".")[0] for name in content["figures"]}
    assert {
        f"figures/E1-base/{name}"
        for name in (
            "training_loss",
            "learning_mean_cosine",
            "frequency_cosine",
            "common_vector_cosine",
            "isotropy",
            "map",
        )
    } <= stems
    for stem in stems:
        assert (folder / "report" / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / "report" / f"{stem}.pdf").read_bytes().startswith(b"%PDF")
    assert len(page.all("img")) == len(stems)
    assert not [path for path in (folder / "report").iterdir() if path.name.startswith(".")]


# The page


def test_the_page_asks_for_nothing_from_outside(made):
    page = made[3]
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, value)
    policy = next(
        entry["content"] for entry in page.all("meta") if entry.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert not page.all("link") or all(entry["href"] == "data:," for entry in page.all("link"))


def test_hostile_tokens_stay_text(made):
    _, dump, _, page = made
    assert len(page.all("script")) == 3  # the numbers, plotly.js, our own
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert not page.all("b")
    data = json.loads(page.scripts[0])
    texts = dict(zip(data["tokens"]["row"], data["tokens"]["plain"], strict=True))
    for hostile in HOSTILE:
        row = dump.texts.index(hostile)
        assert texts[row] == hostile.encode("utf-8", "replace").decode("utf-8")
    assert not set("<>&\u2028\u2029") & set(page.scripts[0])
    shown = data["tokens"]["text"][data["tokens"]["row"].index(dump.texts.index("a\u2028b\u2029c"))]
    assert shown == "“a\\u2028b\\u2029c”"


def test_the_page_can_be_used_without_seeing_it(made):
    page = made[3]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [entry["href"][1:] for entry in page.all("a")]
    assert targets[0] == "main"  # the skip link is the first
    assert set(targets) <= set(ids)
    assert all(len(entry.get("alt", "")) > 20 for entry in page.all("img"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    labelled = {entry["for"] for entry in page.all("label")}
    assert {entry["id"] for entry in page.all("input")} <= labelled
    assert page.all("html")[0]["lang"] == "en"


def test_the_page_is_small_enough(made):
    assert (made[0] / "report" / "index.html").stat().st_size < 8_000_000


def test_the_plotted_numbers_are_those_of_the_dump(made):
    _, dump, _, page = made
    data = json.loads(page.scripts[0])
    rows = np.array(data["tokens"]["row"])
    assert data["updates"] == dump.snapshot_updates.tolist()
    assert {dump.texts[row] for row in rows} >= {" red", " January"}
    pool = np.flatnonzero(dump.counted)
    for update, frame in zip(data["updates"], data["frames"], strict=True):
        values = dump.values[update].astype(np.float64)
        norms = np.linalg.norm(values, axis=1)
        cosine = (values / np.where(norms > 0, norms, 1)[:, None]) @ (values / np.where(norms > 0, norms, 1)[:, None]).T
        for place, row in enumerate(rows):
            others = pool[pool != row]
            assert frame["norm"][place] == pytest.approx(norms[row], abs=1e-4)
            assert frame["cosine"][place] == pytest.approx(cosine[row, others].mean(), abs=1e-4)
            if frame["near"][place] is None:
                assert update != data["updates"][-1]
                assert data["tokens"]["category"][place] == -1
            else:
                nearest = others[np.argsort(-cosine[row, others])][:5]
                assert frame["near_cosine"][place] == pytest.approx(cosine[row, nearest], abs=2e-3)
                assert all(str(near) in data["texts"] for near in frame["near"][place])
    assert len(data["map"]["positions"]) == len(data["updates"])
    assert len(data["map"]["tokens"]) == 80


# Partial results


def test_no_runs_still_gives_a_report_that_says_so(tmp_path):
    content, page = make_report(tmp_path)
    assert {claim["verdict"] for claim in content["claims"]} == {"not run"}
    assert "Experiment E1 has not been run." in listed(content)
    assert "bash scripts/run_all.sh --only E1" in page
    assert "plotly" not in page


def test_an_experiment_without_runs_is_listed_with_a_command_that_runs_it(tmp_path, quick):
    make_run(tmp_path / "runs", 1)
    content, _ = make_report(tmp_path)
    commands = {entry["what"]: entry["command"] for entry in content["missing"]}
    command = "bash scripts/run_all.sh --only E3 --profile standard"  # the default profile has no size for E3
    assert commands["Experiment E3 has not been run."] == command
    assert "Experiment E1 has not been run." not in commands
    reasons = {claim["id"]: claim["reason"] for claim in content["claims"]}
    assert reasons["C3.1"] == reasons["C3.2"] == f"experiment E3 has not been run: {command}"
    assert reasons["D1"] == reasons["D6"] == "experiment E5 has not been run: bash scripts/run_all.sh --only E5"


def test_a_broken_dump_is_listed_and_the_others_are_reported(tmp_path, quick):
    make_run(tmp_path / "runs", 1)
    make_run(tmp_path / "runs", 2)
    broken = tmp_path / "runs" / "E1" / "base" / "seed2"
    (broken / "dump.zarr" / "zarr.json").write_text("{", encoding="utf-8")
    (broken / "log" / "train.log").unlink()
    content, _ = make_report(tmp_path)
    assert "E1/base/seed2: no training log" in listed(content)
    assert re.search(r"E1/base/seed2: \S*dump.zarr: not a dump", listed(content))
    assert {claim["seeds"] for claim in content["claims"] if claim["id"] in MEASURED} == {1}
    commands = {entry["command"] for entry in content["missing"] if "seed2" in entry["what"]}
    assert commands == {"bash scripts/run_all.sh --only E1 --profile smoke"}


def test_a_dump_cut_short_takes_only_its_own_questions_away(tmp_path, quick):
    make_run(tmp_path / "runs", 1)
    table = next((tmp_path / "runs" / "E1" / "base" / "seed1" / "dump.zarr" / "tables").iterdir())
    chunk = next(
        path for path in (table / "snapshots" / "values" / "c").rglob("*") if path.is_file() and path.parts[-3] == "0"
    )
    chunk.unlink()
    content, _ = make_report(tmp_path)
    verdicts = {claim["id"]: claim["verdict"] for claim in content["claims"]}
    assert "not finite" in listed(content)
    assert verdicts["C2.2"] in ("holds", "does not hold")  # needs the last snapshot alone
    assert verdicts["C1.1"] == "not run"  # needs update 0


def test_an_unfinished_run_is_used_only_where_nothing_is_finished(tmp_path, quick):
    make_run(tmp_path / "runs", 1, finished=False, updates=12)
    content, _ = make_report(tmp_path)
    assert "E1/base/seed1: the run is not finished" in listed(content)
    assert {claim["seeds"] for claim in content["claims"] if claim["id"] in MEASURED} == {1}
    make_run(tmp_path / "runs", 2)
    content, page = make_report(tmp_path)
    assert "update:24" in next(claim["signature"] for claim in content["claims"] if claim["id"] == "C2.2")
    assert "E1/base/seed1 is not finished and is left out" in page


def test_three_seeds_give_intervals_over_seeds(tmp_path, quick):
    for seed in (1, 2, 3):
        make_run(tmp_path / "runs", seed)
    content, _ = make_report(tmp_path)
    decided = {claim["id"]: claim for claim in content["claims"]}
    assert decided["C2.2"]["seeds"] == 3
    assert decided["C2.2"]["interval_over"] == "seeds"
    assert "seed:1,2,3" in decided["C2.2"]["signature"]


def test_a_users_own_experiment_is_reported_and_decides_only_where_the_studys_did_not_run(tmp_path, quick):
    make_run(tmp_path / "runs", 1, experiment="my <text>")
    (tmp_path / "runs" / "my <text>" / "base" / "seed1" / "run.json").unlink()
    content, page = make_report(tmp_path)
    assert "my &lt;text&gt;: how a masked LM" in page
    own = {claim["id"]: claim for claim in content["claims"] if claim["value"] is not None}
    assert own.keys() >= MEASURED - {"C4.2"}
    make_run(tmp_path / "runs", 2)
    content, page = make_report(tmp_path)
    assert "my &lt;text&gt;: how a masked LM" in page
    assert all("experiment:E1" in c["signature"] for c in content["claims"] if c["value"] is not None)


def test_the_claims_of_e5_stand_beside_the_studys(tmp_path, quick, monkeypatch):
    monkeypatch.setattr("cause_figures.figures", lambda *_: [])
    monkeypatch.setattr("similarity.analyse", lambda *_, **__: None)
    make_run(tmp_path / "runs", 1)
    make_arms(tmp_path / "runs", (ARMS[0], ARMS[1], ARMS[3]))
    content, page = make_report(tmp_path)
    assert list(content["experiments"]) == ["E1", "E5"]
    decided = {claim["id"]: claim for claim in content["claims"]}
    assert {name for name, claim in decided.items() if claim["verdict"] == "holds" and name[0] == "D"} == {
        "D2",
        "D3",
        "D4",
    }
    assert "experiment:E1" in decided["C2.2"]["signature"]
    assert "experiment:E5|arm:coupled,sgd,adam" in decided["D3"]["signature"]
    study, own = page.split('id="own-claims"')
    assert study.count('<tr id="claim-C') == 20
    assert own.count('<tr id="claim-D') == 6
    assert '<a href="#E5-verdicts">D3</a>' in own
    assert "Claims C5" not in listed(content)


def test_categories_are_decided_by_e1_else_by_e2_else_by_the_users_own(tmp_path, quick):
    def decider() -> str:
        content, page = make_report(tmp_path)
        (signature,) = {claim["signature"] for claim in content["claims"] if claim["id"].startswith("C7")}
        experiment = re.search(r"experiment:([^|]+)", signature).group(1)
        assert f'id="{experiment}-base-categories"' in page or f'id="{experiment}-categories"' in page
        return experiment

    for experiment in ("A1", "E2", "E1"):  # A1 stands before the others in the report
        make_run(tmp_path / "runs", 1, experiment=experiment)
        assert decider() == experiment


def test_a_treebank_gives_parts_of_speech_and_none_gives_one_line(tmp_path, quick, monkeypatch, capsys):
    make_run(tmp_path / "runs", 1)
    asked = []
    monkeypatch.setitem(
        report.SECTIONS, "E1", lambda evidence: asked.append(evidence.tags) or Outcome(Section("E1", ""))
    )
    words = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "report"), "--treebank", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"error: .*expected en_ewt-ud-train.conllu"):
        run(lambda: report.main(words))
    assert not (tmp_path / "report").exists()
    line = "1\tred\tred\tADJ\t_\t_\t0\t_\t_\t_\n"
    (tmp_path / "en_ewt-ud-train.conllu").write_text(line * 3, encoding="utf-8")
    assert report.main(words) == 0
    assert asked == [{"red": "ADJ"}]


def test_missing_and_foreign_descriptions_do_no_harm(tmp_path, quick):
    make_run(tmp_path / "runs", 1)
    folder = tmp_path / "runs" / "E1" / "base"
    (folder / "seed1" / "run.json").unlink()
    make_run(tmp_path / "runs", 2)
    about = json.loads((folder / "seed2" / "run.json").read_text())
    (folder / "seed2" / "run.json").write_text(json.dumps({**about, "arm": "../<b>odd", "hardware": "<i>"}))
    (tmp_path / "runs" / "E5" / "x" / "seed1").mkdir(parents=True)
    (tmp_path / "runs" / "E5" / "x" / "seed1" / "run.json").write_text("[1]", encoding="utf-8")
    content, page = make_report(tmp_path)
    assert "E1/base/seed1: no run.json" in listed(content)
    assert "run.json cannot be read" in listed(content)
    assert "E5/x/seed1: no recording (dump.zarr)" in listed(content)
    assert "<b>odd" not in page
    assert "&lt;b&gt;odd" in page


@pytest.mark.parametrize(
    ("hardware", "words"),
    [
        ({"cpu": "AMD EPYC", "cores": 2, "memory": 25_276_514_304, "gpu": None}, "AMD EPYC, 2 cores, 25 GB memory"),
        ({"memory": "much"}, "much"),
        ("a laptop", "a laptop"),
        (None, "not known"),
        ({}, "not known"),
    ],
)
def test_hardware_is_told_in_words_whatever_its_form(hardware, words):
    assert report._hardware_words(hardware) == words


def test_runs_of_which_none_can_be_read_give_an_error_and_a_report(tmp_path, capsys):
    (tmp_path / "runs" / "E1" / "base" / "seed1").mkdir(parents=True)
    content, _ = make_report(tmp_path, expect=1)
    assert "no recording (dump.zarr)" in listed(content)
    assert capsys.readouterr().err.count("\n") == 1


# Writing


def test_an_earlier_report_is_replaced_as_a_whole_and_other_files_stay(tmp_path, quick, monkeypatch):
    out = tmp_path / "report"
    make_report(tmp_path)
    (out / "figures").mkdir()
    (out / "figures" / "old.png").write_text("x")
    (out / "figures" / "mine.png").write_text("mine")
    content = json.loads((out / "report.json").read_text())
    (out / "report.json").write_text(json.dumps({**content, "figures": ["figures/old.png", "figures/../../kept"]}))
    (tmp_path / "kept").write_text("kept")
    make_report(tmp_path)
    assert not (out / "figures" / "old.png").exists()
    assert (out / "figures" / "mine.png").read_text() == "mine"
    assert (tmp_path / "kept").exists()

    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}

    def full(*_):
        raise OSError(28, "No space left on device", "index.html")

    monkeypatch.setattr(report, "render", full)
    with pytest.raises(SystemExit) as stopped:
        run(lambda: report.main(["--runs", str(tmp_path / "runs"), "--out", str(out)]))
    assert "No space left on device" in stopped.value.code
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    assert not [path for path in out.iterdir() if path.name.startswith(".report-")]


@pytest.mark.parametrize("option", ["--out", "--runs"])
def test_a_file_in_place_of_a_folder_gives_one_line(tmp_path, option):
    (tmp_path / "file").write_text("x")
    arguments = {"--runs": str(tmp_path / "runs"), "--out": str(tmp_path / "report"), option: str(tmp_path / "file")}
    with pytest.raises(SystemExit) as stopped:
        run(lambda: report.main([part for pair in arguments.items() for part in pair]))
    assert "file" in str(stopped.value.code)
    assert "\n" not in str(stopped.value.code)
