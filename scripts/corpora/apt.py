"""Fetch Debian packages by apt, without root and without installing them. Standard library only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from corpora.errors import CorpusError


def fetch(packages: list[str], downloads: Path) -> list[Path]:
    """Download the packages' .deb files to `downloads` and return their paths there. apt checks its own hashes and signatures.

    Where the machine has no lists of packages (or old ones), they are fetched to a temporary folder in `downloads`. Raises
    CorpusError, one line with what apt said.
    """
    advice = f"get {' and '.join(packages)} elsewhere (packages.debian.org) and give --from DIR"
    if not shutil.which("apt-get"):
        raise CorpusError(f"apt-get was not found: this is not a machine with Debian's packages; {advice}")
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".apt-", dir=downloads) as name:
        place = Path(name)
        received = place / "received"
        received.mkdir()
        print(f"apt-get download {' '.join(packages)}", file=sys.stderr)
        said = _apt(["download", *packages], received, [])
        if said is not None:
            print(f"{said}; fetching apt's lists of packages", file=sys.stderr)
            own = _own_folders(place)
            said = _apt(["update"], received, own) or _apt(["download", *packages], received, own)
        if said is not None:
            raise CorpusError(f"the packages could not be downloaded ({said}); check the network, or {advice}")
        found = []
        for path in sorted(received.glob("*.deb")):
            path.chmod(0o644)
            found.append(path.rename(downloads / path.name))
    return found


def _own_folders(place: Path) -> list[str]:
    """Options by which apt keeps its lists and caches below `place`; the sources stay those of /etc/apt."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (place / folder).mkdir(parents=True)
    chosen = {"Dir::State::lists": "lists", "Dir::Cache": "cache"}
    return [f"--option={option}={place / folder}" for option, folder in chosen.items()]


def _apt(command: list[str], folder: Path, options: list[str]) -> str | None:
    """Run apt-get in a folder; None, or the last of its errors."""
    polite = ["--quiet=2", "--option=Acquire::Retries=3", "--option=Acquire::http::Timeout=30"]
    # apt's own unprivileged user cannot write to a folder of ours.
    polite += ["--option=APT::Sandbox::User=", "--option=APT::Update::Error-Mode=any"]
    done = subprocess.run(
        ["apt-get", *polite, *options, *command],
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        return None
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line.startswith(("E:", "Err"))]
    return lines[0] if lines else f"apt-get {command[0]} failed with status {done.returncode}"
