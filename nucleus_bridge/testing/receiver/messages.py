# SPDX-License-Identifier: Apache-2.0
"""What the HTTP plumbing hands to the routes and gets back: requests, responses, refusals and their limits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any, BinaryIO

from nucleus_bridge.testing.receiver.strict_json import check_tree, parse_json

MAX_UPLOAD_BYTES = 0x1FFFFFE8
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Limits:
    """Bounds on what a client can make the receiver do.

    Attributes:
        max_body_bytes: Largest JSON body of an API call.
        max_upload_bytes: Largest scene upload (the service's own limit).
        max_item_bytes: Largest point cloud or image that is read for a check.
        max_header_bytes: Request line and headers together.
        max_connections: Connections served at a time; more wait, then get 503.
        max_requests_per_s: Requests served, over ten seconds; more get 429.
        idle_s: Longest wait for a request's head, and for each piece of a body or answer.
    """

    max_body_bytes: int = 16 << 20
    max_upload_bytes: int = MAX_UPLOAD_BYTES
    max_item_bytes: int = 128 << 20
    max_header_bytes: int = 32 << 10
    max_connections: int = 64
    max_requests_per_s: float = 1000.0
    idle_s: float = 30.0


@dataclass(frozen=True)
class Response:
    """One answer."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


def json_response(value: object, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """Answer with a JSON document."""
    content = json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")
    return Response(status, content, headers=headers)


class Refusal(Exception):  # noqa: N818 - it is an answer, and never leaves the receiver
    """A request is answered with an error status; the text is meant for a person."""

    def __init__(
        self,
        status: int,
        message: str,
        details: Mapping[str, Any] | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.details = dict(details or {})
        self.headers = headers

    @property
    def response(self) -> Response:
        """The answer to send."""
        return json_response({"error": str(self), **self.details}, self.status, self.headers)


class Body:
    """A request's body, read at most once and in bounded pieces."""

    def __init__(self, stream: BinaryIO, length: int) -> None:
        self.length = length
        self.left = length
        self._stream = stream

    def chunks(self) -> Iterator[bytes]:
        """Yield what is left.

        Raises:
            Refusal: The connection ended early.
        """
        while self.left:
            block = self._stream.read(min(self.left, _BLOCK))
            if not block:
                raise Refusal(400, f"the body ends {self.left} bytes early")
            self.left -= len(block)
            yield block


@dataclass(frozen=True)
class Request:
    """One request whose head was read.

    Attributes:
        method: Upper case.
        segments: Path split at its slashes, each part percent-decoded; ``/`` is ``("",)``.
        query: Last value of each parameter.
        headers: As sent.
        body: Not read yet.
        limits: The receiver's.
    """

    method: str
    segments: tuple[str, ...]
    query: Mapping[str, str]
    headers: Message
    body: Body
    limits: Limits

    def json_value(self) -> Any:  # noqa: ANN401 - what it is, is for the route to find out
        """Read the body as JSON.

        Raises:
            Refusal: Too large, or no such thing.
        """
        if self.body.length > self.limits.max_body_bytes:
            raise Refusal(413, f"the body has {self.body.length} bytes; at most {self.limits.max_body_bytes} are taken")
        try:
            document = parse_json(b"".join(self.body.chunks()))
            check_tree(document)
        except ValueError as error:
            raise Refusal(400, f"the body {error}") from None
        return document

    def json_object(self) -> dict[str, Any]:
        """Read the body as a JSON object.

        Raises:
            Refusal: Too large, or no such thing.
        """
        document = self.json_value()
        if not isinstance(document, dict):
            raise Refusal(400, "the body must be a JSON object")
        return document
