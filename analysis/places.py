"""Where a dump lies for its reader: a folder, or a URL such as `s3://bucket/runs/dump.zarr` that fsspec can open.

A URL becomes a `UPath`, which is used like a `Path`; so what is read beside the arrays (tokens.json, run.json, the log) comes
from where the arrays come from. That needs the packages of the extra `remote`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import zarr
from zarr.storage import FsspecStore

from streams import DumpError, first_line

EXTRA = "python -m pip install 'universal-pathlib' and, for s3://, 's3fs', for gs://, 'gcsfs' (the extra `remote`)"


def is_url(text: object) -> bool:
    """Is a place given by a URL, and not as a folder?"""
    return "://" in str(text)


def argument(text: str) -> str | Path:
    """A dump on the command line: a `Path`, or the URL as it is (a `Path` would join its slashes)."""
    return text if is_url(text) else Path(text)


def place(given: str | Path | Any) -> Any:
    """A `Path`, or for a URL a `UPath`; `file:///...` is a folder.

    Raises DumpError: a package for URLs of this kind is missing, or nobody knows them.
    """
    if not isinstance(given, str) or not is_url(given):
        return Path(given) if isinstance(given, str) else given
    parts = urlsplit(given)
    if parts.scheme == "file":
        if parts.netloc:
            raise DumpError(f"{given}: expected file:/// and an absolute path; correct the URL")
        return Path(parts.path)
    try:
        from upath import UPath
    except ImportError:
        raise DumpError(f"{given}: reading a URL needs the package universal-pathlib; {EXTRA}") from None
    try:
        found = UPath(given.rstrip("/"))
        _ = found.fs
    except ImportError as error:
        raise DumpError(f"{given}: a package is missing ({first_line(error)}); {EXTRA}") from None
    except ValueError as error:
        raise DumpError(f"{given}: {first_line(error)}; give a folder, s3://... or gs://...") from None
    return found


def open_group(path: Any) -> zarr.Group:
    """The Zarr v3 group at a place, for reading. Raises what zarr and the store raise."""
    if isinstance(path, Path):
        return zarr.open_group(path, mode="r", zarr_format=3)
    return zarr.open_group(FsspecStore.from_url(str(path), read_only=True), mode="r", zarr_format=3)


def unreachable(path: Any, error: Exception) -> DumpError:
    """The one line about a store that does not answer as it should: each has errors of its own."""
    return DumpError(
        f"{path}: cannot be read ({type(error).__name__}: {first_line(error)}); check the URL, the network and the "
        "credentials (docs/remote.md)"
    )
