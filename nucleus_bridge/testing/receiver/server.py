# SPDX-License-Identifier: Apache-2.0
"""The listening side: loopback only, bounded connections, a thread each, and bounded requests a second."""

from __future__ import annotations

import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from typing import Any

from nucleus_bridge.testing.receiver.handler import Application, RequestHandler

HOST = "127.0.0.1"
BURST_S = 10.0
_CONNECTION_WAIT_S = 2.0

logger = logging.getLogger(__name__)


class RequestRate:
    """A store of allowances that fills steadily and holds those of ten seconds."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._left = per_second * BURST_S
        self._filled = clock()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Take the allowance for one request; False when there is none."""
        with self._lock:
            now = self._clock()
            self._left = min(self._left + (now - self._filled) * self._per_second, self._per_second * BURST_S)
            self._filled = now
            if self._left < 1.0:
                return False
            self._left -= 1.0
            return True


class LoopbackServer(ThreadingHTTPServer):
    """A thread a connection, at most ``max_connections`` of them."""

    request_queue_size = 128
    block_on_close = False

    def __init__(self, port: int, application: Application) -> None:
        self.application = application
        self.rate = RequestRate(application.limits.max_requests_per_s)
        self._slots = threading.BoundedSemaphore(application.limits.max_connections)
        self._slot_count = application.limits.max_connections
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__((HOST, port), RequestHandler)

    def server_bind(self) -> None:
        """Bind without asking a name server for our name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as inherited
        """Serve a connection in a thread of its own once there is room."""
        if not self._slots.acquire(timeout=_CONNECTION_WAIT_S):
            _send_busy(request)
            self.shutdown_request(request)
            return
        with self._open_lock:
            self._open.add(request)
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._release(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as inherited
        """Serve a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._release(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - as inherited
        """Note that a connection ended badly."""
        logger.debug("a connection ended early: %r", sys.exc_info()[1])

    def close_connections(self, timeout_s: float) -> None:
        """End every connection and wait for the threads that served them."""
        with self._open_lock:
            connections = list(self._open)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                logger.debug("a connection had ended already")
        deadline = time.monotonic() + timeout_s
        for _ in range(self._slot_count):
            self._slots.acquire(timeout=max(0.0, deadline - time.monotonic()))

    def _release(self, request: socket.socket) -> None:
        with self._open_lock:
            self._open.discard(request)
        self._slots.release()


def _send_busy(connection: socket.socket) -> None:
    try:
        connection.settimeout(1.0)
        connection.sendall(
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: application/json\r\n"
            b'Content-Length: 24\r\nConnection: close\r\n\r\n{"error":"all are busy"}'
        )
    except OSError:
        logger.debug("a client went away while it waited")
