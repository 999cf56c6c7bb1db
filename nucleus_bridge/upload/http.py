# SPDX-License-Identifier: Apache-2.0
"""One HTTP exchange with the service: what each kind of answer means, and that no secret shows in any error."""

from __future__ import annotations

import base64
import datetime as dt
import email.utils
import json
import logging
import os
import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from nucleus_bridge.errors import AuthError, ConfigError, RejectedError, StoppedError, UploadError
from nucleus_bridge.spool.destination import is_loopback, normalised_endpoint
from nucleus_bridge.strict_text import loads
from nucleus_bridge.upload.certificates import REMEDY, ca_bundle
from nucleus_bridge.upload.retry import TransientError

logging.getLogger("urllib3").setLevel(logging.INFO)  # its debug lines show signed URLs

RETRIED = frozenset({408, 425, 429})
BUSY = frozenset({429, 503})
"""Statuses under which a server may say how long to wait."""
MAX_ANSWER_BYTES = 256 << 20
"""More than a list of a million scenes takes."""
STOP_GRACE_S = 2.5
"""How long an exchange may go on after the upload was told to stop."""
_CONNECT_S = 10.0
_SLOWEST_BYTES_PER_S = 50_000
_LOOK_S = 0.1
_SHOWN = 500
_SEARCHED = 1 << 16
_BLOCK = 1 << 16
_CONCERNS_ALL = frozenset({402, 405, 407})


class LimitedKey(str):
    """A limited access key, which goes in a header of its own and never beside another key."""

    __slots__ = ()


def concerns_all(status: int) -> bool:
    """Whether an answer is about the service, the account or the endpoint, so that no other scene would fare better."""
    return status in _CONCERNS_ALL or 300 <= status < 400


def check_endpoint(endpoint: str) -> str:
    """Return an endpoint in the one way to write it.

    Raises:
        ConfigError: It is not a URL, or one that would show the key to the network.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise ConfigError(f"endpoint {endpoint.partition('?')[0]!r}: must be written https://host/path")
    if parts.scheme == "http" and not is_loopback(endpoint):
        raise ConfigError(f"endpoint {endpoint!r}: the API key must not travel unencrypted; use https://")
    return normalised_endpoint(endpoint)


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


@dataclass
class _Exchange:
    """One request on its way, in a thread of its own: nothing else waits for a server that never ends its answer."""

    done: threading.Event = field(default_factory=threading.Event)
    moved: int = 0
    answer: _Answer | None = None
    error: BaseException | None = None

    def run(self, work: Callable[[_Exchange], _Answer]) -> None:
        try:
            self.answer = work(self)
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is waited for
            self.error = error
        finally:
            self.done.set()


class HttpChannel:
    """Sends one request and reads the whole answer; one thread at a time.

    Args:
        key: The API key.
        timeout_s: Longest silence of the other side, and the longest exchange apart from what its bytes take.
        key_variable: Where the key comes from, for messages.
        stop: Ends an exchange soon.
    """

    def __init__(self, key: str, timeout_s: float, *, key_variable: str, stop: threading.Event | None = None) -> None:
        self._key = key
        self._key_variable = key_variable
        self._secret = secret_pattern(key)
        self._timeout_s = timeout_s
        self._stop = stop or threading.Event()
        self._verify = ca_bundle() or True
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
            RejectedError: Another 3xx or 4xx that will not change.
            StoppedError: The upload was told to stop.
            TransientError: Anything that may be otherwise next time.
        """
        data = None if document is None else json.dumps(document, allow_nan=False).encode()
        own, auth = self._credentials()
        headers = {"Content-Type": "application/json", "Accept": "application/json", **own}
        what = f"{method} {urlsplit(url).path}"
        answer = self._send(what, method, url, data=data, headers=headers, auth=auth)
        if answer.status in (401, 403):
            raise AuthError(
                f"{what}: the API key was refused (HTTP {answer.status}{self._text(answer)}); "
                f"nothing more is sent until {self._key_variable} holds a key that may do this"
            )
        self._check(what, answer)
        try:
            return loads(answer.body)
        except (ValueError, RecursionError):
            raise TransientError(f"{what}: the answer is not JSON", unclear=True) from None

    def read(self, url: str, *, with_key: bool) -> bytes:
        """Read what is behind a URL, with the key only where that is asked for.

        Raises:
            AuthError: The key is refused.
            RejectedError: 3xx or another 4xx.
            TransientError: Anything that may be otherwise next time.
        """
        what = f"GET from {urlsplit(url).hostname}"
        headers, auth = self._credentials() if with_key else ({}, _no_auth)
        answer = self._send(what, "GET", url, headers=headers, auth=auth)
        if with_key and answer.status in (401, 403):
            raise AuthError(f"{what}: the API key was refused (HTTP {answer.status}{self._text(answer)})")
        self._check(what, answer)
        return answer.body

    def _credentials(self) -> tuple[dict[str, str], object]:
        if isinstance(self._key, LimitedKey):
            return {"x-limited-access-key": self._key}, _no_auth
        return {}, (self._key, "")

    def put(self, url: str, body: bytes) -> None:
        """Put a body to a signed URL: no key, no content type.

        Raises:
            RejectedError: 4xx; of a URL that has expired, too.
            TransientError: Anything that may be otherwise next time.
        """
        what = f"PUT of the scenes to {urlsplit(url).hostname}"
        self._check(what, self._send(what, "PUT", url, data=body, headers={}, auth=_no_auth))

    def asked_to_wait(self, url: str) -> float | None:
        """Return for how many seconds a busy server wants to be left alone; None when it does not say."""
        try:
            answer = self._send("HEAD", "HEAD", url, headers={}, auth=_no_auth)
        except TransientError:
            return None
        finally:
            self.close()
        return _retry_after(answer.headers) if answer.status in BUSY else None

    def _send(self, what: str, method: str, url: str, **options: Any) -> _Answer:  # noqa: ANN401
        """Have the request sent by another thread and wait for the answer, not longer than it may take."""
        exchange = _Exchange()
        work = partial(self._request, self._session, what, method, url, options)
        threading.Thread(target=exchange.run, args=(work,), name="upload-exchange", daemon=True).start()
        began, stopping = time.monotonic(), None
        sent = len(options.get("data") or b"")
        while not exchange.done.wait(_LOOK_S):
            now = time.monotonic()
            if self._stop.is_set():
                stopping = stopping or now
                if now - stopping > STOP_GRACE_S:
                    self._session = requests.Session()  # the other one is still in use
                    raise StoppedError("stopped")
            if now - began > self._timeout_s + (sent + exchange.moved) / _SLOWEST_BYTES_PER_S:
                self._session = requests.Session()
                raise TransientError(f"{what}: no whole answer within {now - began:.0f} s", unclear=True)
        if exchange.answer is None:
            raise exchange.error or TransientError(f"{what}: no answer", unclear=True)
        return exchange.answer

    def _request(
        self,
        session: requests.Session,
        what: str,
        method: str,
        url: str,
        options: Mapping[str, Any],
        exchange: _Exchange,
    ) -> _Answer:
        session.trust_env = not is_loopback(url)  # no proxy on the way to ourselves
        timeout = (min(_CONNECT_S, self._timeout_s), self._timeout_s)
        fixed: Any = {"timeout": timeout, "allow_redirects": False, "verify": self._verify, "stream": True}
        body = bytearray()
        try:
            with session.request(method, url, **options, **fixed) as response:
                for block in response.iter_content(_BLOCK):
                    body += block
                    exchange.moved = len(body)
                    if len(body) > MAX_ANSWER_BYTES:
                        raise TransientError(f"{what}: the answer has more than {MAX_ANSWER_BYTES} bytes", unclear=True)
                return _Answer(response.status_code, response.headers, bytes(body))
        except requests.exceptions.SSLError as error:
            if (refused := _untrusted(error)) is not None:
                host = urlsplit(url).netloc
                raise UploadError(f"{what}: the certificate of {host} is not trusted ({refused}); {REMEDY}") from None
            raise TransientError(f"{what}: no encrypted connection") from None
        except requests.RequestException as error:  # its text may show a signed URL
            raise TransientError(f"{what}: {_cause(error, url)}", unclear=_may_have_arrived(error)) from None

    def _check(self, what: str, answer: _Answer) -> None:
        status = answer.status
        if 200 <= status < 300:
            return
        message = f"{what}: HTTP {status}{self._text(answer)}"
        if 300 <= status < 400:
            target = self._masked(answer.headers.get("Location", "nowhere").partition("?")[0])
            raise RejectedError(f"{message}: redirects to {target}; set the endpoint to where it is", status=status)
        if status in RETRIED or status >= 500:
            raise TransientError(message, retry_after_s=_retry_after(answer.headers), unclear=status >= 500)
        raise RejectedError(message, status=status, answer=_json_object(answer.body))

    def _text(self, answer: _Answer) -> str:
        text = " ".join(self._masked(answer.body[:_SEARCHED].decode(errors="replace")).split())[:_SHOWN]
        return f": {text}" if text and "<" not in text[:1] else ""

    def _masked(self, text: str) -> str:
        return self._secret.sub("***", text) if self._key else text


def secret_pattern(key: str) -> re.Pattern[str]:
    """Return what finds a key in a text, in every form that it travels in, but not as part of another word."""
    raw = key.encode()
    forms = {key, json.dumps(key)[1:-1], quote(key, safe=""), quote(key, safe="").lower()}
    for content in (raw, raw + b":"):
        forms |= {base64.b64encode(content).decode(), base64.urlsafe_b64encode(content).decode()}
        forms |= {form.rstrip("=") for form in list(forms) if form.endswith("=")}
    forms |= {quote(form, safe="") for form in list(forms)}
    shown = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True) if form)
    return re.compile(rf"(?<![A-Za-z0-9])(?:{shown})(?![A-Za-z0-9])")


def _json_object(body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


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


def _cause(error: requests.RequestException, url: str) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return f"the connection to {urlsplit(url).netloc.rpartition('@')[2]} failed or broke"
    return type(error).__name__


def _untrusted(error: BaseException) -> str | None:
    """Return why a certificate was not trusted, when that is what an error is about."""
    seen: list[BaseException] = [error]
    for one in seen:
        if isinstance(one, ssl.SSLCertVerificationError):
            return one.verify_message or one.reason
        below = (*one.args, getattr(one, "reason", None), one.__cause__, one.__context__)
        seen += [other for other in below if isinstance(other, BaseException) and other not in seen]
    return None


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
