"""
As much of S3 as reading takes: LIST, HEAD, and GET of ranges, of the files below a directory.

``moto``, which the tests use, answers one request after the other and keeps objects in memory: it would be what is
measured. This one has a thread for each connection and lets the system copy files to sockets.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_PAGE = 1000


class Server(ThreadingHTTPServer):
    """Serves the directories below a root as buckets, and counts what it sends."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.sent, self.requests = root, 0, 0
        self.lock = threading.Lock()

    def count(self, sent: int) -> None:
        """Remember that so many bytes of objects were sent."""
        with self.lock:
            self.sent, self.requests = self.sent + sent, self.requests + 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path).lstrip("/")
        if path == "-/counters":
            self._text(200, f"{self.server.sent} {self.server.requests}")
        elif "/" not in path.rstrip("/"):
            self._list(path.rstrip("/"), {name: values[0] for name, values in parse_qs(parts.query).items()})
        else:
            self._object(path, with_body=True)

    def do_HEAD(self) -> None:
        self._object(unquote(urlsplit(self.path).path).lstrip("/"), with_body=False)

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        root = self.server.root / bucket
        prefix, after = query.get("prefix", ""), query.get("continuation-token", "")
        keys = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
        keys = [key for key in keys if key.startswith(prefix) and key > after]
        page, more = keys[:_PAGE], len(keys) > _PAGE
        items = "".join(_item(key, (root / key).stat()) for key in page)
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        text = f"<Name>{bucket}</Name><KeyCount>{len(page)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>{token}{items}"
        self._text(200, f"<ListBucketResult>{text}</ListBucketResult>")

    def _object(self, path: str, *, with_body: bool) -> None:
        try:
            opened = (self.server.root / path).open("rb")
        except OSError:
            self._text(404, "<Error><Code>NoSuchKey</Code></Error>" if with_body else "")
            return
        with opened:
            size = os.fstat(opened.fileno()).st_size
            start, stop = _range(self.headers.get("Range"), size)
            self.send_response(206 if self.headers.get("Range") else 200)
            self.send_header("Content-Length", str(stop - start))
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
            self.send_header("ETag", f'"{size}"')
            self.send_header("Last-Modified", formatdate(0, usegmt=True))
            self.end_headers()
            if with_body:
                self.wfile.flush()
                self.server.count(stop - start)
                while start < stop:
                    start += os.sendfile(self.connection.fileno(), opened.fileno(), start, stop - start)

    def _text(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""


def _item(key: str, found: os.stat_result) -> str:
    tags = f"<Size>{found.st_size}</Size><ETag>&quot;{found.st_size}&quot;</ETag>"
    return f"<Contents><Key>{escape(key)}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>{tags}</Contents>"


def _range(header: str | None, size: int) -> tuple[int, int]:
    """Read a ``Range``: where it starts and where it stops."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if not found:
        return 0, size
    first, last = found.groups()
    if not first:
        return max(size - int(last), 0), size
    return int(first), min(int(last) + 1, size) if last else size


def main() -> None:
    """Serve a directory; the port is written to the standard output."""
    server = Server(Path(sys.argv[1]))
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
