# SPDX-License-Identifier: Apache-2.0
"""An HTTP proxy in front of an object store that counts what is read through it."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class CountingProxy:
    """Forwards everything; ``ranges`` has first byte and end of every part of an object that was sent, by key."""

    def __init__(self, store: str) -> None:
        self.ranges: dict[str, list[tuple[int, int]]] = {}
        self.lock = threading.Lock()
        proxy, target = self, urlsplit(store)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                upstream = http.client.HTTPConnection(str(target.hostname), int(target.port or 80), timeout=60)
                headers = {key: value for key, value in self.headers.items() if key.lower() != "connection"}
                upstream.request(self.command, self.path, body, headers)
                response = upstream.getresponse()
                content = response.read()
                upstream.close()
                key = self.path.partition("?")[0].partition("/bucket/")[2]
                if self.command == "GET" and key:
                    start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
                    with proxy.lock:
                        proxy.ranges.setdefault(key, []).append((start, start + len(content)))
                self.send_response(response.status)
                for name, value in response.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding", "date", "server", "content-length"):
                        self.send_header(name, value)
                length = response.headers.get("Content-Length") if self.command == "HEAD" else None
                self.send_header("Content-Length", length or str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = forward  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def bytes_read(self, key: str) -> int:
        return sum(end - start for start, end in self.ranges.get(key, []))

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def counting(store: str) -> Iterator[CountingProxy]:
    proxy = CountingProxy(store)
    try:
        yield proxy
    finally:
        proxy.stop()
