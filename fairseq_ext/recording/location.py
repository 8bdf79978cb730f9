"""Where a dump lies, as tensorstore addresses it: a folder, or a path in a key-value store given by a URL."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tensorstore as ts

from ..errors import UserError

SCHEMES = {"file": "file", "memory": "memory", "s3": "s3", "gs": "gcs"}  # scheme of a URL: tensorstore's driver
EXAMPLES = "s3://bucket/runs/dump.zarr, gs://bucket/runs/dump.zarr or file:///shared/runs/dump.zarr"
NOTHING = b"\x02"  # tensorstore's generation of a key that is not there
REFUSED = b""  # ... and what it returns of a conditional write that was not done
# While a dump is opened, an unreachable server is said after some seconds; while it records, tensorstore's own patience (minutes) holds.
IMPATIENT = {"max_retries": 3, "initial_delay": "0.5s", "max_delay": "2s"}


def is_url(text: str) -> bool:
    """Whether a place is given by a URL and not as a folder; also by one of ours that lacks a slash, which is refused then."""
    return "://" in text or (text.partition(":")[0] in SCHEMES and ":/" in text)


@dataclass(frozen=True)
class Location:
    """Where the keys of a dump lie.

    Attributes:
        name: folder or URL, for messages.
        spec: tensorstore's key-value store; its ``path`` ends with ``/``.
        folder: the folder, or ``None`` where a dump is reached through a key-value store alone.
        context: resources of tensorstore that are shared (the content of ``memory://``).
        claim: raises :class:`UserError` if this process may not write; given ``True`` it asks the store and does not rely on what it
            knew a moment ago. ``None``: nothing is asked before a commit.
    """

    name: str
    spec: dict[str, Any]
    folder: Path | None = None
    context: ts.Context | None = None
    claim: Callable[[bool], None] | None = field(default=None, compare=False)

    @staticmethod
    def of_folder(path: Path) -> Location:
        """A folder, as it is."""
        absolute = path.absolute()
        return Location(str(absolute), {"driver": "file", "path": f"{absolute}/"}, absolute)

    @staticmethod
    def of_url(url: str, context: ts.Context | None = None, environment: Mapping[str, str] | None = None) -> Location:
        """What a URL stands for. Characters are taken as they are: ``%20`` is no space.

        Args:
            url: such as ``s3://bucket/runs/dump.zarr``.
            context: that holds what ``memory://`` holds; a new one otherwise.
            environment: of the process; ``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL`` and ``AWS_REGION`` are read, as AWS's own tools do.

        Raises:
            UserError: it is not of a form that can be recorded into.
        """
        environment = os.environ if environment is None else environment
        parts = urlsplit(url)
        driver = SCHEMES.get(parts.scheme)
        if driver is None or "://" not in url:
            raise UserError(f"expected a folder or a URL such as {EXAMPLES}; found {url}; choose another --record-dir")
        path = parts.path.strip("/")
        bucket = driver in ("s3", "gcs")
        wrong = None
        if not path and (bucket or not parts.netloc or driver == "file"):
            wrong = "a path below it, for a bucket or disk as a whole is no dump"
        elif parts.query or parts.fragment or "?" in url or "#" in url:
            wrong = "no ? and no #"
        elif bucket and not parts.netloc:
            wrong = "the bucket's name after ://"
        elif driver == "file" and parts.netloc:
            wrong = "file:/// and an absolute path"
        if wrong or "//" in path:
            raise UserError(
                f"--record-dir {url}: expected {wrong or 'no empty name between slashes'}; give e.g. {EXAMPLES}"
            )
        if driver == "memory":
            path = f"{parts.netloc}/{path}".strip("/")
        spec: dict[str, Any] = {"driver": driver, "path": f"/{path}/" if driver == "file" else f"{path}/"}
        if bucket:
            spec["bucket"] = parts.netloc
        if driver == "s3":
            spec["use_conditional_write"] = (
                True  # else tensorstore asks and writes in two requests where the server is not AWS's
            )
            endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
            if endpoint:
                spec["endpoint"] = endpoint.rstrip("/")
                spec["aws_region"] = (
                    environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1"
                )
        return Location(url.rstrip("/"), spec, None, ts.Context() if context is None else context)

    @property
    def beside(self) -> tuple[dict[str, Any], str]:
        """The key-value store that holds what lies beside the dump, and the dump's own name in it."""
        head, _, name = self.spec["path"].rstrip("/").rpartition("/")
        return {**self.spec, "path": f"{head}/" if head or self.spec["driver"] == "file" else ""}, name

    def open(self, spec: dict[str, Any] | None = None, impatient: bool = False) -> ts.KvStore:
        """The key-value store, of ``spec`` in place of its own if one is given.

        Args:
            impatient: give up after some seconds where a server does not answer.

        Raises:
            ValueError: tensorstore's own errors.
        """
        retries = {"s3_request_retries": IMPATIENT, "gcs_request_retries": IMPATIENT} if impatient else {}
        context = ts.Context(retries, self.context) if self.context is not None else ts.Context(retries)
        return ts.KvStore.open(self.spec if spec is None else spec, context=context).result()
