"""Download a file over HTTP, going on where an earlier attempt stopped.

The bytes go to `<target>.part`, which is renamed at the end. What is known of the remote file (size, ETag, date) stands in
`<target>.part.json`; a remote file that is another one by now is fetched from the start.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from corpora.errors import CorpusError
from corpora.progress import Progress

_BLOCK = 1 << 18
_AGENT = "Mozilla/5.0 (embedding laboratory)"  # one of the servers refuses urllib's own name
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_PASSING = {408, 425, 429, 500, 502, 503, 504}


class _Failed(Exception):
    """An attempt failed. The same address is worth `attempts` attempts in all, None where the caller's number is."""

    def __init__(self, reason: str, *, attempts: int | None = None) -> None:
        super().__init__(reason)
        self.attempts = attempts


def fetch(
    addresses: list[str],
    target: Path,
    *,
    check: Callable[[Path], bool] = lambda path: True,
    attempts: int = 4,
    timeout: float = 30.0,
    wait: Callable[[float], None] = time.sleep,
) -> str:
    """Download the first of `addresses` that can be had to `target` and return that address.

    An attempt that brought bytes does not count against `attempts`. `check` looks at the whole file before it is accepted. Raises
    CorpusError, one line with what each address answered, where none can be had; what was received stays for the next time.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    with _locked(target) as part:
        for address in addresses:
            try:
                _from(address, part, attempts, timeout, wait)
                if not check(part):
                    part.write_bytes(b"")
                    raise _Failed("the answer is not the expected kind of file")
            except _Failed as failure:
                reasons.append(f"{address}: {failure}")
                print(f"download: {reasons[-1]}", file=sys.stderr)
                continue
            os.replace(part, target)
            _state_path(part).unlink(missing_ok=True)
            return address
    raise CorpusError(
        f"{target.name} could not be downloaded ({'; '.join(reasons)}); check the network and run again (it goes on where it stopped), "
        "or get the file elsewhere and give --from"
    )


@contextlib.contextmanager
def _locked(target: Path) -> Any:
    part = target.with_name(target.name + ".part")
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CorpusError(f"{part}: another process is downloading this file; wait for it") from error
        try:
            yield part
        finally:
            if part.exists() and part.stat().st_size == 0:
                part.unlink()
                _state_path(part).unlink(missing_ok=True)


def _from(address: str, part: Path, attempts: int, timeout: float, wait: Callable[[float], None]) -> None:
    failures = 0
    while True:
        before = _size(part)
        try:
            _attempt(address, part, timeout)
            return
        except _Failed as failure:
            failures = 1 if _size(part) > before else failures + 1
            if failures >= min(attempts, failure.attempts or attempts):
                raise
            print(f"download: {failure}; trying again", file=sys.stderr)
            wait(min(30.0, 2.0 ** (failures - 1)))


def _attempt(address: str, part: Path, timeout: float) -> None:
    """One request. Returns when the file is whole; raises _Failed otherwise."""
    known = _read_state(part)
    offset = _size(part) if known.get("address") == address else 0
    headers = {"User-Agent": _AGENT, "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if known.get("validator"):
            headers["If-Range"] = known["validator"]
    try:
        response = urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and offset:
            if error.headers.get("Content-Range") == f"bytes */{offset}":
                return  # the part was whole already
            part.write_bytes(b"")
            raise _Failed("the partial file does not fit the remote one, starting from the beginning") from error
        raise _Failed(f"HTTP {error.code} {error.reason}", attempts=None if error.code in _PASSING else 1) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise _Failed(f"no connection ({reason})", attempts=2) from error
    except ValueError as error:
        raise _Failed(f"not an address ({error})", attempts=1) from error
    with response:
        start, total = _where(response)
        if offset and (start != offset or (known.get("total") is not None and total != known["total"])):
            if start:
                part.write_bytes(b"")
                raise _Failed("the remote file has changed, starting from the beginning")
            print("download: the server sends the file from its beginning", file=sys.stderr)
        if start == 0:
            part.write_bytes(b"")
        _write_state(part, address, response, total)
        _receive(response, part, total)


def _where(response: Any) -> tuple[int, int | None]:
    """Where the answer's bytes begin in the file, and the file's size, None where the server does not say."""
    if response.status == 206:
        match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None:
            raise _Failed("a partial answer without Content-Range", attempts=1)
        return int(match[1]), None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length")
    return 0, int(length) if length else None


def _receive(response: Any, part: Path, total: int | None) -> None:
    progress = Progress("download", total)
    done = _size(part)
    try:
        with part.open("ab") as file:
            while block := _read(response):
                file.write(block)
                done += len(block)
                progress.update(done)
    finally:
        progress.finish(done)
    if total is not None and done != total:
        raise _Failed(f"the connection ended after {done:,} of {total:,} bytes")


def _read(response: Any) -> bytes:
    try:
        return response.read1(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _Failed(f"the connection broke ({error})") from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _state_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_state(part: Path) -> dict[str, Any]:
    try:
        state = json.loads(_state_path(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _write_state(part: Path, address: str, response: Any, total: int | None) -> None:
    etag = response.headers.get("ETag")
    validator = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")
    temporary = _state_path(part).with_suffix(".tmp")
    temporary.write_text(json.dumps({"address": address, "total": total, "validator": validator}), encoding="utf-8")
    os.replace(temporary, _state_path(part))
