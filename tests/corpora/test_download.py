"""Downloads against a server on this machine: resume, cut connections, servers without ranges, changed files, errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpora.download import fetch
from corpora.errors import CorpusError

BODY = np.random.default_rng(1).bytes(1_500_000)


class Handler(BaseHTTPRequestHandler):
    """Serves `server.body` as `server.mode` says, and notes each request."""

    server: Any

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        server.requests.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
        body, start = server.body, 0
        if "missing" in self.path:
            self.send_error(404)
            return
        if server.busy:
            server.busy -= 1
            self.send_error(503)
            return
        wanted = self.headers.get("Range") if server.ranges else None
        if wanted:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            condition = self.headers.get("If-Range")
            if condition and condition != server.etag:
                start, wanted = 0, None
            elif start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.length:
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = min(len(body), start + server.cuts.pop(0)) if server.cuts else len(body)
        self.wfile.write(body[start:end])


@pytest.fixture
def server() -> Iterator[Any]:
    found: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.body, found.requests, found.cuts = BODY, [], []
    found.ranges, found.etag, found.length, found.busy = True, '"1"', True, 0
    found.address = f"http://127.0.0.1:{found.server_port}/file.zip"
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def get(server: Any, target: Path, *addresses: str, **options: Any) -> list[float]:
    """Download; the waits that were asked for."""
    waits: list[float] = []
    fetch(list(addresses) or [server.address], target, wait=waits.append, timeout=10, **options)
    assert target.read_bytes() == server.body
    assert [path.name for path in target.parent.iterdir()] == [target.name]  # nothing else is left
    return waits


def test_plain(server: Any, tmp_path: Path) -> None:
    assert get(server, tmp_path / "d" / "file.zip") == []
    assert server.requests == [("/file.zip", None, None)]


def test_goes_on_after_cut_connections(server: Any, tmp_path: Path) -> None:
    server.cuts = [400_000, 300_000, 500_000, 1000, 1000, 1000, 1000, 1000]
    get(server, tmp_path / "file.zip")
    ranges = [wanted for _, wanted, _ in server.requests]
    assert ranges[:4] == [None, "bytes=400000-", "bytes=700000-", "bytes=1200000-"]
    assert len(ranges) == 9  # each attempt brought bytes, so none counted as a failure


def test_goes_on_after_a_stopped_command(server: Any, tmp_path: Path) -> None:
    server.cuts = [600_000]

    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch([server.address], tmp_path / "file.zip", wait=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.zip.part", "file.zip.part.json"]
    get(server, tmp_path / "file.zip")
    assert server.requests[-1] == ("/file.zip", "bytes=600000-", '"1"')


@pytest.mark.parametrize("etag", ['"1"', None])
def test_another_file_by_now_is_fetched_anew(server: Any, tmp_path: Path, etag: str | None) -> None:
    server.etag, server.cuts = etag, [600_000]

    def change(seconds: float) -> None:
        server.body, server.etag = BODY[::-1] + b"longer", etag and '"2"'

    fetch([server.address], tmp_path / "file.zip", wait=change)
    assert (tmp_path / "file.zip").read_bytes() == server.body


def test_server_without_ranges(server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.ranges, server.cuts = False, [400_000, 300_000]
    get(server, tmp_path / "file.zip")
    assert [wanted for _, wanted, _ in server.requests] == [None, "bytes=400000-", "bytes=300000-"]
    assert "from its beginning" in capsys.readouterr().err


def test_whole_part_is_taken(server: Any, tmp_path: Path) -> None:
    """The command was killed between the last byte and the renaming."""
    fetch([server.address], tmp_path / "file.zip")
    (tmp_path / "file.zip").rename(tmp_path / "file.zip.part")
    (tmp_path / "file.zip.part.json").write_text(
        f'{{"address": "{server.address}", "total": {len(BODY)}, "validator": null}}'
    )
    get(server, tmp_path / "file.zip")
    assert len(server.requests) == 2


def test_part_longer_than_the_file(server: Any, tmp_path: Path) -> None:
    (tmp_path / "file.zip.part").write_bytes(BODY + b"more")
    (tmp_path / "file.zip.part.json").write_text(f'{{"address": "{server.address}", "total": null, "validator": null}}')
    get(server, tmp_path / "file.zip")


def test_part_of_unknown_origin_is_not_used(server: Any, tmp_path: Path) -> None:
    (tmp_path / "file.zip.part").write_bytes(b"x" * 1000)
    get(server, tmp_path / "file.zip")


def test_missing_file_goes_to_the_next_address(server: Any, tmp_path: Path) -> None:
    missing = server.address.replace("file", "missing")
    assert get(server, tmp_path / "file.zip", missing, server.address) == []
    assert [path for path, _, _ in server.requests] == ["/missing.zip", "/file.zip"]


def test_busy_server_is_asked_again(server: Any, tmp_path: Path) -> None:
    server.busy = 2
    assert get(server, tmp_path / "file.zip") == [1.0, 2.0]


def test_busy_for_ever(server: Any, tmp_path: Path) -> None:
    server.busy = 100
    with pytest.raises(CorpusError, match="HTTP 503"):
        get(server, tmp_path / "file.zip")
    assert len(server.requests) == 4
    assert list(tmp_path.glob("*")) == []


def test_nothing_to_be_had(server: Any, tmp_path: Path) -> None:
    missing = server.address.replace("file", "missing")
    with pytest.raises(CorpusError, match=r"missing\.zip: HTTP 404.*check the network") as error:
        get(server, tmp_path / "file.zip", missing)
    assert "\n" not in str(error.value)
    closed = "http://127.0.0.1:1/file.zip"
    with pytest.raises(CorpusError, match=r"no connection .*give --from"):
        get(server, tmp_path / "file.zip", closed)
    with pytest.raises(CorpusError, match="not an address"):
        get(server, tmp_path / "file.zip", "wikitext")


def test_unexpected_kind_of_file(server: Any, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="not the expected kind of file"):
        get(server, tmp_path / "file.zip", check=lambda path: False)
    assert list(tmp_path.iterdir()) == []


def test_no_length_given(server: Any, tmp_path: Path) -> None:
    server.length = False
    get(server, tmp_path / "file.zip")


def test_two_at_once_are_refused(server: Any, tmp_path: Path) -> None:
    server.cuts = [100]
    errors: list[str] = []

    def second(seconds: float) -> None:
        try:
            fetch([server.address], tmp_path / "file.zip")
        except CorpusError as error:
            errors.append(str(error))

    fetch([server.address], tmp_path / "file.zip", wait=second)
    assert len(errors) == 1
    assert "another process is downloading" in errors[0]
