# SPDX-License-Identifier: Apache-2.0
"""Small state files: one JSON object each, put in place atomically and durably."""

from __future__ import annotations

import datetime as dt
import json
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nucleus_bridge.errors import InputError
from nucleus_bridge.spool import durable


def new_id(prefix: str) -> str:
    """Return an id that no one else has; ids sort in the order they were made."""
    return f"{prefix}_{time.time_ns():016x}{secrets.token_hex(4)}"


def now_text() -> str:
    """Return the present as ISO 8601 in UTC with milliseconds."""
    return dt.datetime.now(dt.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
        raise InputError(f"{path}: is no state of a receiver ({error}); move it away or serve another folder") from None
    if not isinstance(record, dict):
        raise InputError(f"{path}: is no state of a receiver; move it away or serve another folder")
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
        raise InputError(f"{path}: is no {kind.__name__} ({error}); move it away or serve another folder") from None
