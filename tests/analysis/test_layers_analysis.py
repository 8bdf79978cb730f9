"""E2 as a whole on runs with planted trends: verdicts, controls, partial results, the command and the report's section."""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from layer_runs import FALLING, FLAT, KINDS, LAYERS, RISING, UPDATE, VECTORS, make_run, write_parameters, write_states
from synthetic_dump import MAIN_TABLE

import layers
import layers_tables as tables
import section_layers
from cli import run
from dump import Dump
from embedding_space import embedding_space
from evidence import Evidence, SnapshotCache
from layer_files import read_parameters
from layer_parameters import measure, random_directions
from layers_captions import CAPTIONS
from page import render
from runs import find_runs

FIGURES = {"layers_parameters", "layers_kinds", "layers_homogeneity", "layers_states", "layers_cka", "layers_map"}


def evidence_of(folder):
    return Evidence("E2", find_runs(folder), folder / "figures", SnapshotCache(), ThreadPoolExecutor(1))


def analyse(folder):
    evidence = evidence_of(folder)
    return layers.analyse(evidence), evidence.missing


@pytest.fixture
def no_map(monkeypatch):
    """Without t-SNE, which takes seconds."""
    monkeypatch.setattr("layers_map.LEAST", 10**6)


def verdicts(result):
    return {claim.id: claim.verdict for claim in result.claims}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A base run with probes and a shuffled one without states, by the command in a process of its own: (folder, output, JSON)."""
    folder = tmp_path_factory.mktemp("layers")
    base = make_run(folder, probes=True)
    shuffled = make_run(folder, "shuffled", strength=FLAT, states=False)
    script = Path(layers.__file__)
    done = subprocess.run(
        [sys.executable, script, base, shuffled, "--out", folder / "out"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    content = json.loads((folder / "out" / "layers.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    return folder, done.stdout, content


def test_the_command_prints_and_writes_what_it_found(made):
    folder, output, content = made
    written = {path.name for path in (folder / "out").iterdir()}
    assert written == {f"{name}.{kind}" for name in FIGURES for kind in ("png", "pdf")} | {"layers.json"}
    assert output.startswith("corpus:tiny|experiment:E2|arm:base|seed:1|update:400|")
    assert "C5.1 holds: concentration, slope over 12 layers, times 11: -0." in output
    assert re.search(r"\n11 +0\.\d{3} +0\.\d{3}", output)
    assert "missing: E2/shuffled/seed1: no layers.npz" in output
    assert f"python -m fairseq_ext.evaluate.layers {folder}/E2/shuffled/seed1" in output
    found = {claim["id"]: claim for claim in content["claims"]}
    assert [part["verdict"] for part in found["C5.1"]["parts"]] == ["holds", "holds"]
    assert found["C5.1"]["interval_over"] == "layers"
    assert found["C5.1"]["study"] is None
    assert found["C5.2"]["parts"][0]["measure"] == "concentration, layers 0-6 minus 7-11"
    assert "trained on shuffled text" in found["C5.1"]["reason"]
    assert "random directions" in found["C5.1"]["reason"]


def test_every_measure_is_given_with_its_controls(made):
    content = made[2]
    series = content["runs"]["E2/base/seed1"]["series"]
    names = {"concentration", "silhouette", "spread", "coherence", "entropy", "semantic_agreement", "semantic_lift"}
    for name in names:
        assert {variant: len(models) for variant, models in series[name].items()} == {
            "trained": 1,
            "untrained": 3,
            "random": 1,
        }
        assert len(series[name]["trained"][0]["values"]) == LAYERS
    states = {"baseline", "self_similarity", "intra_sentence", "dimension", "isoscore", "accuracy", "selectivity"}
    for name in states:
        assert {variant: len(models) for variant, models in series[name].items()} == {"trained": 1, "untrained": 1}
        assert len(series[name]["trained"][0]["values"]) == LAYERS + 1
    assert names | states == set(series)
    rows = {row["measure"]: row for row in content["trends"]}
    assert set(rows) == set(series)
    assert rows["concentration"]["trained"]["interval"][1] < 0
    assert rows["concentration"]["difference"]["interval"][1] < 0
    assert abs(rows["concentration"]["shuffled"]["value"]) < 0.2 * abs(rows["concentration"]["trained"]["value"])
    assert rows["concentration"]["untrained"]["over"] == "seeds"
    assert rows["self_similarity"]["trained"]["interval"][1] < 0
    assert rows["self_similarity"]["random"] is None
    assert rows["intra_sentence"]["difference"]["interval"][0] > 0
    values = series["concentration"]["trained"][0]
    assert all(
        low <= value <= high for low, value, high in zip(values["low"], values["values"], values["high"], strict=True)
    )
    kinds = np.array(content["runs"]["E2/base/seed1"]["by_kind"]["trained"][0]["concentration"])
    assert kinds.shape == (LAYERS, len(KINDS))
    assert kinds.mean(axis=1) == pytest.approx(values["values"])


@pytest.mark.parametrize(
    ("strength", "loss", "verdict", "words"),
    [
        (RISING, 6.0, "does not hold", "one seed"),
        (FLAT, 6.0, "inconclusive", "one seed"),
        (FALLING, 9.0, "inconclusive", "learned too little"),
        ((3.0, 2.0, 1.0), 6.0, "inconclusive", "the model has 3 layers; a trend over layers needs at least 4"),
    ],
)
def test_the_planted_trend_decides(tmp_path, strength, loss, verdict, words):
    make_run(tmp_path, strength=strength, states=False, loss=loss)
    result, _ = analyse(tmp_path)
    assert verdicts(result) == {"C5.1": verdict, "C5.2": verdict}
    assert all(words in claim.reason for claim in result.claims)
    assert "no arm was trained on shuffled text" in result.claims[0].reason or len(strength) < 4


def test_an_untrained_models_own_trend_is_no_effect_of_training(tmp_path):
    folder = make_run(tmp_path, states=False)
    make = np.random.default_rng(9)
    with np.load(folder / "parameters.npz") as file:
        trained = file["vectors"]
    noise = make.normal(0, 0.05, (3, *trained.shape))
    write_parameters(folder, FALLING, untrained=(trained + noise).astype(np.float32))
    result, _ = analyse(tmp_path)
    claim = result.claims[0]
    assert claim.parts[0].verdict == "holds"
    assert claim.parts[1].verdict != "holds"
    assert claim.verdict != "holds"


def test_untrained_models_are_projected_on_the_table_of_update_0(tmp_path):
    folder = make_run(tmp_path, states=False)
    found = analyse(tmp_path)[0].first.parameters
    table, parameters = Dump.open(folder).table(), read_parameters(folder / "parameters.npz")
    first, last = (embedding_space(table.snapshot(update), table.counted) for update in (0, UPDATE))
    shape = LAYERS, len(KINDS), VECTORS, -1
    for space, vectors, profile in (
        (first, parameters.untrained[2], found.untrained[2]),
        (last, parameters.vectors, found.trained),
        (last, random_directions((LAYERS, len(KINDS), VECTORS, parameters.dim)), found.random),
    ):
        expected = measure(space, vectors.reshape(shape), KINDS).by_kind["concentration"]
        assert profile.by_kind["concentration"] == pytest.approx(expected)
    assert found.snapshot == UPDATE


def test_three_seeds_give_intervals_over_seeds(tmp_path):
    for seed in (1, 2, 3):
        make_run(tmp_path, seed=seed, states=False)
    result, _ = analyse(tmp_path)
    assert verdicts(result) == {"C5.1": "holds", "C5.2": "holds"}
    for claim in result.claims:
        assert (claim.seeds, claim.interval_over) == (3, "seeds")
        assert claim.parts[1].estimate.over == "seeds"
        assert "seed:1,2,3" in claim.signature or claim.signature.count("seed:") == 3
    assert len(result.series("concentration", "untrained")) == 9


def test_other_numbers_of_layers_are_divided_in_proportion_and_it_is_said(tmp_path):
    make_run(tmp_path, strength=FALLING[::2], states=False)
    result, _ = analyse(tmp_path)
    assert verdicts(result)["C5.1"] == "holds"
    assert result.claims[1].parts[0].measure == "concentration, layers 0-3 minus 4-5"
    assert "the study's model has 12 layers, this one 6" in result.claims[0].reason


def test_an_imported_model_has_random_directions_alone_and_no_verdict(tmp_path, no_map):
    folder = tmp_path / "imported"
    make_run(tmp_path, models=0).rename(folder)
    (folder / "run.json").unlink()
    (folder / "log" / "train.log").unlink()
    assert layers.main([str(folder), "--out", str(tmp_path / "out")]) == 0
    content = json.loads((tmp_path / "out" / "layers.json").read_text(encoding="utf-8"))
    for claim in content["claims"]:
        assert claim["verdict"] == "inconclusive"
        assert "has no untrained twin: random directions are the only control, and decide nothing" in claim["reason"]
        assert claim["parts"][0]["verdict"] == "holds"
        assert claim["parts"][1]["value"] is None
    assert (tmp_path / "out" / "layers_cka.png").is_file()
    assert content["runs"]["model/imported/seed1"]["valid_loss_bits"] == 6.1


def test_a_dump_without_update_0_leaves_the_untrained_models_out(tmp_path):
    folder = make_run(tmp_path, states=False)
    snapshots = zarr.open_group(folder / "dump.zarr", mode="r+")[f"tables/{MAIN_TABLE}/snapshots"]
    updates = snapshots["update"][:]
    updates[0] = 1
    updates[1:] += 1
    snapshots["update"][:] = updates
    write_parameters(folder, FALLING, about={"update": 500})
    result, _ = analyse(tmp_path)
    assert verdicts(result)["C5.1"] == "inconclusive"
    assert "no snapshot of update 0" in result.claims[0].reason


def test_broken_and_missing_files_take_only_their_own_numbers_away(tmp_path):
    folders = [make_run(tmp_path, seed=seed, probes=seed == 1) for seed in (1, 2)]
    (folders[0] / "parameters.npz").write_bytes(b"PK")
    (folders[0] / "layers_probe.npz").write_text("x")
    (folders[1] / "layers.npz").unlink()
    make_run(tmp_path, seed=3, finished=False)
    make_run(tmp_path, "shuffled", strength=FALLING[:5], states=False)
    result, missing = analyse(tmp_path)
    listed = {entry.what: entry.command for entry in missing}
    texts = " | ".join(listed)
    assert re.search(r"E2/base/seed1: \S*parameters.npz: expected a model's parameter vectors", texts)
    assert re.search(r"E2/base/seed1: \S*layers_probe.npz: expected a probe", texts)
    assert "E2/base/seed2: no layers.npz" in texts
    assert "E2/shuffled/seed1: 5 layers, but 12 in E2/base/seed1" in texts
    assert result.left_out == ["E2/base/seed3"]
    command = f"python -m fairseq_ext.evaluate.layers {tmp_path}/E2/base/seed2"
    assert command in listed.values()
    assert result.claims[0].seeds == 1
    assert verdicts(result)["C5.1"] == "holds"
    assert "self_similarity" in result.runs("base")[0].series
    assert all("\n" not in what for what in listed)


def test_an_unfinished_run_is_to_be_finished_first(tmp_path):
    folder = make_run(tmp_path, finished=False)
    (folder / "parameters.npz").unlink()
    result, missing = analyse(tmp_path)
    assert verdicts(result) == {"C5.1": "not run", "C5.2": "not run"}
    assert {entry.command for entry in missing if "parameters.npz" in entry.what} == {
        "bash scripts/run_all.sh --only E2 --profile smoke"
    }


def test_probes_of_other_layers_are_refused(tmp_path):
    folder = make_run(tmp_path, probes=True)
    write_states(folder, layer_name=np.array(["embedding", *(f"block{number}" for number in range(1, LAYERS + 1))]))
    result, missing = analyse(tmp_path)
    assert "accuracy" not in result.first.series
    refused = [entry for entry in missing if "are not embedding, block1" in entry.what]
    assert ["layers_probe" in entry.what for entry in refused] == [True, True]
    assert {entry.command for entry in refused} == {f"python -m fairseq_ext.evaluate.layers {folder}"}


def test_the_examples_are_the_most_coherent_vectors_of_each_third(tmp_path):
    make_run(tmp_path, states=False)
    result, _ = analyse(tmp_path)
    head, *rows = tables.examples_table(result)
    assert head == ["layer", "kind", "number", "coherence", "nearest tokens"]
    assert len(rows) == 12
    assert [int(row[0]) // 4 for row in rows] == [0] * 4 + [1] * 4 + [2] * 4
    found = result.first.parameters
    coherence = found.trained.tokens.coherence.reshape(LAYERS, len(KINDS), VECTORS)
    assert max(float(row[3]) for row in rows[:4]) == pytest.approx(coherence[:4].max(), abs=5e-4)
    row = rows[0]
    place = found.kinds.index(row[1].replace("feed-forward", "ffn").replace(" ", "_"))
    nearest = found.trained.tokens.nearest.reshape(LAYERS, len(KINDS), VECTORS, -1)[int(row[0]), place, int(row[2])]
    assert row[4].startswith(f"“{found.texts[nearest[0]]}”")


def test_the_section_renders_with_texts_escaped(made, no_map):
    folder = made[0]
    path = folder / "E2" / "base" / "seed1" / "dump.zarr" / "tables" / MAIN_TABLE / "tokens.json"
    original = path.read_text(encoding="utf-8")
    texts = [text if text.startswith((" he", "<", "made")) else f"<b>{text}" for text in json.loads(original)]
    path.write_text(json.dumps(texts), encoding="utf-8")
    evidence = evidence_of(folder)
    outcome = section_layers.section(evidence)
    path.write_text(original, encoding="utf-8")
    assert outcome.section.id == "E2"
    assert outcome.anchors == {"C5": "E2-verdicts", "C7": "E2-categories"}
    assert {claim.id for claim in outcome.claims} == {"C5.1", "C5.2", "C7.1", "C7.2", "C7.3"}
    json.dumps(outcome.data, allow_nan=False)
    blocks = outcome.section.blocks
    anchors = [block["id"] for block in blocks if block["kind"] == "heading"]
    assert anchors == ["E2-verdicts", "E2-tokens", "E2-states", "E2-map", "E2-categories"]
    shown = [block["file"] for block in blocks if block["kind"] == "figure"]
    assert shown[0] == "figures/E2/layers_parameters.png, .pdf"
    assert len(shown) == 4  # no map, and no token has a category
    empty = {"title": "", "lead": [], "signature": "", "tally": "", "footer": ""}
    lists = {name: [] for name in ("verdicts", "claim_groups", "missing", "run_head", "runs")}
    html = render({**empty, **lists, "sections": [outcome.section]})
    assert "&lt;b&gt;" in html
    assert "<b> word" not in html


def test_without_any_file_the_section_says_what_is_missing(tmp_path):
    folder = make_run(tmp_path, states=False)
    (folder / "parameters.npz").unlink()
    evidence = evidence_of(tmp_path)
    outcome = section_layers.section(evidence)
    texts = " ".join(block["text"] for block in outcome.section.blocks if block["kind"] == "text")
    assert "No run has parameter vectors (parameters.npz)" in texts
    assert "No run has hidden states (layers.npz)" in texts
    assert [claim.verdict for claim in outcome.claims if claim.id.startswith("C5")] == ["not run", "not run"]
    assert any("no run of arm base" in entry.what for entry in evidence.missing)


def test_every_figure_has_its_caption():
    assert set(CAPTIONS) == FIGURES


def test_bad_arguments_give_one_line(tmp_path, capsys):
    for argument, words in ((tmp_path / "none", "found nothing"), (Path(__file__), "found a file")):
        with pytest.raises(SystemExit) as stopped:
            run(lambda folder=argument: layers.main([str(folder), "--out", str(tmp_path / "out")]))
        assert words in stopped.value.code
        assert "\n" not in stopped.value.code
    with pytest.raises(SystemExit) as stopped:
        run(lambda: layers.main([str(tmp_path), "--treebank", str(tmp_path), "--out", str(tmp_path / "out")]))
    assert "found neither" in stopped.value.code
    capsys.readouterr()
    assert layers.main([str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
