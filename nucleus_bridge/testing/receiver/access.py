# SPDX-License-Identifier: Apache-2.0
"""Who may do what: API keys on the calls, signatures on the upload URLs."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Collection, Mapping
from email.message import Message
from pathlib import Path

from nucleus_bridge.testing.receiver.messages import Refusal, Response

LIMITED_KEY_HEADER = "x-limited-access-key"
_KEY_BYTES = 32
_CHALLENGE = (("WWW-Authenticate", 'Basic realm="nucleus"'),)


def load_signing_key(path: Path) -> bytes:
    """Return the key that upload URLs are signed with; it is made at first use and survives restarts."""
    if not path.exists() or path.stat().st_size != _KEY_BYTES:
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
    return path.read_bytes()


class Access:
    """Checks credentials; keys can be revoked while the receiver runs."""

    def __init__(
        self,
        signing_key: bytes,
        *,
        api_keys: Collection[str] | None,
        task_api_keys: Collection[str] | None,
        url_expires_s: float,
    ) -> None:
        self._signing_key = signing_key
        self._api_keys = api_keys
        self._task_api_keys = task_api_keys
        self._url_expires_s = url_expires_s
        self._revoked: set[str] = set()

    def revoke(self, key: str) -> None:
        """Refuse a key from now on."""
        self._revoked.add(key)

    def check_nucleus(self, headers: Message) -> None:
        """Check the credential of a Nucleus call: Basic ``KEY:``, or a limited access key.

        Raises:
            Refusal: 401.
        """
        limited = headers.get(LIMITED_KEY_HEADER)
        if limited is not None and "Authorization" not in headers:
            self._check(limited, self._api_keys)
        else:
            self._check(_basic_key(headers), self._api_keys)

    def check_task(self, headers: Message) -> None:
        """Check the credential of an annotation call: Basic ``KEY:``.

        Raises:
            Refusal: 401.
        """
        self._check(_basic_key(headers), self._task_api_keys)

    def _check(self, key: str, known: Collection[str] | None) -> None:
        if key and not _contains(self._revoked, key) and (known is None or _contains(known, key)):
            return
        raise Refusal(401, "the API key is missing, unknown or revoked", headers=_CHALLENGE)

    def signed_path(self, dataset_id: str, request_id: str) -> str:
        """Return the path and query that allow one upload to be put for a while, without a key."""
        expires = str(int(time.time() + self._url_expires_s))
        signature = self._signature(dataset_id, request_id, expires)
        return f"/put/{dataset_id}/{request_id}?X-Expires={expires}&X-Signature={signature}"

    def check_signed(self, dataset_id: str, request_id: str, query: Mapping[str, str]) -> Response | None:
        """Return the refusal of a PUT whose signature is wrong or has expired, or None."""
        expires, given = query.get("X-Expires", ""), query.get("X-Signature", "")
        expected = self._signature(dataset_id, request_id, expires)
        if not hmac.compare_digest(given.encode(), expected.encode()):
            return store_refusal(403, "SignatureDoesNotMatch", "The signature does not match the request.")
        if time.time() >= int(expires):
            return expired_refusal()
        return None

    def _signature(self, dataset_id: str, request_id: str, expires: str) -> str:
        text = f"{dataset_id}/{request_id}/{expires}"
        return hmac.new(self._signing_key, text.encode(), hashlib.sha256).hexdigest()


def store_refusal(status: int, code: str, message: str) -> Response:
    """Answer the way an object store does: with a small XML document."""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(status, text.encode(), "application/xml")


def expired_refusal() -> Response:
    """Answer to a PUT that came too late."""
    return store_refusal(403, "AccessDenied", "Request has expired")


def _basic_key(headers: Message) -> str:
    kind, _, encoded = headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        return ""
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return ""
    return user if colon and not password else ""


def _contains(keys: Collection[str], key: str) -> bool:
    return any(hmac.compare_digest(known.encode(), key.encode()) for known in list(keys))
