"""Mend a half-installed environment: run with the environment's own Python. Standard library only.

A `pip install` that was killed can leave a package of which the record exists and files are missing; pip then takes it for
installed. This removes such records, so that the next `pip install` installs the package again.
"""

from __future__ import annotations

import csv
import shutil
import sys
import sysconfig
from importlib.metadata import Distribution, distributions
from pathlib import Path


def is_whole(distribution: Distribution) -> bool:
    """Whether every file that the package's record lists is there (compiled Python files aside, which Python makes itself).

    The record is read here: from Python 3.12 on, `Distribution.files` leaves out what is missing.
    """
    record = distribution.read_text("RECORD")
    if record is None or not distribution.metadata["Name"]:
        return False
    files = [row[0] for row in csv.reader(record.splitlines()) if row]
    return all(file.endswith(".pyc") or Path(str(distribution.locate_file(file))).exists() for file in files)


def broken(site: Path) -> list[Path]:
    """The record folders (`*.dist-info`) in `site` whose package is not whole, and what pip sets aside while it replaces one (`~*`)."""
    found = []
    for distribution in distributions(path=[str(site)]):
        record = getattr(distribution, "_path", None)
        if record is not None and Path(record).suffix == ".dist-info" and not is_whole(distribution):
            found.append(Path(record))
    return found + sorted(site.glob("~*"))


def main() -> int:
    """Remove what `broken` finds and say so."""
    site = Path(sysconfig.get_paths()["purelib"])
    for path in broken(site):
        print(f"set-up: {path.stem} is not whole; it will be installed again")
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
