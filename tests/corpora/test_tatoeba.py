"""Tatoeba: the columns of the file, the split by distinct source, and what is said when something is wrong."""

from __future__ import annotations

import lzma
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora.pairs import key

Bilingual = Callable[..., list[tuple[str, str]]]


@pytest.fixture
def tatoeba(tmp_path: Path, prepare_pairs: Any) -> Callable[..., Any]:
    def call(text: str | bytes, *options: object) -> Any:
        path = tmp_path / "pairs.tsv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return prepare_pairs(tmp_path / "bin", "tatoeba", "--from", path, *options)

    return call


def table(pairs: list[tuple[str, str]], more: str = "") -> str:
    return "".join(f"{source}\t{target}{more}\n" for source, target in pairs)


def test_columns(tatoeba: Any, bilingual: Bilingual) -> None:
    pairs = bilingual(150)
    plain = tatoeba(table(pairs)).contents()
    licence = tatoeba(table(pairs, "\tCC-BY 2.0 (France)\tAttribution"), "--overwrite")
    numbered = "".join(f"{n}\t{s}\t{n + 9}\t{t}\r\n" for n, (s, t) in enumerate(pairs))
    for found in (licence.contents(), tatoeba("\ufeff" + numbered, "--overwrite").contents()):
        assert {name for name in plain if found[name] != plain[name]} == {"corpus.json"}


def test_split_and_direction(tatoeba: Any, bilingual: Bilingual) -> None:
    pairs = bilingual(150)
    pairs += [(source.upper(), f"{target} Ja.") for source, target in pairs]
    found = tatoeba(table(pairs))
    assert len(found.raw("valid")) == len(found.raw("test")) == 15
    assert len({key(source) for source, _ in (*found.raw("valid"), *found.raw("test"))}) == 30
    assert found.corpus["dropped"]["further_pairs_of_held_out_sources"] == 30
    found.held_out_is_apart()
    turned = tatoeba(table(pairs), "--source-lang", "de", "--target-lang", "en", "--overwrite")
    assert turned.languages == ["de", "en"]
    assert set(turned.raw("test")) <= {(target, source) for source, target in pairs}
    turned.held_out_is_apart()
    other = tatoeba(
        table(pairs), "--languages", "en", "nl", "--source-lang", "nl", "--target-lang", "en", "--overwrite"
    )
    assert other.languages == ["nl", "en"]
    assert other.raw("test") == turned.raw("test")


@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_no_held_out_source_is_in_training(data: Any, prepare_pairs: Any, bilingual: Bilingual) -> None:
    pairs = bilingual(60)
    change = st.sampled_from([str.upper, str.swapcase, lambda text: f" {text} ", lambda text: text.replace("e", "ｅ")])
    more = data.draw(st.lists(st.tuples(st.sampled_from(pairs), change), max_size=60))
    pairs = data.draw(st.permutations(pairs + [(one(pair[0]), pair[1] + "!") for pair, one in more]))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a.tsv"
        path.write_text(table(pairs), encoding="utf-8")
        found = prepare_pairs(Path(name) / "bin", "tatoeba", "--from", path, "--vocabulary", 60)
        found.held_out_is_apart()


def test_bad_input(tatoeba: Any, bilingual: Bilingual, tmp_path: Path, prepare_pairs: Any) -> None:
    text = table(bilingual(20))
    assert "line 21: source and target between tabs" in tatoeba(f"{text}No tab here.\n").error
    assert "line 1: UTF-8 was expected" in tatoeba(b"gr\xfcn\tx\n").error
    assert "this corpus has en and de" in tatoeba(text, "--target-lang", "fr").error
    assert "2 are left after the filters" in tatoeba(table(bilingual(2))).error
    assert "0 are left" in tatoeba("\n\n").error
    assert "does not exist" in prepare_pairs(tmp_path / "bin", "tatoeba", "--from", tmp_path / "no.tsv").error
    cut = tmp_path / "cut.tsv.xz"
    cut.write_bytes(lzma.compress(text.encode())[:-10])
    assert "damaged or cut short" in prepare_pairs(tmp_path / "bin", "tatoeba", "--from", cut).error
    assert not any((tmp_path / "bin").glob("*"))


@pytest.mark.timeout(300)
def test_the_real_file(lab_data: Path, tmp_path: Path, prepare_pairs: Any) -> None:
    path = lab_data / "tatoeba/tatoeba.en-de.tsv.xz"
    if not path.is_file():
        pytest.skip("the folder of real data has no tatoeba/tatoeba.en-de.tsv.xz")
    found = prepare_pairs(tmp_path / "bin", "tatoeba", "--from", path, "--limit-pairs", 4000, "--vocabulary", 1000)
    assert [facts["pairs"] for facts in found.corpus["splits"].values()] == [4000, 500, 500]
    found.held_out_is_apart()
