# SPDX-License-Identifier: Apache-2.0
"""One HTTP exchange with the service: what each kind of answer means, and that no secret shows in any error."""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from nucleus_bridge.errors import AuthError, ConfigError, RejectedError
from nucleus_bridge.upload.loopback import is_loopback
from nucleus_bridge.upload.retry import TransientError

logging.getLogger("urllib3").setLevel(logging.INFO)  # its debug lines show signed URLs

RETRIED = frozenset({408, 425, 429})
_CONNECT_S = 10.0
_SHOWN = 500


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
        response = self._send(what, method, url, data=data, headers=headers, auth=(self._key, ""))
        if response.status_code in (401, 403):
            raise AuthError(
                f"{what}: the API key was refused (HTTP {response.status_code}{self._text(response)}); "
                f"nothing more is sent until {self._key_variable} holds a key that may do this"
            )
        self._check(what, response)
        try:
            return response.json()
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

    def _send(self, what: str, method: str, url: str, **options: Any) -> requests.Response:  # noqa: ANN401
        self._session.trust_env = not is_loopback(url)  # no proxy on the way to ourselves
        try:
            return self._session.request(
                method, url, timeout=self._timeout, allow_redirects=False, verify=True, **options
            )
        except requests.exceptions.SSLError:
            raise TransientError(f"{what}: the server's certificate is not trusted") from None
        except requests.RequestException as error:  # its text may show a signed URL
            raise TransientError(f"{what}: {_cause(error)}", unclear=_may_have_arrived(error)) from None

    def _check(self, what: str, response: requests.Response) -> None:
        status = response.status_code
        if 200 <= status < 300:
            return
        message = f"{what}: HTTP {status}{self._text(response)}"
        if status in RETRIED or status >= 500:
            raise TransientError(message, retry_after_s=_retry_after(response.headers), unclear=status >= 500)
        raise RejectedError(message, status=status)

    def _text(self, response: requests.Response) -> str:
        text = " ".join(response.text[:_SHOWN].split())
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
