"""Translating with trained runs, counting their parameters and words, and timing their training."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from pair_corpus import SHARES, TABLES, pair_arguments
from running import ROOT, Launcher, load

from fairseq_ext.errors import UserError
from fairseq_ext.translate import command, loading, speed
from fairseq_ext.translate.words import Words

pytestmark = pytest.mark.train
V, D = 154, 16


@pytest.fixture(scope="module")
def experiment(pair_runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with E4's arms, timed and translated."""
    folder = tmp_path_factory.mktemp("experiment")
    shutil.copytree(next(iter(pair_runs.values())).parents[1], folder / "E4")
    runs = [str(folder / "E4" / arm / "seed1") for arm in SHARES]
    command.main([*runs, "--beam", "2", "--cpu"])
    speed.main([*runs, "--out", str(folder / "E4" / "speed.json"), "--rounds", "8", "--batches", "2"])
    return folder


@pytest.fixture(scope="module")
def translated(experiment: Path) -> Path:
    """The arm `all` of it."""
    return experiment / "E4" / "all" / "seed1"


def test_the_analysis_reads_what_was_written_here(experiment: Path, tmp_path: Path) -> None:
    program = [sys.executable, str(ROOT / "analysis" / "report.py"), "--runs", str(experiment), "--out", str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((tmp_path / "report.json").read_text())
    claims = {claim["id"]: claim for claim in report["claims"] if claim["id"].startswith("C6")}
    assert all(claim["verdict"] != "not run" for claim in claims.values()), claims
    assert [claim["verdict"] for claim in claims.values()].count("inconclusive") >= 2  # 6 updates decide no BLEU
    parameters = {arm: json.loads((experiment / "E4" / arm / "seed1" / "model.json").read_text()) for arm in SHARES}
    counts = {arm: card["parameters"] for arm, card in parameters.items()}
    assert claims["C6.1"]["value"] == pytest.approx((counts["all"] - counts["none"]) / counts["none"])
    assert claims["C6.1"]["reason"].count("= closed form") == 2
    scores = {}
    for arm in ("all", "none"):
        folder = experiment / "E4" / arm / "seed1" / "translation"
        files = [str(folder / "references.txt"), "-i", str(folder / "hypotheses.txt")]
        said = subprocess.run(
            [sys.executable, "-m", "sacrebleu", *files, "-b", "-w", "6"], capture_output=True, text=True, check=True
        )
        scores[arm] = float(said.stdout)
    assert claims["C6.2"]["value"] == pytest.approx(scores["all"] - scores["none"], abs=2e-6)
    page = (tmp_path / "index.html").read_text()
    assert "case:mixed|eff:no|tok:13a|smooth:exp" in page
    assert "decoder input" in page


def test_hypotheses_stand_in_the_corpus_order_beside_the_raw_text(translated: Path, pairs_corpus: Path) -> None:
    folder = translated / "translation"
    about = json.loads((folder / "translation.json").read_text())
    lines = {
        name: (folder / f"{name}.txt").read_text().splitlines() for name in ("sources", "references", "hypotheses")
    }
    assert lines["sources"] == (pairs_corpus / "raw" / "test.xx.txt").read_text().splitlines()
    assert lines["references"] == (pairs_corpus / "raw" / "test.yy.txt").read_text().splitlines()
    assert (about["sentences"], about["beam"], about["update"]) == (20, 2, 6)
    assert not any("▁" in line for line in lines["hypotheses"])
    assert {p.name for p in translated.iterdir()} == {
        "checkpoints",
        "dump.zarr",
        "model.json",
        "translation",
    }  # no scraps
    one = translate_alone(translated, lines["sources"])
    assert lines["hypotheses"] == one
    assert len(set(one)) > 1, "hypotheses that are all alike could stand in any order"


def translate_alone(run: Path, sources: list[str]) -> list[str]:
    """The same model's translations, each sentence by itself, with fairseq's generator as a library."""
    import sentencepiece
    from omegaconf import OmegaConf

    trained = loading.load(run)
    options = {"beam": 2, "lenpen": 1.0, "max_len_a": 1.5, "max_len_b": 20}
    generator = trained.task.build_generator([trained.model], OmegaConf.create({**GENERATION, **options}))
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(trained.data / "sentencepiece.model"))
    found = []
    for source in sources:
        words = " ".join(pieces.encode(source, out_type=str))
        tokens = trained.task.src_dict.encode_line(words, add_if_not_exist=False).long()[None]
        sample = {"net_input": {"src_tokens": tokens, "src_lengths": torch.tensor([tokens.shape[1]])}}
        best = trained.task.inference_step(generator, [trained.model], sample)[0][0]["tokens"]
        text = trained.task.tgt_dict.string(best, "sentencepiece")
        found.append(" ".join(text.split()))
    return found


GENERATION = {
    "score_reference": False,
    "print_alignment": None,
    "sampling": False,
    "diverse_beam_groups": -1,
    "match_source_len": False,
    "diversity_rate": -1,
    "constraints": None,
    "prefix_size": 0,
}


def test_a_choice_of_sentences_is_translated_as_among_all(translated: Path, tmp_path: Path) -> None:
    run = tmp_path / "all" / "seed1"
    shutil.copytree(translated, run)
    command.main([str(run), "--beam", "2", "--cpu", "--sentences", "6"])
    about = json.loads((run / "translation" / "translation.json").read_text())
    assert (about["sentences"], about["of"]) == (6, 20)
    for name in ("sources", "references", "hypotheses"):
        whole = (translated / "translation" / f"{name}.txt").read_text().splitlines()
        found = (run / "translation" / f"{name}.txt").read_text().splitlines()
        assert found == [whole[i] for i in (0, 3, 6, 10, 13, 16)]
    some, every = (np.load(folder / "translation" / "words.npz") for folder in (run, translated))
    starts = every["source_offsets"]
    expected = [c for i in (0, 3, 6, 10, 13, 16) for c in every["source_count_target"][starts[i] : starts[i + 1]]]
    assert some["source_count_target"].tolist() == expected


def test_words_are_counted_as_they_stand_in_the_text(translated: Path, pairs_corpus: Path) -> None:
    # Not the binarised text again: the lines that the corpus was made from.
    train = {code: (pairs_corpus.parents[1] / f"train.{code}").read_text() for code in ("xx", "yy")}
    known = {code: Counter(text.split()) for code, text in train.items()}
    words = np.load(translated / "translation" / "words.npz")
    for name, file in (("source", "sources"), ("reference", "references")):
        lines = (translated / "translation" / f"{file}.txt").read_text().splitlines()
        offsets = words[f"{name}_offsets"]
        assert offsets.tolist() == np.cumsum([0, *(len(line.split()) for line in lines)]).tolist()
        for side, code in (("source", "xx"), ("target", "yy")):
            expected = [known[code][word] for line in lines for word in line.split()]
            assert words[f"{name}_count_{side}"].tolist() == expected
    assert (words["source_count_target"] > 0).any()
    assert (words["source_count_target"] == 0).any()


def test_words_of_subword_nmt_and_plain_tokens() -> None:
    class Symbols(list):
        @property
        def symbols(self) -> list[str]:
            return list(self)

        def eos(self) -> int:
            return 0

    marked = Symbols(["</s>", "ab@@", "c", "d"])
    tokens, offsets = np.array([1, 2, 3, 0, 1, 1, 2, 0]), np.array([0, 4, 8])
    hashes, starts = Words([marked]).of(marked, tokens, offsets)
    assert starts.tolist() == [0, 2, 3]  # abc d | ababc
    assert len(set(hashes.tolist())) == 3
    plain = Symbols(["</s>", "ab", "c", "d"])
    hashes, starts = Words([plain]).of(plain, tokens, offsets)
    assert starts.tolist() == [0, 3, 6]
    assert len(set(hashes.tolist())) == 3


@pytest.mark.parametrize("arm", SHARES)
def test_parameters_are_counted_once_and_differ_by_whole_tables(pair_runs: dict[str, Path], arm: str) -> None:
    card = loading.model_card(loading.load(pair_runs[arm]))
    assert {t["name"]: t["aliases"] for t in card["tables"]} == TABLES[arm]
    assert all((t["rows"], t["dim"]) == (V, D) for t in card["tables"])
    saved = load(pair_runs[arm] / "checkpoints" / "checkpoint_last.pt")["model"]
    names = {alias for aliases in TABLES[arm].values() for alias in aliases}
    buffers = ("version", "_float_tensor")
    total = sum(v.numel() for k, v in saved.items() if k not in names and not k.endswith(buffers))
    assert card["parameters"] == total == sum(card["by_name"].values())
    none = loading.model_card(loading.load(pair_runs["none"]))["parameters"]
    assert none - card["parameters"] == (3 - len(TABLES[arm])) * V * D


def test_the_stock_architecture_with_ten_thousand_pieces_saves_a_fifth() -> None:
    from argparse import Namespace

    from fairseq.data import Dictionary
    from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

    from parameters import closed_form, stock_words  # the analysis's, which knows nothing of fairseq

    symbols = Dictionary()
    for number in range(10_000 - len(symbols)):
        symbols.add_symbol(f"piece{number}")
    task = Namespace(source_dictionary=symbols, target_dictionary=symbols)
    counted = {}
    for arm, tables in TABLES.items():
        options = Namespace(**{option.strip("-").replace("-", "_"): True for option in SHARES[arm]})
        ARCH_CONFIG_REGISTRY["transformer_iwslt_de_en"](options)
        model = ARCH_MODEL_REGISTRY["transformer_iwslt_de_en"].build_model(options, task)
        card = loading.card_of(model, options, tables, len(symbols))
        assert card["parameters"] == sum(closed_form(card["shape"], len(tables)).values())
        counted[arm] = card["parameters"]
    assert f"{counted['none']:,}" in stock_words()
    assert f"{counted['all']:,}" in stock_words()
    assert counted["none"] - counted["all"] == 2 * 10_000 * 512
    assert 0.20 < (counted["none"] - counted["all"]) / counted["none"] < 0.23


def test_an_average_is_the_mean_of_the_newest_checkpoints(pair_runs: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "none" / "seed1"
    shutil.copytree(pair_runs["none"], run)
    trained = loading.load(run, averaged=2)
    assert [path.name for path in trained.checkpoints] == ["checkpoint_1_3.pt", "checkpoint_last.pt"]
    one, two = (load(path)["model"] for path in trained.checkpoints)
    name = "decoder.layers.1.fc1.weight"
    found = trained.model.state_dict()[name]
    assert torch.equal(found, ((one[name].double() + two[name].double()) / 2).float())
    assert not torch.equal(found, one[name])
    with pytest.raises(UserError, match=r"expected 3 checkpoints to average in .*; found 2"):
        loading.load(run, averaged=3)


def test_another_arms_checkpoint_or_a_corpus_without_raw_text_leaves_the_earlier_translation(
    translated: Path, pair_runs: dict[str, Path], pairs_corpus: Path, tmp_path: Path
) -> None:
    before = {p.name: p.read_bytes() for p in (translated / "translation").iterdir()}
    run = tmp_path / "all" / "seed1"
    shutil.copytree(translated, run)
    shutil.copy(pair_runs["none"] / "checkpoints" / "checkpoint_last.pt", run / "checkpoints")
    with pytest.raises(
        UserError, match=r"the arm all has 1 table; this checkpoint has 3 tables: .* bring the run's own"
    ):
        command.main([str(run), "--cpu"])
    corpus = tmp_path / "corpus"
    shutil.copytree(pairs_corpus, corpus)
    shutil.rmtree(corpus / "raw")
    with pytest.raises(UserError, match="expected the raw text of test in"):
        command.main([str(translated), "--data", str(corpus), "--cpu"])
    shutil.copytree(pairs_corpus / "raw", corpus / "raw")
    for name in (
        "xx",
        "yy",
    ):  # both sides one line shorter: as long as one another, but not the text that was binarised
        path = corpus / "raw" / f"test.{name}.txt"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(UserError, match="is not the text that was binarised: expected 20 lines"):
        command.main([str(translated), "--data", str(corpus), "--cpu", "--sentences", "4"])
    shutil.copytree(pairs_corpus / "raw", corpus / "raw", dirs_exist_ok=True)
    cut = corpus / "test.xx-yy.yy.bin"
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-6])
    with pytest.raises(UserError, match="was cut short"):
        command.main([str(translated), "--data", str(corpus), "--cpu"])
    cut.write_bytes(whole)
    train = corpus / "train.xx-yy.yy.bin"
    train.write_bytes(bytes(reversed(train.read_bytes()[::2])) + train.read_bytes()[1::2])
    with pytest.raises(UserError, match="does not have the training split that the run was trained with"):
        command.main([str(translated), "--data", str(corpus), "--cpu"])
    with pytest.raises(UserError, match="this checkpoint has 3 tables"):
        speed.main([str(pair_runs["decoder"]), str(run), "--out", str(tmp_path / "speed.json")])
    with pytest.raises(UserError, match="expected a translation model"):
        command.main([str(masked(run)), "--cpu"])
    for folder in (run, translated):
        assert {p.name: p.read_bytes() for p in (folder / "translation").iterdir()} == before
        assert not list(folder.glob(".translation-*"))


def masked(run: Path) -> Path:
    """A run whose checkpoint says that it is another task's."""
    path = run / "checkpoints" / "checkpoint_last.pt"
    state = load(path)
    state["cfg"]["task"]["_name"] = "embedding_masked_lm"
    torch.save(state, path)
    return run


def test_every_arm_is_timed_on_the_same_batches(pair_runs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "speed.json"
    speed.main([*map(str, pair_runs.values()), "--out", str(out), "--rounds", "5", "--batches", "2"])
    found = json.loads(out.read_text())
    assert found["arms"] == list(SHARES)
    assert np.array(found["seconds"]).shape == (5, 3)
    assert (np.array(found["seconds"]) > 0).all()
    tokens = found["target_tokens"]
    assert tokens == [tokens[0], tokens[1]] * 2 + [tokens[0]]
    assert tokens[0] != tokens[1]
    assert len(found["source_tokens"]) == 5
    assert found["settings"]["arch"] == "transformer_iwslt_de_en"
    assert not (pair_runs["none"] / "dump.zarr.creating.tmp").exists()
    with pytest.raises(UserError, match="expected at least 7 updates in an epoch, found 6"):
        speed.main([*map(str, pair_runs.values()), "--out", str(out), "--batches", "7"])


def test_arms_of_other_sizes_are_not_timed_together(
    launcher: Launcher, pair_runs: dict[str, Path], pairs_corpus: Path, tmp_path: Path
) -> None:
    run = tmp_path / "wide" / "seed1"
    done = launcher.run("train", pair_arguments(pairs_corpus, run, "all", "--encoder-ffn-embed-dim", 48, last=1))
    assert done.status == 0
    with pytest.raises(
        UserError, match=r"differ in their sharing alone; none and wide differ in encoder_ffn_embed_dim"
    ):
        speed.main([str(pair_runs["none"]), str(run), "--out", str(tmp_path / "speed.json")])
