# SPDX-License-Identifier: Apache-2.0
"""One HTTP exchange with the service: what each kind of answer means, and that no secret shows in any error."""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from nucleus_bridge.errors import AuthError, ConfigError, RejectedError
from nucleus_bridge.upload.loopback import is_loopback
from nucleus_bridge.upload.retry import TransientError

logging.getLogger("urllib3").setLevel(logging.INFO)  # its debug lines show signed URLs

RETRIED = frozenset({408, 425, 429})
MAX_ANSWER_BYTES = 256 << 20
"""More than a list of a million scenes takes."""
_CONNECT_S = 10.0
_SHOWN = 500
_BLOCK = 1 << 16


def check_endpoint(endpoint: str) -> str:
    """Return an endpoint without trailing slash.

    Raises:
        ConfigError: It is no URL, or one that would show the key to the network.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise ConfigError(f"endpoint {endpoint.partition('?')[0]!r}: must be written https://host/path")
    if parts.scheme == "http" and not is_loopback(endpoint):
        raise ConfigError(f"endpoint {endpoint!r}: the API key must not travel unencrypted; use https://")
    return endpoint.rstrip("/")


def key_from_environment(variable: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return an API key, which is never taken from anywhere else.

    Raises:
        ConfigError: There is none.
    """
    key = environment.get(variable, "").strip()
    if not key:
        raise ConfigError(f"{variable} is not set; the API key is taken from the environment only")
    return key


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpChannel:
    """Sends one request and reads the whole answer; one thread at a time.

    Args:
        key: The API key.
        timeout_s: Longest silence of the other side.
        key_variable: Where the key comes from, for messages.
    """

    def __init__(self, key: str, timeout_s: float, *, key_variable: str) -> None:
        self._key = key
        self._key_variable = key_variable
        self._timeout = (min(_CONNECT_S, timeout_s), timeout_s)
        self._session = requests.Session()

    def __repr__(self) -> str:
        return "HttpChannel(key=***)"

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def call(self, method: str, url: str, document: object = None) -> Any:  # noqa: ANN401 - JSON
        """Make one API call with the key and return the JSON of the answer.

        Raises:
            AuthError: 401 or 403.
            RejectedError: Another 4xx that will not change.
            TransientError: Anything that may be otherwise next time.
        """
        data = None if document is None else json.dumps(document, allow_nan=False).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        what = f"{method} {urlsplit(url).path}"
        answer = self._send(what, method, url, data=data, headers=headers, auth=(self._key, ""))
        if answer.status in (401, 403):
            raise AuthError(
                f"{what}: the API key was refused (HTTP {answer.status}{self._text(answer)}); "
                f"nothing more is sent until {self._key_variable} holds a key that may do this"
            )
        self._check(what, answer)
        try:
            return json.loads(answer.body)
        except (ValueError, RecursionError):
            raise TransientError(f"{what}: the answer is no JSON", unclear=True) from None

    def put(self, url: str, body: bytes) -> None:
        """Put a body to a signed URL: no key, no content type.

        Raises:
            RejectedError: 4xx; of a URL that has expired, too.
            TransientError: Anything that may be otherwise next time.
        """
        what = f"PUT of the scenes to {urlsplit(url).hostname}"
        self._check(what, self._send(what, "PUT", url, data=body, headers={}, auth=_no_auth))

    def _send(self, what: str, method: str, url: str, **options: Any) -> _Answer:  # noqa: ANN401
        self._session.trust_env = not is_loopback(url)  # no proxy on the way to ourselves
        options |= {"timeout": self._timeout, "allow_redirects": False, "verify": True, "stream": True}
        body = bytearray()
        try:
            with self._session.request(method, url, **options) as response:
                for block in response.iter_content(_BLOCK):
                    body += block
                    if len(body) > MAX_ANSWER_BYTES:
                        raise TransientError(f"{what}: the answer has more than {MAX_ANSWER_BYTES} bytes", unclear=True)
                return _Answer(response.status_code, response.headers, bytes(body))
        except requests.exceptions.SSLError:
            raise TransientError(f"{what}: the server's certificate is not trusted") from None
        except requests.RequestException as error:  # its text may show a signed URL
            raise TransientError(f"{what}: {_cause(error)}", unclear=_may_have_arrived(error)) from None

    def _check(self, what: str, answer: _Answer) -> None:
        status = answer.status
        if 200 <= status < 300:
            return
        message = f"{what}: HTTP {status}{self._text(answer)}"
        if status in RETRIED or status >= 500:
            raise TransientError(message, retry_after_s=_retry_after(answer.headers), unclear=status >= 500)
        raise RejectedError(message, status=status)

    def _text(self, answer: _Answer) -> str:
        text = " ".join(answer.body[: 4 * _SHOWN].decode(errors="replace")[:_SHOWN].split())
        if self._key:
            text = text.replace(self._key, "***")
        return f": {text}" if text and "<" not in text[:1] else ""


def expect(what: str, answer: object, shape: Callable[[Any], bool]) -> Any:  # noqa: ANN401 - JSON
    """Return an answer that has the expected shape.

    Raises:
        TransientError: It has not.
    """
    try:
        good = shape(answer)
    except (KeyError, TypeError, IndexError, AttributeError):
        good = False
    if not good:
        raise TransientError(f"{what}: the answer is not what was asked for", unclear=True)
    return answer


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Send as it is; also not with what a .netrc file holds for the host."""
    return request


def _cause(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "the connection failed or broke"
    return type(error).__name__


def _may_have_arrived(error: requests.RequestException) -> bool:
    return not isinstance(error, requests.ConnectTimeout)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        at = email.utils.parsedate_to_datetime(text)
        served = email.utils.parsedate_to_datetime(headers["Date"]) if "Date" in headers else None
    except (TypeError, ValueError):
        return None
    now = served or dt.datetime.now(dt.timezone.utc)
    try:
        return max(0.0, (at - now).total_seconds())
    except TypeError:
        return None
