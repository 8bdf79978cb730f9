"""IWSLT 2014: what is read from the archive, how it is split, and what is said when something is wrong."""

from __future__ import annotations

import html
import http.server
import io
import tarfile
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora import iwslt14

Pairs = list[tuple[str, str]]
Bilingual = Callable[..., Pairs]


def files(train: Pairs, tests: dict[str, Pairs]) -> dict[str, str]:
    """The files of an archive: English is the pairs' first side, German the second."""
    found = {}
    for side, language in enumerate(("en", "de")):
        talks = [
            f"<url>http://talk/{start}</url>\n<keywords>odd, {language}</keywords>\n<talkid>{start}</talkid>\n"
            f"<title>{train[start][side]}</title>\n"
            + "".join(f"<description> {pair[side]} </description>\n" for pair in train[start + 1 : start + 2])
            + "".join(f" {pair[side]} \n" for pair in train[start + 2 : start + 20])
            for start in range(0, len(train), 20)
        ]
        found[f"train.tags.de-en.{language}"] = "".join(talks)
        for name, pairs in tests.items():
            segments = "".join(
                f'<seg id="{n}"> {html.escape(pair[side])} </seg>\n' for n, pair in enumerate(pairs, start=1)
            )
            found[f"IWSLT14.{name}.de-en.{language}.xml"] = (
                f'<?xml version="1.0" encoding="UTF-8"?>\n<mteval>\n<refset>\n<doc docid="1">\n<title>Not taken</title>\n{segments}</doc>\n'
                "</refset>\n</mteval>\n"
            )
    return found


def pack(path: Path, contents: dict[str, str], left_out: tuple[str, ...] = ()) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in contents.items():
            if name not in left_out:
                entry = tarfile.TarInfo(f"de-en/{name}")
                entry.size = len(text.encode())
                archive.addfile(entry, io.BytesIO(text.encode()))
    return path


def german_first(pairs: Pairs) -> Pairs:
    return [(de, en) for en, de in pairs]


@pytest.fixture
def small(bilingual: Bilingual, monkeypatch: pytest.MonkeyPatch) -> tuple[Pairs, dict[str, Pairs]]:
    """200 training pairs and five test sets of 4, whose numbers stand for the published ones."""
    pairs = bilingual(220)
    tests = {name: pairs[200 + 4 * n : 204 + 4 * n] for n, name in enumerate(iwslt14.TESTS)}
    tests["TED.tst2011"][0] = ("Salt & pepper <b>", "Salz & Pfeffer <b>")
    monkeypatch.setattr(iwslt14, "TEST_PAIRS", 20)
    monkeypatch.setattr(iwslt14, "LEAST_TRAINING_PAIRS", 200)
    return pairs[:200], tests


def test_splits(small: tuple[Pairs, dict[str, Pairs]], tmp_path: Path, prepare_pairs: Any) -> None:
    train, tests = small
    train[30] = (tests["TED.dev2010"][1][0], tests["TED.dev2010"][1][1].upper())
    train[46] = (train[45][0], train[45][1].upper())  # number 46, held out for validation, has the source of number 47
    path = pack(tmp_path / "de-en.tgz", files(train, tests))
    found = prepare_pairs(tmp_path / "bin", "iwslt14", "--from", path)
    assert found.languages == ["de", "en"]
    assert found.raw("test") == german_first([pair for name in iwslt14.TESTS for pair in tests[name]])
    kept = train[:46] + train[47:]  # a repeated pair but for case
    assert found.raw("valid") == german_first(kept[22::23])
    rest = [pair for number, pair in enumerate(kept, start=1) if number % 23]
    assert found.pairs("train") == german_first([pair for pair in rest if pair != train[30]])
    assert found.corpus["dropped"]["source_in_held_out_text"] == 1
    assert found.corpus["dropped"]["repeated_pairs"] == 1
    found.held_out_is_apart()
    (tmp_path / "folder/de-en").mkdir(parents=True)
    for name, text in files(train, tests).items():
        (tmp_path / "folder/de-en" / name).write_text(text, encoding="utf-8")
    for place in (tmp_path, tmp_path / "folder", tmp_path / "folder/de-en"):
        again = prepare_pairs(tmp_path / "bin", "iwslt14", "--from", place, "--name", "again", "--overwrite").contents()
        different = {name for name, content in found.contents().items() if content != again[name]}
        assert different == {"corpus.json"}


def test_download(
    small: tuple[Pairs, dict[str, Pairs]], tmp_path: Path, prepare_pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "served").mkdir()
    pack(tmp_path / "served/de-en.tgz", files(*small))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served")))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        assert "HTTP 404" in prepare_pairs(tmp_path / "bin", "iwslt14", "--url", f"{address}/missing.tgz").error
        found = prepare_pairs(tmp_path / "bin", "iwslt14", "--url", f"{address}/de-en.tgz")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert found.corpus["source"]["files"][0]["name"] == "iwslt14.de-en.tgz"
    assert found.raw("valid")


def test_bad_archives(small: tuple[Pairs, dict[str, Pairs]], tmp_path: Path, prepare_pairs: Any) -> None:
    contents = files(*small)

    def error(place: Path, *options: object) -> str:
        found = prepare_pairs(tmp_path / "bin", "iwslt14", "--from", place, *options).error
        assert not any((tmp_path / "bin").glob("*"))
        return found

    assert "does not exist" in error(tmp_path / "nothing")
    assert "train.tags.de-en.de, train.tags.de-en.en and 10 more missing" in error(tmp_path)
    missing = "IWSLT14.TEDX.dev2012.de-en.en.xml"
    assert f"{missing} missing" in error(pack(tmp_path / "a.tgz", contents, (missing,)))
    (tmp_path / "b.tgz").write_text("no archive")
    assert "a whole tar archive was expected" in error(tmp_path / "b.tgz")
    whole = pack(tmp_path / "c.tgz", contents).read_bytes()
    (tmp_path / "c.tgz").write_bytes(whole[: len(whole) // 2])
    assert "a whole tar archive was expected" in error(tmp_path / "c.tgz")
    uneven = {**contents, "train.tags.de-en.de": contents["train.tags.de-en.de"] + "Noch eine.\n"}
    assert "201 of de and 200 of en were found" in error(pack(tmp_path / "d.tgz", uneven))
    name = "IWSLT14.TED.tst2012.de-en.en.xml"
    uneven = {**contents, name: contents[name].replace('<seg id="1">', "<gone>")}
    assert "4 of de and 3 of en were found" in error(pack(tmp_path / "e.tgz", uneven))
    train, tests = small
    fewer = pack(tmp_path / "f.tgz", files(train, {**tests, "TED.tst2012": tests["TED.tst2012"][:2]}))
    assert "20 test pairs were expected, 18 were found" in error(fewer)
    shorter = pack(tmp_path / "g.tgz", files(train[:180], tests))
    assert "at least 200 training pairs were expected, 180 were found" in error(shorter)
    assert prepare_pairs(tmp_path / "bin", "iwslt14", "--from", shorter, "--unchecked").status == 0


@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_no_held_out_source_is_in_training(data: Any, prepare_pairs: Any, bilingual: Bilingual) -> None:
    pairs = bilingual(100)
    tests = {name: pairs[80 + 4 * n : 84 + 4 * n] for n, name in enumerate(iwslt14.TESTS)}
    change = st.sampled_from([str, str.upper, str.swapcase, lambda text: text.replace(" ", " \u00a0")])
    more = data.draw(st.lists(st.tuples(st.sampled_from(pairs), change), max_size=60))
    train = data.draw(st.permutations(pairs[:80] + [(pair[0] + " So.", one(pair[1])) for pair, one in more]))
    with tempfile.TemporaryDirectory() as name:
        path = pack(Path(name) / "de-en.tgz", files(train, tests))
        found = prepare_pairs(Path(name) / "bin", "iwslt14", "--from", path, "--unchecked", "--vocabulary", 60)
        found.held_out_is_apart()
