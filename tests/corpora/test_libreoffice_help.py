"""LibreOffice's help: Debian packages taken apart, paragraphs made plain and aligned, apt, and what is said when something is wrong."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora import apt, deb, libreoffice_help
from corpora.errors import CorpusError
from corpora.help_pages import paragraphs, plain

Pairs = list[tuple[str, str]]
Bilingual = Callable[..., Pairs]
FOLDER = {"en": "usr/share/libreoffice/help/en-US", "de": "usr/share/libreoffice/help/de"}


def tar(contents: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in contents.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def ar(members: dict[str, bytes]) -> bytes:
    result = b"!<arch>\n"
    for name, data in members.items():
        result += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
        )
    return result


def package(name: str, contents: dict[str, bytes], version: str = "4:7.4.7-1", compress: Any = lzma.compress) -> bytes:
    control = f"Package: {name}\nVersion: {version}\nDescription: help\n more of it\n".encode()
    suffix = {lzma.compress: "xz", gzip.compress: "gz", bytes: ""}.get(compress, "zst")
    dot = "." * bool(suffix)
    return ar(
        {
            "debian-binary": b"2.0\n",
            f"control.tar{dot}{suffix}": compress(tar({"control": control})),
            f"data.tar{dot}{suffix}": compress(tar(contents)),
        }
    )


def page(texts: list[str], tag: str = "p") -> bytes:
    lines = "".join(
        f'<{tag} id="par_id{n}" class="paragraph" dir="auto">{text}</{tag}>\n' for n, text in enumerate(texts)
    )
    return f"<html><body>\n{lines}</body></html>".encode()


def write(place: Path, pairs: Pairs, **options: Any) -> Path:
    """The two packages of a folder, ten paragraphs a page."""
    place.mkdir(parents=True, exist_ok=True)
    for side, (language, name) in enumerate(libreoffice_help.PACKAGES.items()):
        pages = {
            f"{FOLDER[language]}/text/{start:04}.html": page([escape(pair[side]) for pair in pairs[start : start + 10]])
            for start in range(0, len(pairs), 10)
        }
        pages["usr/share/doc/x.html"] = page(["Not help."])
        (place / f"{name}_4%3a7.4.7-1_all.deb").write_bytes(package(name, pages, **options))
    return place


# --- packages


@pytest.mark.parametrize("compress", [lzma.compress, gzip.compress, bytes])
def test_a_package_is_taken_apart(tmp_path: Path, compress: Any) -> None:
    path = tmp_path / "a.deb"
    path.write_bytes(package("a", {"usr/x.html": b"1", "usr/y.txt": b"22"}, compress=compress))
    assert deb.identity(path) == {"Package": "a", "Version": "4:7.4.7-1", "Description": "help"}
    assert dict(deb.files(path)) == {"usr/x.html": b"1", "usr/y.txt": b"22"}
    assert dict(deb.files(path, ".html")) == {"usr/x.html": b"1"}


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is not installed")
def test_a_package_made_by_dpkg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a/DEBIAN").mkdir(parents=True)
    (tmp_path / "a/DEBIAN/control").write_text(
        "Package: a\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b.org>\nDescription: a\n"
    )
    (tmp_path / "a/x.html").write_text("<p>")
    for kind in ("xz", "gzip", "zstd"):
        path = tmp_path / f"{kind}.deb"
        made = subprocess.run(
            ["dpkg-deb", f"-Z{kind}", "--build", tmp_path / "a", path], capture_output=True, check=False
        )
        if made.returncode and kind == "zstd":
            continue  # an old dpkg
        assert deb.identity(path)["Package"] == "a"
        assert dict(deb.files(path)) == {"x.html": b"<p>"}
        if kind == "zstd":
            monkeypatch.setattr(deb.shutil, "which", lambda name: None)
            with pytest.raises(CorpusError, match="zstd, which needs dpkg-deb"):
                list(deb.files(path))


def test_damaged_packages(tmp_path: Path) -> None:
    whole = package("a", {"usr/x.html": os.urandom(3000)})
    path = tmp_path / "a.deb"
    for cut in (4, 30, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(CorpusError, match=r"was expected|damaged") as error:
            list(deb.files(path))
        assert "\n" not in str(error.value)
    wrong = bytearray(whole)
    wrong[-1500] ^= 255
    path.write_bytes(wrong)
    with pytest.raises(CorpusError, match="cannot be unpacked"):
        list(deb.files(path))


# --- text


def test_plain_text() -> None:
    icon = '<img src="a.svg" alt="Icon">'
    assert plain(f"Click&nbsp;the <span class='emph'>Navigator</span>\n icon {icon}, then &lt;OK&gt;&amp;.") == (
        "Click the Navigator icon, then <OK>&."
    )
    assert plain(f"a {icon} b<br>c") == "a b c"
    switch = (
        'Hold <span id="s" class="switchinline"><span hidden="true" id="MACx" class="MAC">Command</span>'
        '<span hidden="true" id="defaultx">Ctrl<span>+</span></span></span> down'
    )
    assert plain(switch) == "Hold Ctrl+ down"
    assert plain(switch.replace("defaultx", "UNIXx")) == "Hold Command down"
    assert plain('<span class="switchinline"></span>x</span></b>') == "x"


def test_paragraphs_and_headings_with_an_id() -> None:
    html = '<p id="par_id1" dir="auto">A</p><P>no</P><p id="bm_1">no</p><h2 id="hd_id2">B\n b</h2><p id="par_id1">C</p>'
    assert paragraphs("t", html) == {
        ("t", "par_id1", 0): ("p", "A"),
        ("t", "hd_id2", 0): ("h2", "B b"),
        ("t", "par_id1", 1): ("p", "C"),
    }


# --- the corpus


def test_alignment(tmp_path: Path, prepare_pairs: Any, bilingual: Bilingual) -> None:
    pairs = bilingual(150)
    pairs[3] = ("Print x", "Print x")
    pairs[4] = ("", "")
    found = prepare_pairs(tmp_path / "bin", "libreoffice_help", "--from", write(tmp_path / "in", pairs))
    everything = [pair for split in ("train", "valid", "test") for pair in found.pairs(split)]
    assert sorted(everything) == sorted(pairs[:3] + pairs[5:])
    corpus = found.corpus
    assert (corpus["dropped"]["identical_sides"], corpus["dropped"]["empty_side"]) == (1, 1)
    assert corpus["source"]["packages"] == dict.fromkeys(libreoffice_help.PACKAGES.values(), "4:7.4.7-1")
    found.held_out_is_apart()
    assert "nothing to do" in prepare_pairs(tmp_path / "bin", "libreoffice_help", "--from", tmp_path / "in").said


def test_only_what_has_a_partner_of_the_same_kind(tmp_path: Path) -> None:
    paths = {}
    for language, texts in {"en": ["One", "Two", "Three"], "de": ["Eins", "Zwei"]}.items():
        pages = {
            "text/a.html": page(texts),
            "text/b.html": page(["Head"], "p" if language == "de" else "h1"),
            "text/" + language + ".html": page(["Alone"]),
        }
        paths[language] = tmp_path / language
        paths[language].write_bytes(package("x", {f"{FOLDER[language]}/{name}": data for name, data in pages.items()}))
    pairs, dropped = libreoffice_help.aligned(paths, ("en", "de"))
    assert pairs == [("One", "Eins"), ("Two", "Zwei")]
    assert dropped == {"paragraphs_without_partner": 2, "paragraphs_of_another_kind": 1}
    assert libreoffice_help.aligned(paths, ("de", "en"))[0] == [("Eins", "One"), ("Zwei", "Two")]


@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_no_held_out_source_is_in_training(data: Any, prepare_pairs: Any, bilingual: Bilingual) -> None:
    pairs = bilingual(60)
    change = st.sampled_from([str, str.upper, str.swapcase, lambda text: text.replace(" ", " \u00a0")])
    more = data.draw(st.lists(st.tuples(st.sampled_from(pairs), change), max_size=60))
    pairs = data.draw(st.permutations(pairs + [(one(pair[0]), pair[1] + "!") for pair, one in more]))
    with tempfile.TemporaryDirectory() as name:
        place = write(Path(name) / "in", pairs)
        found = prepare_pairs(Path(name) / "bin", "libreoffice_help", "--from", place, "--vocabulary", 60)
        found.held_out_is_apart()


def test_bad_packages(tmp_path: Path, prepare_pairs: Any, bilingual: Bilingual) -> None:
    place = tmp_path / "in"

    def error(*options: object) -> str:
        found = prepare_pairs(tmp_path / "bin", "libreoffice_help", "--from", place, *options).error
        assert not any((tmp_path / "bin").glob("*"))
        return found

    assert "a folder with libreoffice-help-en-us_*.deb" in error()
    write(place, bilingual(50))
    english, german = sorted(place.glob("*en-us*"))[0], sorted(place.glob("*-de_*"))[0]
    assert "this corpus has en and de" in error("--target-lang", "fr")
    saved = english.read_bytes(), german.read_bytes()
    german.unlink()
    assert "one file libreoffice-help-de_*.deb was expected, none was found" in error()
    german.write_bytes(saved[1])
    (place / "libreoffice-help-de_9_all.deb").write_bytes(saved[1])
    assert "were found; keep one" in error()
    (place / "libreoffice-help-de_9_all.deb").unlink()
    english.write_bytes(saved[1])
    german.write_bytes(saved[0])
    assert "the package libreoffice-help-en-us was expected, libreoffice-help-de was found" in error()
    english.write_bytes(saved[0])
    german.write_bytes(saved[1][:-200])
    assert "damaged or cut short" in error()
    german.write_bytes(package("libreoffice-help-de", {"usr/share/doc/readme": b""}))
    assert "no help page with paragraphs" in error()
    german.write_bytes(package("libreoffice-help-de", {f"{FOLDER['de']}/a.html": b'<p id="par_id1">\xfc</p>'}))
    assert "a.html is not UTF-8" in error()


# --- apt


def fake_apt(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An apt-get that notes how it was called and does what the script says."""
    folder.mkdir()
    path = folder / "apt-get"
    path.write_text(f'#!/bin/sh\necho "$@" >>"{folder}/calls"\n{script}\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_apt(tmp_path: Path, prepare_pairs: Any, bilingual: Bilingual, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "in", bilingual(100))
    fake_apt(tmp_path / "apt", f'cp "{tmp_path}/in"/*.deb .', monkeypatch)
    found = prepare_pairs(tmp_path / "bin", "libreoffice_help")
    assert found.status == 0, found.said
    assert sorted(path.name for path in (tmp_path / "bin").iterdir()) == ["downloads", "libreoffice-help"]
    kept = sorted(path.name for path in (tmp_path / "bin/downloads").iterdir())
    assert kept == sorted(path.name for path in (tmp_path / "in").iterdir())  # and no folder of apt's
    assert (tmp_path / "apt/calls").read_text().count("\n") == 1
    prepare_pairs(tmp_path / "bin", "libreoffice_help", "--overwrite")
    assert (tmp_path / "apt/calls").read_text().count("\n") == 1  # what is there is not fetched again


def test_apt_without_lists(
    tmp_path: Path, prepare_pairs: Any, bilingual: Bilingual, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "in", bilingual(100))
    script = f"""
case "$*" in
*Dir::State::lists=*" update") exit 0 ;;
*Dir::State::lists=*" download "*) cp "{tmp_path}/in"/*.deb . ;;
*) echo "E: Unable to locate package libreoffice-help-de" >&2; exit 100 ;;
esac"""
    fake_apt(tmp_path / "apt", script, monkeypatch)
    assert prepare_pairs(tmp_path / "bin", "libreoffice_help").status == 0
    assert len(list((tmp_path / "bin/downloads").iterdir())) == 2


def test_neither_apt_nor_network(tmp_path: Path, prepare_pairs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_apt(tmp_path / "apt", 'echo "W: odd" >&2; echo "E: Could not resolve deb.example" >&2; exit 100', monkeypatch)
    error = prepare_pairs(tmp_path / "bin", "libreoffice_help").error
    assert "could not be downloaded (E: Could not resolve deb.example); check the network, or get libreoffice" in error
    assert not any((tmp_path / "bin/downloads").iterdir())
    monkeypatch.setattr(apt.shutil, "which", lambda name: None)
    assert "apt-get was not found" in prepare_pairs(tmp_path / "bin", "libreoffice_help").error
