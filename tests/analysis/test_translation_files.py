"""The files of a translation run: what is written is read, and whatever is broken ends in one line."""

import json

import numpy as np
import pytest
from sharing_runs import NONE, corpus, translate, write_about, write_model, write_translation

from translation_files import TranslationError, read_model, read_translation, read_words

SMALL = corpus(60)


def written(folder):
    write_translation(folder, SMALL, translate(SMALL, NONE, 1))
    return folder / "translation"


def rewritten(folder, **changed):
    """Change translation.json and bring its hashes up to date."""
    about = json.loads((folder / "translation" / "translation.json").read_text())
    write_about(folder, about | changed)


def test_what_is_written_is_read(tmp_path):
    written(tmp_path)
    found = read_translation(tmp_path)
    assert list(found.sources) == SMALL.sources
    assert found.signature == "subset:test|beam:4|lenpen:1.0|checkpoints:checkpoint_last.pt"
    words = read_words(tmp_path, found)
    assert words["source"].lengths.tolist() == SMALL.lengths["source"]
    rare = words["source"].number(words["source"].count_source < 10)
    assert (rare / words["source"].lengths).tolist() == pytest.approx(SMALL.rare)


def test_broken_translations_give_one_line_each(tmp_path):
    def lines(line_count):
        return "".join(f"x {number}\n" for number in range(line_count))

    def text(name, content, fix=True):
        def change(folder):
            (folder / "translation" / name).write_bytes(content.encode() if isinstance(content, str) else content)
            if fix:
                rewritten(folder)

        return change

    def remove(name):
        return lambda folder: (folder / "translation" / name).unlink()

    cases = {
        "no such file": remove("hypotheses.txt"),
        "59 hypotheses": text("hypotheses.txt", lines(59)),
        "the file is cut short": text("hypotheses.txt", lines(59) + "x 60"),
        "empty file": text("references.txt", ""),
        "expected UTF-8": text("sources.txt", b"\xff\xfe\n" * 60),
        "another file, or changed since": text("hypotheses.txt", lines(60), fix=False),
        "says 7 sentences, the files have 60": lambda folder: rewritten(folder, sentences=7),
        "expected format 'embedding-translation'": lambda folder: rewritten(folder, format="x"),
        "format version 2, this reader knows 1": lambda folder: rewritten(folder, format_version=2),
        "cut short or damaged": text("translation.json", '{"format": ', fix=False),
        "found no such file": remove("translation.json"),
    }
    for number, (message, change) in enumerate(cases.items()):
        folder = tmp_path / str(number)
        written(folder)
        change(folder)
        with pytest.raises(TranslationError, match=message) as error:
            read_translation(folder)
        assert "\n" not in str(error.value)
        assert str(folder) in str(error.value)
    place = written(tmp_path / "unlisted") / "translation.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"sha256": {}}))
    with pytest.raises(TranslationError, match=r"gives no sha256 of sources.txt"):
        read_translation(tmp_path / "unlisted")


def test_broken_words_give_one_line_each(tmp_path):
    def arrays(**changed):
        def change(path):
            with np.load(path) as file:
                content = {name: file[name] for name in file.files}
            content |= {name: make(content[name]) for name, make in changed.items()}
            np.savez(path, **{name: array for name, array in content.items() if array is not None})

        return change

    cases = {
        "found no such file": lambda path: path.unlink(),
        "cut short or of another form|unreadable": lambda path: path.write_bytes(path.read_bytes()[:200]),
        "of another form": arrays(source_count_source=lambda _: None),
        "expected 60 sentences of the source side, found 59": arrays(source_offsets=lambda a: a[:-1]),
        "reference side's offsets and counts do not fit": arrays(reference_count_target=lambda a: a[:-1]),
    }
    for number, (message, change) in enumerate(cases.items()):
        folder = tmp_path / str(number)
        path = written(folder) / "words.npz"
        change(path)
        if path.exists():
            rewritten(folder)
        with pytest.raises(TranslationError, match=message) as error:
            read_words(folder, read_translation(folder))
        assert "\n" not in str(error.value)
    path = written(tmp_path / "changed") / "words.npz"
    arrays(source_count_source=lambda a: a + 1)(path)
    with pytest.raises(TranslationError, match="changed since"):
        read_words(tmp_path / "changed", read_translation(tmp_path / "changed"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format="x"), "expected format 'embedding-model'"),
        (lambda c: c.pop("parameters"), "expected parameters, tables"),
        (lambda c: c.update(tables=[]), "at least one table"),
    ],
)
def test_broken_models_give_one_line(tmp_path, change, message):
    write_model(tmp_path, "none")
    content = json.loads((tmp_path / "model.json").read_text())
    change(content)
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises(TranslationError, match=message) as error:
        read_model(tmp_path)
    assert "\n" not in str(error.value)
