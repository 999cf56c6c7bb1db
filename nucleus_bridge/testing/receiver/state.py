# SPDX-License-Identifier: Apache-2.0
"""Small state files: one JSON object each, put in place atomically and durably."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nucleus_bridge.errors import InputError
from nucleus_bridge.spool import durable

_SORTING_DIGITS = b"0123456789abcdefghijklmnopqrstuv"  # base32hex in lower case: texts sort as the bytes do
_BASE32 = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", _SORTING_DIGITS)


def new_id(prefix: str) -> str:
    """Return an id of Nucleus's form, such as ``ds_c8jwdhy4y4f0078hzceg``; ids sort in the order they were made."""
    return f"{prefix}_{_twenty_digits(_new_bytes())}"


def new_task_id() -> str:
    """Return an id of the annotation side's form: 24 hexadecimal digits."""
    return _new_bytes().hex()


def derived_id(prefix: str, *parts: str) -> str:
    """Return the id, of Nucleus's form, that belongs to these texts and no others."""
    return f"{prefix}_{_twenty_digits(hashlib.sha256(json.dumps(parts).encode()).digest()[:12])}"


def _new_bytes() -> bytes:
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return seconds.to_bytes(4, "big") + nanoseconds.to_bytes(4, "big") + secrets.token_bytes(4)


def _twenty_digits(data: bytes) -> str:
    return base64.b32encode(data).rstrip(b"=").translate(_BASE32).decode()


def now_text() -> str:
    """Return the present as ISO 8601 in UTC with milliseconds."""
    return instant_text(time.time())


def instant_text(seconds: float) -> str:
    """Return a Unix time as ISO 8601 in UTC with milliseconds."""
    instant = dt.datetime.fromtimestamp(seconds, dt.timezone.utc)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_instant(text: str) -> dt.datetime:
    """Read a date or time in ISO 8601, in UTC unless it says otherwise.

    Raises:
        ValueError: It is not one.
    """
    instant = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return instant if instant.tzinfo else instant.replace(tzinfo=dt.timezone.utc)


def write_state(path: Path, record: Mapping[str, Any]) -> None:
    """Put a state file in place atomically and durably."""
    durable.replace_file(path, (json.dumps(record, allow_nan=False) + "\n").encode("ascii"))


def read_state(path: Path) -> dict[str, Any]:
    """Read a state file.

    Raises:
        InputError: It is damaged.
    """
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a state of a receiver ({error}); move it away or serve another folder") from None
    if not isinstance(record, dict):
        raise InputError(f"{path}: not a state of a receiver; move it away or serve another folder")
    return record


def load_record(path: Path, kind: Any) -> Any:  # noqa: ANN401 - any of the dataclasses kept here
    """Read a state file into its dataclass.

    Raises:
        InputError: It is damaged, or something else.
    """
    record = read_state(path)
    try:
        return kind(**record)
    except TypeError as error:
        raise InputError(f"{path}: not a {kind.__name__} ({error}); move it away or serve another folder") from None
