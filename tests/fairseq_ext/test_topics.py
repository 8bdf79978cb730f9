"""Topics of training examples: what is found, and that a file of another text is refused."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import adjusted_rand_score
from topical_corpus import END, topical_examples, write_split

from fairseq_ext.errors import UserError
from fairseq_ext.sampling import topic_model
from fairseq_ext.sampling.topic_model import Progress, Split, choose_columns, default_topics, find_topics
from fairseq_ext.sampling.topics import bin_sha256, load_topics, main

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES, KNOWN = topical_examples()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("topical")
    write_split(folder / "train", EXAMPLES)
    return folder


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A corpus of 40 examples and its topics."""
    write_split(tmp_path / "train", EXAMPLES[:40])
    main([str(tmp_path), "--topics", "3", "--dimensions", "4"])
    return tmp_path


def edit(path: Path, **changes: object) -> None:
    with np.load(path) as file:
        arrays = dict(file)
    about = json.loads(str(arrays["about"])) | changes.pop("about", {})
    np.savez(path, **(arrays | {"about": np.array(json.dumps(about))} | changes))


def test_split_reads_what_was_written_without_specials(folder: Path) -> None:
    split = Split(folder / "train")
    chosen = np.array([7, 3, 1499, 3])
    tokens, place = split.gather(chosen)
    for at, index in enumerate(chosen):
        expected = EXAMPLES[index][EXAMPLES[index] != END]
        np.testing.assert_array_equal(tokens[place == at], expected)
        np.testing.assert_array_equal(split.example(int(index)), expected)


def test_chunks_cover_examples_once_and_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_model, "CHUNK", 500)
    split = Split(folder / "train")
    chosen = np.array([5, 900, 2, *range(1000, 1400)])
    chunks = list(split.chunks(chosen))
    np.testing.assert_array_equal(np.concatenate(chunks), chosen)
    assert len(chunks) > 10
    assert max(split.sizes[chunk].sum() for chunk in chunks) <= 500 + split.sizes.max()
    np.testing.assert_array_equal(np.concatenate(list(split.chunks())), np.arange(1500))


def test_counts_and_document_frequencies_against_brute_force(folder: Path) -> None:
    split = Split(folder / "train")
    frequencies = split.document_frequencies(Progress("test"))
    brute = Counter(token for example in EXAMPLES for token in set(example.tolist()) if token != END)
    assert {token: int(n) for token, n in enumerate(frequencies) if n} == brute
    column = choose_columns(frequencies, len(EXAMPLES))
    kept = {token for token, n in brute.items() if 3 <= n <= 300}
    assert set(np.flatnonzero(column >= 0).tolist()) == kept
    counts = split.counts(np.array([11, 4]), column).toarray()
    for row, index in enumerate((11, 4)):
        expected = Counter(token for token in EXAMPLES[index].tolist() if token in kept)
        assert {token: counts[row, column[token]] for token in expected} == expected
        assert counts[row].sum() == sum(expected.values())


def test_very_rare_tokens_are_left_out_by_the_size_of_the_corpus() -> None:
    column = choose_columns(np.array([0, 9, 10, 100_000, 100_001]), 500_000)
    assert (column >= 0).tolist() == [False, False, True, True, False]


def test_vectors_against_scikit_learns_own_pipeline(folder: Path) -> None:
    """TfidfVectorizer on the examples as lists of words, and the same SVD, give the same vectors."""
    found = find_topics(Split(folder / "train"), topics=10, dimensions=12, seed=3)
    texts = [[f"{token:05d}" for token in example.tolist() if token != END] for example in EXAMPLES]
    weigh = TfidfVectorizer(analyzer=lambda text: text, sublinear_tf=True, min_df=3, max_df=0.2)
    expected = TruncatedSVD(12, random_state=3).fit_transform(weigh.fit_transform(texts))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    cosine = (found.vector.astype(np.float64) * expected).sum(axis=1)
    assert cosine.min() > 0.999


def test_known_topics_are_found_with_any_chunk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = Split(folder / "train")
    found = find_topics(split, topics=10, dimensions=16, seed=1)
    assert adjusted_rand_score(KNOWN, found.topic) > 0.8
    again = find_topics(split, topics=10, dimensions=16, seed=1)
    monkeypatch.setattr(topic_model, "CHUNK", 3000)
    in_chunks = find_topics(split, topics=10, dimensions=16, seed=1)
    for other in (again, in_chunks):
        np.testing.assert_array_equal(found.topic, other.topic)
        np.testing.assert_array_equal(found.vector, other.vector)
    assert not np.array_equal(found.topic, find_topics(split, topics=10, dimensions=16, seed=2).topic)


def test_fitted_on_a_sample_all_examples_are_placed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_model, "SAMPLE", 400)
    found = find_topics(Split(folder / "train"), topics=10, dimensions=16, seed=1)
    assert found.about["sample"] == 400
    assert adjusted_rand_score(KNOWN, found.topic) > 0.7


def test_vectors_have_length_one_and_centres_are_means(folder: Path) -> None:
    found = find_topics(Split(folder / "train"), topics=8, dimensions=16)
    vector = found.vector.astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(vector, axis=1), 1, atol=2e-3)
    for topic, centre in enumerate(found.centre):
        np.testing.assert_allclose(vector[found.topic == topic].mean(axis=0), centre, atol=1e-6)


def test_information_against_brute_force(folder: Path) -> None:
    found = find_topics(Split(folder / "train"), topics=8, dimensions=4)
    frequency = Counter(token for example in EXAMPLES for token in set(example.tolist()))
    for index in (0, 700, 1499):
        text = EXAMPLES[index][:-1].tolist()
        expected = sum(np.log(1501 / (1 + frequency[token])) for token in set(text)) / len(text)
        assert found.information[index] == pytest.approx(expected, rel=1e-5)


def test_default_number_of_topics() -> None:
    assert [default_topics(n) for n in (10, 6386, 60_000, 811_493)] == [8, 28, 86, 256]


def test_tiny_and_uniform_corpora(tmp_path: Path) -> None:
    write_split(tmp_path / "few", [np.array([4, 5, END]), np.array([6, 7, END]), np.array([5, 6, END])])
    assert len(find_topics(Split(tmp_path / "few"), topics=2).topic) == 3
    write_split(tmp_path / "same", [np.array([4, 5, END])] * 9)
    assert len(find_topics(Split(tmp_path / "same"), topics=4).centre) == 1
    write_split(tmp_path / "empty", [np.array([END])] * 9)
    with pytest.raises(UserError, match="at least 2 examples and 2 different tokens; found 9 and 0"):
        find_topics(Split(tmp_path / "empty"), topics=4)
    with pytest.raises(UserError, match="--topics 4: the split has only 3 examples"):
        find_topics(Split(tmp_path / "few"), topics=4)


def test_file_gives_back_what_was_found(made: Path) -> None:
    found = find_topics(Split(made / "train"), 3, 4)
    read = load_topics(made / "topics.npz", made / "train.bin")
    np.testing.assert_array_equal(read.topic, found.topic)
    np.testing.assert_array_equal(read.vector, found.vector)
    np.testing.assert_array_equal(read.centre, found.centre)
    np.testing.assert_array_equal(read.information, found.information)
    assert (read.topic.dtype, read.vector.dtype, read.centre.dtype) == (np.int32, np.float16, np.float32)
    assert read.about["bin_sha256"] == hashlib.sha256((made / "train.bin").read_bytes()).hexdigest()
    assert {"format_version", "method", "seed", "split"} <= read.about.keys()
    assert sorted(path.name for path in made.iterdir()) == ["topics.npz", "train.bin", "train.idx"]


def test_topics_of_another_text_are_refused(made: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    write_split(other / "train", EXAMPLES[1:41])
    with pytest.raises(UserError, match=r"found those of another text .*select_topics\.sh"):
        load_topics(made / "topics.npz", other / "train.bin")


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda path: path.unlink(), "found no such file"),
        (lambda path: path.write_text("nothing"), "cannot be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:-300]), "cannot be read"),
        (lambda path: np.savez(path, topic=np.arange(3)), "cannot be read"),
        (lambda path: np.savez(path, about=np.array([None], dtype=object), topic=1), "cannot be read"),
        (lambda path: edit(path, about={"format": "other"}), "found something else"),
        (lambda path: edit(path, about={"format_version": 2}), "format version 1 .* found version 2"),
        (lambda path: edit(path, topic=np.full(40, 3, np.int32)), "found something else"),
        (lambda path: edit(path, topic=np.zeros(39, np.int32)), "found something else"),
        (lambda path: edit(path, vector=np.zeros((40, 4))), "found something else"),
        (lambda path: edit(path, information=np.zeros(39, np.float32)), "found something else"),
    ],
)
def test_broken_files_are_refused_with_what_to_do(made: Path, break_it: object, said: str) -> None:
    break_it(made / "topics.npz")
    with pytest.raises(UserError, match=said) as error:
        load_topics(made / "topics.npz", made / "train.bin")
    assert "scripts/select_topics.sh" in str(error.value)


def test_hash_comes_from_corpus_json_only_if_the_size_agrees(made: Path) -> None:
    true = hashlib.sha256((made / "train.bin").read_bytes()).hexdigest()
    size = (made / "train.bin").stat().st_size
    listed = {"splits": {"train": {"bin_bytes": size, "bin_sha256": "listed"}}}
    (made / "corpus.json").write_text(json.dumps(listed))
    assert bin_sha256(made / "train.bin") == "listed"
    listed["splits"]["train"]["bin_bytes"] -= 1
    (made / "corpus.json").write_text(json.dumps(listed))
    assert bin_sha256(made / "train.bin") == true
    for text in ("[]", "{", '{"splits": 3}'):
        (made / "corpus.json").write_text(text)
        assert bin_sha256(made / "train.bin") == true
    with pytest.raises(UserError, match="found no such file"):
        bin_sha256(made / "none.bin")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--topics", "1"], "--topics: expected at least 2, found 1"),
        (["--dimensions", "0"], "--dimensions: expected at least 1, found 0"),
        (["--seed", "-1"], "--seed: expected at least 0, found -1"),
        (["--split", "test"], r"found no test\.bin"),
        (["--out", "/dev/null/topics.npz"], "give another file with --out"),
    ],
)
def test_command_refuses(made: Path, options: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        main([str(made), "--topics", "3", *options])


def test_script_runs_from_any_folder_and_ends_in_one_line(made: Path) -> None:
    script = ["bash", str(ROOT / "scripts" / "select_topics.sh")]
    work = made / "elsewhere"
    work.mkdir()
    done = subprocess.run([*script, "..", "--topics", "3", "--out", "t.npz"], cwd=work, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("t.npz: 3 topics of ")
    load_topics(work / "t.npz", made / "train.bin")
    failed = subprocess.run([*script, "none"], cwd=work, capture_output=True, text=True)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("error: expected a split binarised by fairseq at none/train.bin")
    assert "Traceback" not in failed.stderr
