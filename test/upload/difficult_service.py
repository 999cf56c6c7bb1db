# SPDX-License-Identifier: Apache-2.0
"""An HTTP proxy in front of a healthy receiver that answers as a difficult service does, by rules."""

from __future__ import annotations

import http.client
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from nucleus_bridge.testing.receiver import Receiver

Change = Callable[[Any], Any]


@dataclass
class Rule:
    """What happens to requests whose ``METHOD path`` matches.

    Attributes:
        match: Regular expression.
        status: Answered in place of the service; 0 to ask it.
        body: Of that answer: bytes as they are, anything else as JSON.
        headers: Of that answer.
        change: Applied to the JSON of the service's own answer.
        how: ``mute``, ``dribble``, ``cut``, ``reset`` or ``after``: the service works and its answer is replaced.
        times: So often; -1 for always.
    """

    match: str
    status: int = 0
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    change: Change | None = None
    how: str = ""
    times: int = -1


class DifficultService:
    """Forwards everything but what a rule is about."""

    def __init__(self, receiver: Receiver) -> None:  # noqa: C901 - a handler has to be a class of its own
        self.rules: list[Rule] = []
        self.requests: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        service = self
        upstream = urlsplit(receiver.origin)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                rule = service.drawn(self.command, self.path)
                if rule is None or (rule.status == 0 and rule.how in ("", "cut", "dribble")) or rule.how == "after":
                    status, headers, content = self.forward(body)
                else:
                    status, headers, content = rule.status, {}, b""
                if rule is not None:
                    if rule.change is not None:
                        content = json.dumps(rule.change(json.loads(content))).encode()
                    if rule.status:
                        status, headers = rule.status, dict(rule.headers)
                        content = rule.body if isinstance(rule.body, bytes) else json.dumps(rule.body).encode()
                    if rule.how == "mute":
                        service._over.wait(60)
                        return
                    if rule.how == "reset":
                        self.reset()
                        return
                self.answer(status, headers, content, rule.how if rule is not None else "")

            def forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
                connection = http.client.HTTPConnection(str(upstream.hostname), int(upstream.port or 0), timeout=60)
                headers = {key: value for key, value in self.headers.items() if key.lower() != "connection"}
                connection.request(self.command, self.path, body, headers)
                response = connection.getresponse()
                content = response.read().replace(receiver.origin.encode(), service.origin.encode())
                connection.close()
                kept = {key: value for key, value in response.getheaders() if key in ("Content-Type", "Retry-After")}
                return response.status, kept, content

            def answer(self, status: int, headers: Mapping[str, str], content: bytes, how: str) -> None:
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(content) + (1000 if how == "dribble" else 0)))
                self.end_headers()
                if how == "cut":
                    self.wfile.write(content[: len(content) // 2])
                    self.reset()
                elif how == "dribble":
                    while not service._over.wait(0.05):
                        self.wfile.write(b" ")
                        self.wfile.flush()
                    self.close_connection = True
                else:
                    self.wfile.write(content)

            def reset(self) -> None:
                self.wfile.flush()
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()

            do_GET = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.origin = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{self.origin}/v1/nucleus"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def drawn(self, method: str, path: str) -> Rule | None:
        """Return the rule for a request."""
        with self._lock:
            self.requests.append((method, path))
            for rule in self.rules:
                if rule.times != 0 and re.search(rule.match, f"{method} {path.partition('?')[0]}"):
                    rule.times -= rule.times > 0
                    return rule
        return None

    def count(self, match: str) -> int:
        with self._lock:
            return sum(bool(re.search(match, f"{method} {path}")) for method, path in self.requests)

    def stop(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
