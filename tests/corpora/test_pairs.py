"""Corpora of sentence pairs: filters, splits, vocabulary, what fairseq reads of them, and your own two files."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora import pair_build, pair_vocabulary
from corpora.errors import CorpusError, Terminated
from corpora.pairs import Limits, Pair, filtered, is_empty, key, published, split_by_source, tidy

Bilingual = Callable[..., list[Pair]]
LIMITS = Limits(max_words=100, max_ratio=3.0)


def plain_key(text: str) -> str:
    """The rule of the format's page, written out again."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def write(folder: Path, pairs: list[Pair], name: str = "text") -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"{name}.en", folder / f"{name}.de"
    for side, path in enumerate(paths):
        path.write_text("".join(f"{pair[side]}\n" for pair in pairs), encoding="utf-8")
    return paths


@pytest.fixture
def mine(tmp_path: Path, prepare_pairs: Any) -> Callable[..., Any]:
    """mine(source, target, options...): the command for two files; English and German where nothing else is said."""

    def call(source: Path, target: Path, *options: object) -> Any:
        given_ = [str(option) for option in options]
        languages = [] if "--source-lang" in given_ else ["--source-lang", "en", "--target-lang", "de"]
        name = [] if "--name" in given_ else ["--name", "mine"]
        return prepare_pairs(tmp_path / "bin", "pair_files", *name, *languages, source, target, *given_)

    return call


# --- filters and splits


def test_sentences_are_compared_by_nfkc_case_and_single_white_space() -> None:
    assert key("  Ｔｈｅ\u00a0STRASSE  ﬁnds\t") == key("the straße finds") == "the strasse finds"
    assert key("Tee.") != key("Tee")
    assert key("a \u200bb\ufeff") == key("a b")  # sentencepiece sees no difference
    assert tidy(" a\u2028b\r\n\x0b c\x85") == "a b c"
    assert [is_empty(text) for text in ("", " \u200b\ufeff", "\x01\ufffd", "▁", "-", "語", "\u0301")] == [
        True, True, True, True, False, False, False,
    ]  # fmt: skip


def test_filters_count_what_they_leave_out() -> None:
    pairs = [
        ("One two.", "Eins zwei."),
        ("ONE  two.", "eins ZWEI."),  # the same but for case and white space
        ("One two.", "Eins und zwei."),  # another translation
        ("", "Leer."),
        ("Empty.", " \u200b"),
        ("Same.", "Same."),
        ("w " * 11, "w " * 9),
        ("Short", "w " * 7),
        ("Short", "w " * 6 + "w"),
    ]
    kept, dropped = filtered(pairs, Limits(max_words=10, max_ratio=3.0, identical=False))
    assert kept == [pairs[0], pairs[2]]
    assert dropped == {
        "empty_side": 2, "identical_sides": 1, "too_many_words": 1, "length_ratio": 2, "repeated_pairs": 1,
    }  # fmt: skip
    assert ("Short", "w " * 5 + "w") in filtered([("Short", "w " * 5 + "w")], LIMITS)[0]  # 6 = 3 * 1 + 3
    assert filtered([pairs[5]], LIMITS)[0] == [pairs[5]]  # allowed where the corpus does not forbid it


texts = st.text(alphabet="abAB ﬁＡß\u00a0ſ", min_size=1, max_size=4).filter(lambda text: not is_empty(text))
some_pairs = st.lists(st.tuples(texts, texts), min_size=10, max_size=60)


@given(some_pairs, st.integers(0, 5), st.integers(1, 30))
def test_no_held_out_source_is_in_training(pairs: list[Pair], seed: int, held_out: int) -> None:
    distinct = {plain_key(source) for source, _ in pairs}
    if len({key(source) for source, _ in pairs}) < 10:
        with pytest.raises(CorpusError, match="at least 10 distinct"):
            split_by_source(pairs, seed, {}, held_out)
        return
    splits = split_by_source(pairs, seed, {}, held_out)
    of = {name: [plain_key(source) for source, _ in part] for name, part in splits.by_name().items()}
    assert not set(of["train"]) & {*of["valid"], *of["test"]}
    assert not set(of["valid"]) & set(of["test"])
    for split in ("valid", "test"):
        assert len(set(of[split])) == len(of[split]) <= held_out  # one pair of each source
    assert len(of["valid"]) == len(of["test"]) > 0
    assert {*of["train"], *of["valid"], *of["test"]} <= distinct
    left_out = splits.dropped["further_pairs_of_held_out_sources"]
    assert sum(map(len, of.values())) + left_out == len(pairs)
    again = split_by_source(pairs[::-1], seed, {}, held_out)
    for split in ("valid", "test"):  # which are held out does not depend on the order
        assert {key(source) for source, _ in again.by_name()[split]} == {
            key(source) for source, _ in splits.by_name()[split]
        }


@given(some_pairs, some_pairs, some_pairs)
def test_published_splits_stay_and_training_gives_way(train: list[Pair], valid: list[Pair], test: list[Pair]) -> None:
    splits = published(train, valid, test, "rule", {})
    assert (splits.valid, splits.test) == (valid, test)
    held = {plain_key(source) for source, _ in (*valid, *test)}
    assert not held & {plain_key(source) for source, _ in splits.train}
    assert splits.dropped["source_in_held_out_text"] == len(train) - len(splits.train)


# --- the whole corpus


def test_what_is_written(tmp_path: Path, mine: Any, bilingual: Bilingual) -> None:
    pairs = bilingual(200)
    pairs += [(pairs[5][0].upper(), "Etwas anderes."), ("", "leer"), pairs[0]]
    found = mine(*write(tmp_path, pairs))
    corpus = found.corpus
    names = {"corpus.json", "sentencepiece.model", "tokens.json", "raw"}
    names |= {f"dict.{language}.txt" for language in ("en", "de")}
    names |= {f"token_counts.{language}.npy" for language in ("en", "de")}
    names |= {
        f"{s}.en-de.{language}.{suffix}"
        for s in ("train", "valid", "test")
        for language in ("en", "de")
        for suffix in ("bin", "idx")
    }
    assert {path.name for path in found.folder.iterdir()} == names
    assert [path.name for path in (tmp_path / "bin").iterdir()] == ["mine"]
    assert (corpus["format"], corpus["format_version"], corpus["kind"]) == ("embedding-corpus", 1, "pairs")
    assert corpus["languages"] == ["en", "de"]
    assert (corpus["tokenizer"]["vocabulary"], corpus["rows"]) == (150, 154)
    assert corpus["dropped"]["empty_side"] == corpus["dropped"]["repeated_pairs"] == 1
    assert {split: facts["pairs"] for split, facts in corpus["splits"].items()}["valid"] == 20
    assert sum(facts["pairs"] for facts in corpus["splits"].values()) >= 200
    found.held_out_is_apart()
    # Each pair is there once, in its order, and the pieces give the text back.
    kept = {pair for pair in pairs if all(pair)}
    everything = [pair for split in ("train", "valid", "test") for pair in found.pairs(split)]
    assert len(everything) == len(set(everything))
    assert set(everything) <= kept
    for split in ("valid", "test"):
        assert found.pairs(split) == found.raw(split)  # ASCII and umlauts: normalisation changes nothing
    order = {pair: index for index, pair in reversed(list(enumerate(pairs)))}
    assert [order[pair] for pair in found.pairs("train")] == sorted(order[pair] for pair in found.pairs("train"))
    # Counts
    for side, language in enumerate(("en", "de")):
        counts = np.load(found.folder / f"token_counts.{language}.npy")
        rows = [row for example in found.examples(f"train.en-de.{language}") for row in (*example, 2)]
        assert (counts.dtype, counts.tolist()) == (np.int64, np.bincount(rows, minlength=154).tolist())
        facts = corpus["splits"]["test"]
        assert facts["words"][language] == sum(len(pair[side].split()) for pair in found.raw("test"))
        assert facts["tokens"][language] == sum(len(e) + 1 for e in found.examples(f"test.en-de.{language}"))
    contents = found.contents()
    listed = corpus["files"] | {
        name: each for facts in corpus["splits"].values() for name, each in facts["files"].items()
    }
    assert {*listed, "corpus.json"} == set(contents)
    assert all(len(contents[name]) == entry["bytes"] for name, entry in listed.items())


def test_fairseq_reads_it(tmp_path: Path, mine: Any, bilingual: Bilingual) -> None:
    from fairseq.data import Dictionary
    from fairseq.tasks.translation import TranslationConfig, TranslationTask

    found = mine(*write(tmp_path, bilingual(200)))
    dictionary = Dictionary.load(str(found.folder / "dict.en.txt"))
    assert (found.folder / "dict.en.txt").read_bytes() == (found.folder / "dict.de.txt").read_bytes()
    tokens = json.loads((found.folder / "tokens.json").read_text())
    assert [symbol.replace("▁", " ") for symbol in dictionary.symbols] == tokens
    assert len(dictionary) == 154
    both = sum(np.load(found.folder / f"token_counts.{language}.npy") for language in ("en", "de"))
    assert dictionary.count[4:] == both[4:].tolist()
    config = TranslationConfig(data=str(found.folder), dataset_impl=None)
    task = TranslationTask.setup_task(config)  # finds the languages by the files' names
    assert (config.source_lang, config.target_lang) == ("en", "de")
    for split in ("train", "valid", "test"):
        task.load_dataset(split)
    dataset = task.dataset("test")
    assert len(dataset) == 20
    for index, (source, target) in enumerate(found.raw("test")):
        item = dataset[index]
        for side, text in (("source", source), ("target", target)):
            assert item[side][-1] == dictionary.eos()
            pieces = task.source_dictionary.string(item[side])
            assert pieces.replace(" ", "").replace("▁", " ").strip() == text


def test_same_input_same_bytes(tmp_path: Path, mine: Any, bilingual: Bilingual) -> None:
    paths = write(tmp_path, bilingual(200))
    for model in ("bpe", "unigram"):
        first = mine(*paths, "--model-type", model, "--vocabulary", 60, "--overwrite").contents()
        second = mine(*paths, "--model-type", model, "--vocabulary", 60, "--overwrite").contents()
        assert first == second
        assert json.loads(first["corpus.json"])["tokenizer"]["name"] == f"sentencepiece {model}"
    other = mine(*paths, "--vocabulary", 60, "--seed", 2, "--overwrite").contents()
    assert other["raw/test.en.txt"] != first["raw/test.en.txt"]


def test_made_once(tmp_path: Path, mine: Any, bilingual: Bilingual) -> None:
    paths = write(tmp_path, bilingual(200))
    found = mine(*paths)
    before = {name: path.stat().st_mtime_ns for name in found.contents() if (path := found.folder / name)}
    assert "nothing to do" in mine(*paths).said
    assert before == {name: (found.folder / name).stat().st_mtime_ns for name in before}
    assert "made otherwise (options.vocabulary: there 150, now 140)" in mine(*paths, "--vocabulary", 140).error
    assert "languages" in mine(*paths, "--source-lang", "de", "--target-lang", "en").error
    for name in ("train.en-de.de.bin", "raw/test.en.txt", "dict.de.txt"):
        whole = (found.folder / name).read_bytes()
        (found.folder / name).write_bytes(whole[:-1])
        assert f"{name} is missing or has another size" in mine(*paths).error
        (found.folder / name).write_bytes(whole)
    assert mine(*paths, "--vocabulary", 140, "--overwrite").corpus["rows"] == 144


def test_given_splits(tmp_path: Path, mine: Any, bilingual: Bilingual) -> None:
    pairs = bilingual(200)
    valid = [("A  cat\u00a0sleeps.", "Eine Katze schläft."), (pairs[3][0].upper(), "Nein."), pairs[4], pairs[4]]
    test = [(pairs[7][0], "x " * 40), ("The ∑ house.", pairs[9][1])]
    found = mine(
        *write(tmp_path, pairs), "--valid", *write(tmp_path, valid, "v"), "--test", *write(tmp_path, test, "t")
    )
    assert found.raw("valid") == [(tidy(source), target) for source, target in valid]  # nothing is left out
    assert found.raw("test") == [(source, target.strip()) for source, target in test]
    corpus = found.corpus
    assert corpus["dropped"]["source_in_held_out_text"] == 3
    assert corpus["test_targets_in_training"] == 1
    assert corpus["unknown_tokens"]["test"] == {"en": 1, "de": 40}
    found.held_out_is_apart()
    assert "belong together" in mine(*write(tmp_path, pairs), "--valid", *write(tmp_path, valid, "v")).error


def test_compressed_files_and_odd_line_ends(tmp_path: Path, mine: Any, bilingual: Bilingual) -> None:
    r"""A carriage return, a form feed or U+2028 within a line does not end it: line i stays line i."""
    pairs = bilingual(120)
    plain = mine(*write(tmp_path, pairs)).contents()
    texts = ["".join(pair[side].replace(" ", odd, 1) + "\r\n" for pair in pairs) for side, odd in enumerate("\r\u2028")]
    for suffix, compress in ((".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)):
        paths = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
        for path, text in zip(paths, texts, strict=True):
            path.write_bytes(compress(("\ufeff" + text).encode()))
        found = mine(*paths, "--overwrite").contents()
        assert {name for name in plain if found[name] != plain[name]} == {"corpus.json"}


def test_symbols_of_fairseq_in_the_text(tmp_path: Path, mine: Any, bilingual: Bilingual) -> None:
    from fairseq.data import Dictionary

    pairs = [(f"x<pad>y<s>z</s> {source} ＜unk＞", f"<mask>{target}<pad>") for source, target in bilingual(200)]
    for model in ("bpe", "unigram"):
        found = mine(*write(tmp_path, pairs), "--model-type", model, "--overwrite", "--vocabulary", 65)
        dictionary = Dictionary.load(str(found.folder / "dict.en.txt"))
        assert len(dictionary) == len(set(dictionary.symbols)) == 69
        assert (dictionary.pad(), dictionary.eos(), dictionary.unk()) == (1, 2, 3)
        assert found.corpus["unknown_tokens"]["train"] == {"en": 0, "de": 0}
        assert found.pairs("test") == [tuple(t.replace("＜unk＞", "<unk>") for t in pair) for pair in found.raw("test")]


def test_limit(tmp_path: Path, mine: Any, bilingual: Bilingual) -> None:
    paths = write(tmp_path, bilingual(400))
    whole = mine(*paths, "--name", "whole")
    few = mine(*paths, "--limit-pairs", 80, "--vocabulary", 60)
    assert [facts["pairs"] for facts in few.corpus["splits"].values()] == [80, 10, 10]
    for split in ("train", "valid", "test"):
        chosen = set(few.pairs(split))
        assert [pair for pair in whole.pairs(split) if pair in chosen] == few.pairs(split)
    few.held_out_is_apart()


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_no_held_out_source_in_a_written_corpus(data: Any, prepare_pairs: Any, bilingual: Bilingual) -> None:
    pairs = bilingual(60)
    change = st.sampled_from([str, str.upper, str.lower, lambda text: text.replace(" ", " \u00a0"), str.title])
    more = data.draw(st.lists(st.tuples(st.sampled_from(pairs), change, change), max_size=80))
    pairs = data.draw(st.permutations(pairs + [(one(pair[0]), two(pair[1])) for pair, one, two in more]))
    with tempfile.TemporaryDirectory() as name:
        paths = write(Path(name), pairs)
        languages = ("--source-lang", "en", "--target-lang", "de")
        found = prepare_pairs(
            Path(name) / "bin", "pair_files", "--name", "mine", *languages, *paths, "--vocabulary", 60
        )
        found.held_out_is_apart()
        assert len({key(source) for source, _ in found.raw("test")}) == len(found.raw("test")) == 6


# --- bad input


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--source-lang", "de", "--target-lang", "de"), "are both de; two different languages"),
        (("--source-lang", "en-US", "--target-lang", "de"), "'en-US': a code of letters"),
        (("--vocabulary", 0), "--vocabulary 0: a whole number of at least 1"),
        (("--max-ratio", "nan"), "a number of at least 1"),
        (("--limit-pairs", 0), "--limit-pairs 0"),
        (("--name", "../x"), "--name '../x'"),
        (("--max-words", 1), "at least 10 distinct source sentences were expected, .*, 0 are left"),
    ],
)
def test_bad_options(tmp_path: Path, mine: Any, bilingual: Bilingual, options: tuple[object, ...], said: str) -> None:
    assert re.search(said, mine(*write(tmp_path, bilingual(100)), *options).error)
    assert not any((tmp_path / "bin").glob("*"))


def test_bad_files(tmp_path: Path, mine: Any, bilingual: Bilingual) -> None:
    source, target = write(tmp_path, bilingual(100))
    text = target.read_text()
    target.write_text(text + "Noch eine.\n")
    error = mine(source, target).error
    assert "has 100 lines" in error
    assert "has 101; line i" in error
    target.write_bytes("Eins\nZwei\n\u00fcber\n".encode("latin-1") + text.encode())
    assert "line 3: UTF-8 was expected, byte 0xfc" in mine(source, target).error
    assert "give the train split's de text" in mine(source, tmp_path / "nothing").error
    short = tmp_path / "short.gz"
    short.write_bytes(gzip.compress(text.encode())[:-20])
    assert "damaged or cut short" in mine(source, short).error
    few = write(tmp_path, bilingual(9), "few")
    assert "9 are left after the filters" in mine(*few).error
    paths = write(tmp_path, bilingual(100))
    empty = write(tmp_path, [("Full.", "Voll."), ("Empty.", "")], "empty")
    full = write(tmp_path, [("Full.", "Voll.")], "full")
    assert "test pair 2 has an empty target side" in mine(*paths, "--valid", *full, "--test", *empty).error
    none = write(tmp_path, [], "none")
    assert "the validation split has no pairs" in mine(*paths, "--valid", *none, "--test", *full).error
    assert (
        "no pair is left for the train split (left out: source in held out text 1)"
        in mine(*full, "--valid", *full, "--test", *full).error
    )
    assert not any((tmp_path / "bin").glob("*"))


@pytest.mark.parametrize("model", ["bpe", "unigram"])
def test_the_vocabulary_that_the_text_allows(tmp_path: Path, mine: Any, bilingual: Bilingual, model: str) -> None:
    """Both errors say a number, and that number works."""
    paths = write(tmp_path, bilingual(200))
    error = mine(*paths, "--model-type", model, "--vocabulary", 5000).error
    largest = int(error.partition("give --vocabulary ")[2].split()[0])
    assert "has no more than" in error
    error = mine(*paths, "--model-type", model, "--vocabulary", 5).error
    least = int(error.partition("give --vocabulary ")[2].split()[0])
    assert "different characters" in error
    assert not any((tmp_path / "bin").glob("*"))
    for size in (largest, least):
        found = mine(*paths, "--model-type", model, "--vocabulary", size, "--overwrite")
        assert found.corpus["rows"] == size + 4
    if model == "bpe":
        assert (
            "has no more than" in mine(*paths, "--model-type", model, "--vocabulary", largest + 1, "--overwrite").error
        )


@pytest.mark.parametrize("stop", [Terminated, KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_stopped_run_leaves_nothing(
    tmp_path: Path, mine: Any, bilingual: Bilingual, monkeypatch: pytest.MonkeyPatch, stop: Any
) -> None:
    paths = write(tmp_path, bilingual(200))
    own = pair_build._write_split

    def stopping(partial: Path, split: str, *arguments: Any) -> Any:
        if split == "test":
            assert (partial / "raw/valid.en.txt").exists()
            raise stop
        return own(partial, split, *arguments)

    monkeypatch.setattr(pair_build, "_write_split", stopping)
    assert mine(*paths).status == {Terminated: 143, KeyboardInterrupt: 130}.get(stop, 1)
    assert not any((tmp_path / "bin").iterdir())
    monkeypatch.undo()
    assert mine(*paths).status == 0


def test_what_sentencepiece_says_otherwise() -> None:
    assert "\n" not in pair_vocabulary._said("INTERNAL: odd\nthings", 5)
    assert "found no text" in pair_vocabulary._said("[!sentences_.empty()]", 5)


@pytest.mark.parametrize("module", ["pair_files", "multi30k", "iwslt14", "tatoeba", "libreoffice_help"])
def test_help_needs_the_standard_library_alone(module: str) -> None:
    import corpora

    scripts = Path(corpora.__file__).parents[1]
    call = [sys.executable, "-S", "-m", f"corpora.{module}", "--help"]
    done = subprocess.run(call, cwd=scripts, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--vocabulary N" in done.stdout
    assert "%(" not in done.stdout
