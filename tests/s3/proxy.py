"""A proxy in front of an S3 server that lets a share of the requests fail, and remembers all of them."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Fault = Literal["slow-down", "error", "reset", "timeout", "truncate"]
FAULTS: tuple[Fault, ...] = ("slow-down", "error", "reset", "timeout", "truncate")


@dataclass(frozen=True)
class Request:
    """A request that came: what it asks for, and what happened to it."""

    method: str
    path: str
    query: str
    fault: Fault | None


class Proxy:
    """
    The proxy, in threads of this process.

    Parameters
    ----------
    port
        The port of the server on this machine.
    silence
        For how many seconds the fault ``"timeout"`` says nothing; clients should give up earlier.
    """

    def __init__(self, port: int, silence: float = 4.0) -> None:
        self.port, self.silence = port, silence
        self.requests: list[Request] = []
        self._choose: Callable[[str, str], Fault | None] = lambda method, path: None
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.proxy = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def failing(self, fault: Fault, share: float, seed: int = 0) -> Iterator[None]:
        """Let a share of the requests fail, the same ones in each run as far as they come in the same order."""
        random_numbers = random.Random(seed)
        with self.choosing(lambda method, path: fault if random_numbers.random() < share else None):
            yield

    @contextmanager
    def choosing(self, choose: Callable[[str, str], Fault | None]) -> Iterator[None]:
        """Let those requests fail for which a function of the method and the path gives a fault."""
        before, self._choose = self._choose, choose
        try:
            yield
        finally:
            self._choose = before

    @contextmanager
    def recording(self) -> Iterator[list[Request]]:
        """Give the requests that come while the block runs; complete when it is left."""
        start, out = len(self.requests), []  # type: ignore[var-annotated]
        yield out
        out.extend(self.requests[start:])

    def fault_of(self, method: str, target: str) -> Fault | None:
        """Decide about a request, and remember it."""
        path, _, query = target.partition("?")
        with self._lock:
            fault = self._choose(method, path)
            self.requests.append(Request(method, path, query, fault))
        return fault

    def wait(self) -> None:
        """Say nothing for a while."""
        self._stopped.wait(self.silence)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def _any(self) -> None:
        proxy: Proxy = self.server.proxy
        body = self._body()
        fault = proxy.fault_of(self.command, self.path)
        if fault == "slow-down":
            self._refuse(503, "SlowDown", "Please reduce your request rate.")
        elif fault == "error":
            self._refuse(500, "InternalError", "We encountered an internal error. Please try again.")
        elif fault == "reset":
            self._reset()
        elif fault == "timeout":
            proxy.wait()
            self._reset()
        else:
            self._pass_on(proxy.port, body, truncate=fault == "truncate")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _any

    def _body(self) -> bytes | None:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while length := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(length))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(parts)
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Expect") == "100-continue":
            self.headers.replace_header("Expect", "")
        return self.rfile.read(length) if length else None

    def _refuse(self, status: int, code: str, message: str) -> None:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def _reset(self) -> None:
        # Closed with nothing lingering, the other side sees a reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _pass_on(self, port: int, body: bytes | None, *, truncate: bool) -> None:
        dropped = ("transfer-encoding", "connection", "expect", "content-length")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
        upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        upstream.request(self.command, self.path, body, headers)
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in dropped:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        if truncate and content:
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.close_connection = True
        elif self.command != "HEAD":
            self.wfile.write(content)

    def handle(self) -> None:
        with suppress(OSError, ValueError):  # the client gave up, or the connection was reset above
            super().handle()

    def finish(self) -> None:
        with suppress(OSError, ValueError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged: what came is in `Proxy.requests`."""
