# SPDX-License-Identifier: Apache-2.0
"""An HTTP proxy in front of an object store that spoils a share of the requests, and keeps a record of all."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = ("error_before", "error_after", "unavailable", "reset", "reset_after", "cut", "slow")


class FaultProxy:
    """Forwards everything to one host and port."""

    def __init__(  # noqa: C901 - a handler has to be a class of its own
        self, host: str, port: int, rate: float = 0.0, seed: int = 0, faults: tuple[str, ...] = FAULTS
    ):
        self.records: list[tuple[str, str, int]] = []
        self.struck: list[str] = []
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fault = proxy.draw(rate, faults)
                if fault in ("error_before", "unavailable"):
                    self.answer(
                        500 if fault == "error_before" else 503, [], b"<Error><Code>InternalError</Code></Error>"
                    )
                    return
                if fault == "reset":
                    self.reset()
                    return
                if fault == "slow":
                    time.sleep(0.2)
                upstream = http.client.HTTPConnection(host, port, timeout=60)
                headers = {key: value for key, value in self.headers.items() if key.lower() != "connection"}
                upstream.request(self.command, self.path, body, headers)
                response = upstream.getresponse()
                content = response.read()
                upstream.close()
                with proxy._lock:
                    proxy.records.append((self.command, self.path.partition("?")[0], response.status))
                if fault == "error_after":
                    self.answer(500, [], b"<Error><Code>InternalError</Code></Error>")
                elif fault == "reset_after":
                    self.reset()
                else:
                    kept = [
                        (k, v)
                        for k, v in response.getheaders()
                        if k.lower() not in ("connection", "transfer-encoding", "date", "server")
                    ]
                    self.answer(response.status, kept, content, cut=fault == "cut")

            def answer(self, status: int, headers: list[tuple[str, str]], content: bytes, *, cut: bool = False) -> None:
                self.send_response(status)
                names = {key.lower() for key, _ in headers}
                for key, value in headers:
                    self.send_header(key, value)
                if "content-length" not in names:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content[: len(content) // 2] if cut else content)
                if cut:
                    self.reset()

            def reset(self) -> None:
                self.wfile.flush()
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = forward  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def draw(self, rate: float, faults: tuple[str, ...]) -> str:
        with self._lock:
            if self._random.random() >= rate:
                return ""
            fault = self._random.choice(faults)
            self.struck.append(fault)
            return fault

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
