"""The Hub on loopback: a threaded server for `huggingface_hub`, without xet, and with faults to inject.

    with Hub() as hub:
        HfApi(endpoint=hub.url, token=hub.token).create_repo("ama/model")

It listens on a free port of 127.0.0.1, writes no files and ends with the block. The real Hub stores new large files in
xet; with HF_HUB_DISABLE_XET the client uses plain LFS, as here. Large files are uploaded to and downloaded from this
server, where the real Hub redirects to a storage server.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.hub import routes
from tests.hub.faults import Fault, Faults
from tests.hub.store import Refused, Store

SLOW_PIECE, SLOW_PAUSE = 64, 0.002


class Hub:
    """A Hub for one test.

    Args:
        large_from: Files of at least this many bytes are large, regardless of their name.
        part_size: Larger files are uploaded in parts of this size.
        page: Entries per page of a listing.

    Attributes:
        url: Its URL.
        token: The token of the user `ama`, who may also write to `lab`; `other_token` is that of `kofi`.
        store: Its content.
        faults: Its faults.
        requests: Method, endpoint and path of every request.
    """

    def __init__(self, *, large_from: int = 1 << 20, part_size: int = 1 << 30, page: int = 1000) -> None:
        self.large_from, self.part_size, self.page = large_from, part_size, page
        self.store, self.faults = Store(), Faults()
        # Random, so that it is found only where it has leaked.
        self.token, self.other_token = (f"hf_{secrets.token_hex(17)}" for _ in range(2))
        self.users = {self.token: ("ama", ("lab",)), self.other_token: ("kofi", ())}
        self.requests: list[tuple[str, str, str]] = []
        self.uploads: dict[str, tuple[str, int, dict[int, bytes]]] = {}
        self._connections: set[socket.socket] = set()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def asked(self, endpoint: str) -> int:
        """Return the number of requests to an endpoint."""
        return sum(one == endpoint for _, one, _ in self.requests)

    @contextlib.contextmanager
    def connection(self, one: socket.socket) -> Iterator[None]:
        self._connections.add(one)
        try:
            yield
        finally:
            self._connections.discard(one)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    hub: Hub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnected; the tests check the content."""


class _Reset(Exception):
    """Requests a reset of the connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Header and body are sent together: apart, each request would wait for a delayed acknowledgement.
    wbufsize, disable_nagle_algorithm = -1, True
    server: _Server

    def handle(self) -> None:
        with self.server.hub.connection(self.connection):
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        hub = self.server.hub
        parts = urlsplit(self.path)
        found = routes.find(self.command, parts.path)
        endpoint = found[0].endpoint if found else "unknown"
        hub.requests.append((self.command, endpoint, self.path))
        fault = hub.faults.next(endpoint)
        try:
            body = self._body(fault)
            if fault is not None and fault.kind.isdigit():
                header = "RateLimit" if isinstance(fault.retry_after, str) else "Retry-After"
                wait = {} if fault.retry_after is None else {header: str(fault.retry_after)}
                raise Refused(int(fault.kind), fault.says, **wait)
            if found is None:
                raise Refused(404, f"the Hub on loopback knows no {self.command} {parts.path}")
            route, words = found
            if fault is not None and fault.kind == "corrupt" and endpoint == "put":
                body = _flipped(body)
            request = routes.Request(hub, self._user(), words, parse_qs(parts.query), body, self.headers)
            answer = route.do(request)
            if fault is not None and fault.kind == "done-500":
                raise Refused(500, fault.says)
        except Refused as refusal:
            answer = routes.Answer.refusal(refusal)
        except _Reset:
            self._reset()
            return
        self._send(answer, fault, endpoint)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def _user(self) -> tuple[str, tuple[str, ...]] | None:
        """Return the user and their organizations; None for anonymous requests."""
        words = self.headers.get("Authorization", "").split()
        if not words:
            return None
        if words[-1] not in self.server.hub.users:
            raise Refused(401, "Invalid username or password.")
        return self.server.hub.users[words[-1]]

    def _body(self, fault: Fault | None) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
                if fault is not None and fault.kind == "reset":
                    raise _Reset
            self.rfile.readline()
            return b"".join(pieces)
        length = int(self.headers.get("Content-Length", 0))
        if fault is not None and fault.kind == "reset":
            self.rfile.read(length // 2)
            raise _Reset
        return self.rfile.read(length)

    def _reset(self) -> None:
        """Close the connection with a reset."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _send(self, answer: routes.Answer, fault: Fault | None, endpoint: str) -> None:
        kind = "" if fault is None else fault.kind
        if kind == "lost":
            self._reset()
            return
        body = _flipped(answer.body) if kind == "corrupt" and endpoint == "resolve" else answer.body
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        if "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if kind == "truncated":
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self._reset_after_sending()
            return
        if kind == "slow":
            for start in range(0, len(body), SLOW_PIECE):
                self.wfile.write(body[start : start + SLOW_PIECE])
                self.wfile.flush()
                time.sleep(SLOW_PAUSE)
            return
        self.wfile.write(body)

    def _reset_after_sending(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def _flipped(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :] if body else body
