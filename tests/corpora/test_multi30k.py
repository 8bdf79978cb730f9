"""Multi30k: the published splits, downloads from a server on this machine, and what is said when something is wrong."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora import download, multi30k

Pairs = list[tuple[str, str]]
Bilingual = Callable[..., Pairs]
NUMBERS = {"train": 120, "val": 12, "test_2016_flickr": 10, "test_2017_flickr": 8, "test_2017_mscoco": 6}


def text_of(pairs: Pairs, side: int) -> bytes:
    return "".join(f"{pair[side]}\n" for pair in pairs).encode()


def write(folder: Path, parts: dict[str, Pairs], compressed: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part, pairs in parts.items():
        for side, language in enumerate(("en", "de")):
            text = text_of(pairs, side)
            name = f"{part}.{language}" + (".gz" if compressed else "")
            (folder / name).write_bytes(gzip.compress(text, mtime=0) if compressed else text)


@pytest.fixture
def parts(bilingual: Bilingual, monkeypatch: pytest.MonkeyPatch) -> dict[str, Pairs]:
    """A small edition, whose numbers and hashes stand for the published ones. Training has two captions of the held-out sets."""
    pairs = bilingual(sum(NUMBERS.values()) - 2)
    found, start = {}, 0
    for part, number in NUMBERS.items():
        size = number - 2 if part == "train" else number
        found[part] = pairs[start : start + size]
        start += size
    found["train"] += [
        (found["val"][3][0].upper(), "Ganz anders als vorher."),
        (found["test_2016_flickr"][0][0], "Auch das ist anders."),
    ]
    monkeypatch.setattr(multi30k, "PAIRS", NUMBERS)
    hashes = {
        f"{part}.{language}": hashlib.sha256(text_of(found[part], side)).hexdigest()
        for part in NUMBERS
        for side, language in enumerate(("en", "de"))
        if part != "test_2017_mscoco"
    }
    monkeypatch.setattr(multi30k, "TEXT_SHA256", hashes)
    return found


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serves tmp_path/served; the address."""
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "served").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served")))
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    thread.join()
    found.server_close()


def test_published_splits(parts: dict[str, Pairs], tmp_path: Path, prepare_pairs: Any) -> None:
    write(tmp_path / "gz", parts)
    write(tmp_path / "plain", parts, compressed=False)
    found = prepare_pairs(tmp_path / "bin", "multi30k", "--from", tmp_path / "gz")
    assert found.raw("valid") == parts["val"]
    assert found.raw("test") == parts["test_2016_flickr"]
    assert found.pairs("train") == parts["train"][:-2]
    assert found.corpus["dropped"]["source_in_held_out_text"] == 2
    found.held_out_is_apart()
    other = prepare_pairs(
        tmp_path / "bin", "multi30k", "--from", tmp_path / "plain", "--name", "b", "--test", "test_2017_flickr"
    )
    assert other.raw("test") == parts["test_2017_flickr"]
    assert other.corpus["dropped"]["source_in_held_out_text"] == 1
    assert (
        "options.test"
        in prepare_pairs(tmp_path / "bin", "multi30k", "--from", tmp_path / "gz", "--test", "test_2017_mscoco").error
    )
    turned = prepare_pairs(
        tmp_path / "bin",
        "multi30k",
        "--from",
        tmp_path / "gz",
        "--name",
        "c",
        "--source-lang",
        "de",
        "--target-lang",
        "en",
    )
    assert turned.raw("test") == [(target, source) for source, target in parts["test_2016_flickr"]]
    assert (turned.folder / "test.de-en.de.bin").exists()


def test_download(parts: dict[str, Pairs], tmp_path: Path, prepare_pairs: Any, server: str) -> None:
    write(tmp_path / "served", parts)
    first = prepare_pairs(tmp_path / "bin", "multi30k", "--url", server)
    assert first.corpus["source"]["address"] == server
    assert first.raw("test") == parts["test_2016_flickr"]
    kept = sorted(path.name for path in (tmp_path / "bin/downloads").iterdir())
    assert len(kept) == 6
    assert kept[0] == "multi30k.test_2016_flickr.de.gz"
    (tmp_path / "served/val.en.gz").unlink()  # what is there is not fetched again
    assert "nothing to do" in prepare_pairs(tmp_path / "bin", "multi30k", "--url", server).said


def test_a_download_goes_on(
    parts: dict[str, Pairs], tmp_path: Path, prepare_pairs: Any, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    write(tmp_path / "served", parts)
    (tmp_path / "served/val.de.gz").rename(tmp_path / "away")
    error = prepare_pairs(tmp_path / "bin", "multi30k", "--url", server).error
    assert "val.de.gz could not be downloaded" in error
    assert not (tmp_path / "bin/multi30k").exists()
    (tmp_path / "away").rename(tmp_path / "served/val.de.gz")
    (tmp_path / "served/train.en.gz").unlink()
    assert prepare_pairs(tmp_path / "bin", "multi30k", "--url", server).status == 0
    for path in (tmp_path / "bin/downloads").iterdir():
        path.unlink()
    (tmp_path / "served/train.en.gz").write_bytes(gzip.compress(b"Another text.\n" * 120))
    assert (
        "not the expected kind of file"
        in prepare_pairs(tmp_path / "bin", "multi30k", "--url", server, "--overwrite").error
    )
    assert (
        "no connection"
        in prepare_pairs(tmp_path / "bin", "multi30k", "--url", "http://127.0.0.1:1", "--overwrite").error
    )


def test_bad_folders(parts: dict[str, Pairs], tmp_path: Path, prepare_pairs: Any) -> None:
    place = tmp_path / "in"

    def error(*options: object) -> str:
        found = prepare_pairs(tmp_path / "bin", "multi30k", "--from", place, *options).error
        assert not any((tmp_path / "bin").glob("*"))
        return found

    assert "a folder with train.en.gz" in error()
    write(place, parts)
    (place / "val.de.gz").rename(place / "validation.de.gz")
    assert "val.de (or val.de.gz) missing" in error()
    (place / "validation.de.gz").rename(place / "val.de.gz")
    assert "this corpus has en and de" in error("--target-lang", "fr")
    short = {**parts, "train": parts["train"][:-1]}
    write(place, short)
    assert "120 lines were expected, 119 were found" in error()
    write(place, {**parts, "train": [*parts["train"][:-1], ("Other.", "Anders.")]})
    assert "a text with the sha256" in error()
    (place / "train.de.gz").write_bytes(gzip.compress(text_of(parts["train"], 1))[:-30])
    write(tmp_path / "en", parts)
    (place / "train.en.gz").write_bytes((tmp_path / "en/train.en.gz").read_bytes())
    assert "damaged or cut short" in error()
    (place / "train.de.gz").write_bytes(gzip.compress(text_of(parts["train"][:-3], 1)))
    assert "has 117; line i" in error("--unchecked")
    write(place, short)
    found = prepare_pairs(tmp_path / "bin", "multi30k", "--from", place, "--unchecked")
    assert found.corpus["splits"]["train"]["pairs"] == 118


@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_no_held_out_source_is_in_training(data: Any, prepare_pairs: Any, bilingual: Bilingual) -> None:
    pairs = bilingual(80)
    held = {"val": pairs[60:70], "test_2016_flickr": pairs[70:]}
    change = st.sampled_from([str, str.upper, str.swapcase, lambda text: text.replace(" ", "\u2003 ")])
    more = data.draw(st.lists(st.tuples(st.sampled_from(pairs[55:]), change), max_size=40))
    train = data.draw(st.permutations(pairs[:60] + [(one(pair[0]), pair[1]) for pair, one in more]))
    with tempfile.TemporaryDirectory() as name:
        write(Path(name) / "in", {"train": train, **held})
        found = prepare_pairs(
            Path(name) / "bin", "multi30k", "--from", Path(name) / "in", "--unchecked", "--vocabulary", 60
        )
        found.held_out_is_apart()
        assert found.raw("test") == held["test_2016_flickr"]


def test_the_real_files(lab_data: Path, tmp_path: Path, prepare_pairs: Any) -> None:
    place = lab_data / "multi30k"
    if not place.is_dir():
        pytest.skip("the folder of real data has no multi30k")
    found = prepare_pairs(tmp_path / "bin", "multi30k", "--from", place, "--vocabulary", 1000)
    assert [facts["pairs"] for facts in found.corpus["splits"].values()] == [28_994, 1_014, 1_000]
    found.held_out_is_apart()
