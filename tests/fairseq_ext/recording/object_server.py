"""A small S3 server for tests: one bucket in memory, what tensorstore asks of it and no more. Signatures are not checked."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "bucket"


class ObjectServer(ThreadingHTTPServer):
    """A bucket and its server.

    Attributes:
        objects: values by key.
        asked: the requests so far.
        writes_left: how many writes are taken before every one is denied; ``None``: no end.
        slow: the end of a key whose write, while writes may be denied, is answered only half a second after another one was denied,
            and that not before this one has arrived.
        on_their_way: how many such writes wait for their answer.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.writes_left: int | None = None
        self.slow: str | None = None
        self.on_their_way = 0
        self.arrived, self.denied, self.never = threading.Event(), threading.Event(), threading.Event()
        self.heeds_conditions = True
        self.mutex = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving() -> Iterator[ObjectServer]:
    """A running server."""
    server = ObjectServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def tag(value: bytes) -> str:
    return f'"{hashlib.md5(value).hexdigest()}"'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is one packet
    disable_nagle_algorithm = True
    server: ObjectServer

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>{code} of the test</Message></Error>".encode())

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        if self.command == "PUT" and self.server.writes_left is not None and self.server.slow is not None:
            self._dawdle(slow=key.endswith(self.server.slow))
        with self.server.mutex:
            self.server.asked.append((self.command, key))
            if bucket != BUCKET:
                return self._error(404, "NoSuchBucket")
            if self.command in ("PUT", "DELETE"):
                return self._write(key, body)
            if self.command == "GET" and not key:
                return self._list(parse_qs(parts.query).get("prefix", [""])[0])
            return self._read(key)

    do_GET = do_PUT = do_DELETE = do_HEAD = _serve

    def _dawdle(self, slow: bool) -> None:
        server = self.server
        if not slow:
            server.arrived.wait()
            return
        with server.mutex:
            server.on_their_way += 1
        server.arrived.set()
        server.denied.wait()
        server.never.wait(0.5)
        with server.mutex:
            server.on_their_way -= 1

    def _read(self, key: str) -> None:
        value = self.server.objects.get(key)
        if value is None:
            return self._error(404, "NoSuchKey")
        if self.headers.get("If-Match") not in (None, tag(value)):
            return self._error(412, "PreconditionFailed")
        if self.headers.get("If-None-Match") == tag(value):
            return self._answer(304, ETag=tag(value))
        return self._answer(200, value, ETag=tag(value))

    def _write(self, key: str, body: bytes) -> None:
        server, old = self.server, self.server.objects.get(key)
        if server.writes_left is not None:
            if server.writes_left == 0:
                server.denied.set()
                return self._error(403, "AccessDenied")
            server.writes_left -= 1
        wanted = self.headers.get("If-Match")
        if server.heeds_conditions and (
            (wanted is not None and (old is None or wanted != tag(old)))
            or (self.headers.get("If-None-Match") == "*" and old is not None)
        ):
            return self._error(412, "PreconditionFailed")
        if self.command == "PUT":
            server.objects[key] = body
            return self._answer(200, ETag=tag(body))
        server.objects.pop(key, None)
        return self._answer(204)

    def _list(self, prefix: str) -> None:
        found = sorted(key for key in self.server.objects if key.startswith(prefix))
        entries = "".join(f"<Contents><Key>{escape(key)}</Key><Size>1</Size></Contents>" for key in found)
        text = (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<KeyCount>{len(found)}</KeyCount><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
        )
        self._answer(200, text.encode(), **{"Content-Type": "application/xml"})
