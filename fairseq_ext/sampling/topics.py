"""Topics of a corpus's training examples: the file ``topics.npz``, its reader and the command that makes it.

``python -m fairseq_ext.sampling.topics data-bin/CORPUS`` writes it; :mod:`.topic_model` says how topics are found.
"""

from __future__ import annotations

import argparse
import json
import os
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..recording.corpus import require_whole, sha256

FORMAT = "embedding-topics"
FORMAT_VERSION = 1
FILE = "topics.npz"
_REMEDY = "run bash scripts/select_topics.sh"


@dataclass(frozen=True)
class Topics:
    """Where each example of a split lies among the split's topics.

    Attributes:
        topic: (examples,) int32, the example's stratum; every stratum has at least one example.
        vector: (examples, dimensions) float16, of length 1; 0 for an example without a word that says anything of its topic.
        centre: (topics, dimensions) float32, mean vector of the stratum's examples.
        information: (examples,) float32, mean over the example's tokens of the idf in nats, a token that occurs again counted as 0: high
            where words are rare and not repeated.
        about: format version, method, seed, split, and ``bin_sha256`` of the text.
    """

    topic: NDArray[np.int32]
    vector: NDArray[np.float16]
    centre: NDArray[np.float32]
    information: NDArray[np.float32]
    about: dict[str, Any] = field(default_factory=dict)


def bin_sha256(split_bin: Path) -> str:
    """SHA-256 of a split's ``.bin``: the one that ``corpus.json`` lists if it lists the file's size too, else computed.

    Raises:
        UserError: there is no such file.
    """
    if not split_bin.is_file():
        raise UserError(f"expected the binarised text {split_bin}; found no such file; prepare the corpus again")
    try:
        splits = json.loads((split_bin.parent / "corpus.json").read_text(encoding="utf-8"))["splits"]
        known = splits[split_bin.name.removesuffix(".bin")]
        if known["bin_bytes"] == split_bin.stat().st_size:
            return str(known["bin_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not made by scripts/prepare_*.sh
    return sha256(split_bin)


def save_topics(path: Path, topics: Topics) -> None:
    """Write the file whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.savez(
                file,
                topic=topics.topic,
                vector=topics.vector,
                centre=topics.centre,
                information=topics.information,
                about=np.array(json.dumps(topics.about)),
            )
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise UserError(
            f"expected to write {path}; found: {error.strerror or error}; give another file with --out"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def load_topics(path: Path, train_bin: Path) -> Topics:
    """Read ``topics.npz``.

    Args:
        path: the file.
        train_bin: the ``.bin`` of the split that it must belong to.

    Raises:
        UserError: the file is absent, none of ours, of another format version, or of another text.
    """
    if not path.is_file():
        raise UserError(f"expected topics of the training examples in {path}; found no such file; {_REMEDY}")
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            topics = Topics(file["topic"], file["vector"], file["centre"], file["information"], about)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"expected {path} to hold topics of training examples; it cannot be read so ({error}); {_REMEDY}"
        ) from error
    if not isinstance(about, dict) or about.get("format") != FORMAT or not _fits(topics):
        raise UserError(f"expected {path} to hold topics of training examples; found something else; {_REMEDY}")
    if about.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"expected topics of format version {FORMAT_VERSION} in {path}; found version {about.get('format_version')}; {_REMEDY}"
        )
    found = bin_sha256(train_bin)
    if about.get("bin_sha256") != found:
        raise UserError(
            f"expected topics of {train_bin} (SHA-256 {found[:12]}...) in {path}; found those of another text "
            f"({str(about.get('bin_sha256'))[:12]}...); {_REMEDY}"
        )
    return topics


def _fits(topics: Topics) -> bool:
    """Whether the arrays are of the shapes and types that the format has."""
    topic, vector, centre, information = topics.topic, topics.vector, topics.centre, topics.information
    return (
        (topic.dtype, vector.dtype, centre.dtype, information.dtype) == (np.int32, np.float16, np.float32, np.float32)
        and (topic.ndim, vector.ndim, centre.ndim) == (1, 2, 2)
        and len(topic) == len(vector) > 0
        and information.shape == topic.shape
        and vector.shape[1] == centre.shape[1]
        and int(topic.min()) >= 0
        and int(topic.max()) < len(centre)
    )


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="select_topics",
        allow_abbrev=False,
        description="Finds topics of a corpus's training examples, for --sample-pool diverse and narrow: TF-IDF of the tokens, truncated "
        "SVD, k-means. Writes topics.npz in the corpus's folder. 811,000 examples take about two minutes on 2 cores.",
    )
    parser.add_argument("corpus", type=Path, help="folder of the corpus, e.g. data-bin/wikipedia-sample")
    parser.add_argument(
        "--split", default="train", metavar="NAME", help="e.g. train.en-de.en for pairs (default: %(default)s)"
    )
    parser.add_argument(
        "--topics", type=int, metavar="N", help="(default: sqrt(examples / 8), at least 8 and at most 256)"
    )
    parser.add_argument("--dimensions", type=int, default=64, metavar="N", help="of the vectors (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="(default: %(default)s)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=f"(default: {FILE} in the corpus's folder; NAME.{FILE} for another split)",
    )
    given = parser.parse_args(arguments)
    for name, least in (("topics", 2), ("dimensions", 1), ("seed", 0)):
        value = getattr(given, name)
        if value is not None and value < least:
            raise UserError(f"--{name}: expected at least {least}, found {value}")
    if given.seed >= 1 << 32:
        raise UserError(f"--seed: expected less than 2^32, found {given.seed}")
    return given


def main(arguments: list[str] | None = None) -> None:
    """The command. Prints the progress on stderr and one line about the result on stdout."""
    given = _arguments(arguments)
    prefix = given.corpus / given.split
    require_whole(prefix)
    out = given.out or given.corpus / (FILE if given.split == "train" else f"{given.split}.{FILE}")

    from .topic_model import Split, find_topics  # scikit-learn takes a second to import, and training needs none of it

    hashed = bin_sha256(prefix.with_name(prefix.name + ".bin"))
    topics = find_topics(Split(prefix), given.topics, given.dimensions, given.seed)
    topics.about.update(format=FORMAT, format_version=FORMAT_VERSION, split=given.split, bin_sha256=hashed)
    save_topics(out, topics)
    number = np.bincount(topics.topic)
    print(
        f"{out}: {len(number)} topics of {number.min():,} to {number.max():,} of {len(topics.topic):,} examples, "
        f"{topics.vector.shape[1]} dimensions"
    )


if __name__ == "__main__":
    main()
