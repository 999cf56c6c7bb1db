# SPDX-License-Identifier: Apache-2.0
"""One HTTP connection: reads requests within limits, hands them on, sends the answers, and spoils some on demand."""

from __future__ import annotations

import http.client
import io
import logging
import re
import socket
import struct
import threading
import time
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import parse_qsl, unquote

from nucleus_bridge.testing.receiver import faults
from nucleus_bridge.testing.receiver.faults import Fault, FaultInjector
from nucleus_bridge.testing.receiver.messages import Body, Limits, Refusal, Request, Response

_HOST_HEADER = re.compile(r"(127\.0\.0\.1|localhost)(:[0-9]{1,5})?", re.IGNORECASE)
_LENGTH = re.compile(r"[0-9]{1,18}")
_SLOWEST_BYTES_PER_S = 1 << 16
_DRAIN_BYTES = 1 << 16
_LINGER_BYTES, _LINGER_S = 8 << 20, 2.0
_SLOW_PIECES = 20

logger = logging.getLogger(__name__)


class Application(Protocol):
    """What the server serves."""

    @property
    def limits(self) -> Limits:
        """Bounds on requests."""

    @property
    def injector(self) -> FaultInjector:
        """Draws faults."""

    @property
    def stopping(self) -> threading.Event:
        """Set when the server is to end."""

    def answer(self, request: Request) -> Response:
        """Work on a request; may raise Refusal."""

    def record(self, method: str, path: str, status: int) -> None:
        """Take note of a request before it is answered; status 0 is none."""


class _TimedInput(io.RawIOBase):
    """A socket's input that must arrive before a deadline."""

    def __init__(self, connection: socket.socket, idle_s: float) -> None:
        super().__init__()
        self._connection = connection
        self._idle_s = idle_s
        self._deadline = 0.0

    def allow(self, seconds: float) -> None:
        """Set the deadline."""
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._connection.settimeout(min(left_s, self._idle_s))
        return self._connection.recv_into(buffer)


class _HeadReader:
    """Reads header lines up to a total size."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self._stream = stream
        self._left = limit

    def readline(self, size: int) -> bytes:
        line = self._stream.readline(min(size, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise http.client.LineTooLong("header")
        return line


class RequestHandler(BaseHTTPRequestHandler):
    """One connection, one request after the other."""

    protocol_version = "HTTP/1.1"
    server_version = "nucleus-bridge-receiver"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        """Read through a deadline."""
        super().setup()
        self._application: Application = cast("Any", self.server).application
        self._limits = self._application.limits
        self._input = _TimedInput(self.connection, self._limits.idle_s)
        self.rfile.close()
        self.rfile = io.BufferedReader(self._input)

    def handle_one_request(self) -> None:
        """Read a request and answer it."""
        self.close_connection = True
        self._input.allow(self._limits.idle_s)
        try:
            if self._read_head():
                self._answer()
        except Refusal as refusal:
            self.close_connection = True
            self._send(refusal.response)
            self._linger()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _read_head(self) -> bool:
        self.command, self.requestline, self.request_version = "", "", self.protocol_version
        self.raw_requestline = self.rfile.readline(self._limits.max_header_bytes + 1)
        if not self.raw_requestline:
            return False
        if len(self.raw_requestline) > self._limits.max_header_bytes:
            raise Refusal(414, "the request line is too long")
        stream = cast("BinaryIO", self.rfile)
        self.rfile = cast("Any", _HeadReader(stream, self._limits.max_header_bytes - len(self.raw_requestline)))
        try:
            return self.parse_request()
        finally:
            self.rfile = cast("Any", stream)

    def _answer(self) -> None:
        request, path = self._request()
        if not cast("Any", self.server).rate.take():
            raise Refusal(429, "too many requests", headers=(("Retry-After", "1"),))
        self._input.allow(self._limits.idle_s + request.body.length / _SLOWEST_BYTES_PER_S)
        application = self._application
        fault = (
            application.injector.draw(self.command, path) if path.startswith(("/v1/", "/put/", "/results/")) else None
        )
        if fault is not None and fault.name == faults.RESET:
            application.record(self.command, path, 0)
            self._reset()
            return
        response = self._work(request, fault)
        if request.body.left > _DRAIN_BYTES:
            self.close_connection = True
        elif response.status != HTTPStatus.REQUEST_TIMEOUT:
            for _ in request.body.chunks():
                pass
        application.record(self.command, path, response.status)
        logger.info("%a %a %d", self.command, path, response.status)
        self._send(response, fault)
        if request.body.left:
            self._linger()

    def _work(self, request: Request, fault: Fault | None) -> Response:
        application = self._application
        if fault is not None:
            if fault.name == faults.STALL:
                application.stopping.wait(fault.duration_s)
            spoilt = faults.refusal_before_work(fault)
            if spoilt is not None:
                return spoilt
        try:
            response = application.answer(request)
        except Refusal as refusal:
            response = refusal.response
        except TimeoutError:
            self.close_connection = True
            response = Refusal(408, "the body took too long").response
        except ConnectionError:
            raise
        except Exception:
            logger.exception("%a failed", request.method)
            response = Refusal(500, "internal error; the receiver's log says why").response
        if fault is not None and fault.name == faults.ERROR_AFTER_COMMIT:
            return Refusal(500, "internal error after the work was done (rehearsed fault)").response
        if fault is not None and fault.name == faults.WRONG_JSON:
            return replace(response, status=200, body=application.injector.wrong_body())
        return response

    def _request(self) -> tuple[Request, str]:
        if self.request_version == "HTTP/0.9" or self.headers.defects:
            raise Refusal(400, "the head of the request is malformed")
        hosts = self.headers.get_all("Host", [])
        if len(hosts) > 1 or (not hosts and self.request_version != "HTTP/1.0"):
            raise Refusal(400, "exactly one Host header is needed")
        if hosts and not _HOST_HEADER.fullmatch(hosts[0]):
            raise Refusal(421, "this server answers for 127.0.0.1 and localhost only")
        if "Transfer-Encoding" in self.headers:
            raise Refusal(411, "a body needs a Content-Length; chunked ones are not taken")
        lengths = self.headers.get_all("Content-Length", ["0"])
        if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
            raise Refusal(400, "Content-Length must be one decimal number")
        path, _, query = self.path.partition("?")
        if not path.startswith("/") or not self.path.isascii():
            raise Refusal(400, "the request target must be a path of ASCII characters")
        try:
            segments = tuple(unquote(part, errors="strict") for part in path[1:].split("/"))
            parameters = dict(parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=32))
        except ValueError:
            raise Refusal(400, "the request target is not UTF-8, or has too many parameters") from None
        body = Body(cast("BinaryIO", self.rfile), int(lengths[0]))
        return Request(self.command, segments, parameters, self.headers, body, self._limits), path

    def _send(self, response: Response, fault: Fault | None = None) -> None:
        head = [
            f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
            f"Server: {self.server_version}",
            f"Date: {self.date_time_string()}",
            f"Content-Type: {response.content_type}",
            f"Content-Length: {len(response.body)}",
            "X-Content-Type-Options: nosniff",
            *(f"{name}: {value}" for name, value in response.headers),
            f"Connection: {'close' if self.close_connection else 'keep-alive'}",
        ]
        content = "\r\n".join([*head, "", ""]).encode("latin-1")
        body = b"" if self.command == "HEAD" else response.body
        self.connection.settimeout(self._limits.idle_s)
        name = fault.name if fault is not None else ""
        if name == faults.CUT_BODY:
            self.close_connection = True
            body = body[: len(body) // 2]
        if fault is not None and name == faults.SLOW_BODY:
            self.wfile.write(content)
            self._send_slowly(body, fault.duration_s)
        else:
            self.wfile.write(content + body)

    def _send_slowly(self, body: bytes, seconds: float) -> None:
        size = max(1, -(-len(body) // _SLOW_PIECES))
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        for piece in pieces:
            self._application.stopping.wait(seconds / len(pieces))
            self.wfile.write(piece)

    def _linger(self) -> None:
        """Let the client read the answer before unread input makes the system reset the connection."""
        self.close_connection = True
        left = _LINGER_BYTES
        try:
            self.connection.shutdown(socket.SHUT_WR)
            self._input.allow(_LINGER_S)
            while left > 0 and (block := self.rfile.read1(min(left, _DRAIN_BYTES))):
                left -= len(block)
        except OSError:
            logger.debug("a client went away before it had our answer")

    def _reset(self) -> None:
        """End the connection with a reset instead of an answer."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.close(self.connection.detach())

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Refuse a head that cannot be parsed, without repeating it."""
        raise Refusal(code, HTTPStatus(code).phrase)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - as inherited
        """Say nothing here; requests are logged once answered, without query and headers."""
