# SPDX-License-Identifier: Apache-2.0
"""JSON as the receiver accepts it: UTF-8, no key twice, finite numbers, bounded depth."""

from __future__ import annotations

import sys
from typing import Any, TypeGuard

from nucleus_bridge import strict_text
from nucleus_bridge.errors import TextError

MAX_DEPTH = 64
_LARGEST = sys.float_info.max


def parse_json(data: bytes) -> Any:  # noqa: ANN401 - what it is, is for the caller to find out
    """Parse a JSON document.

    Raises:
        ValueError: It is not UTF-8, no JSON, holds NaN or Infinity literals or a key twice, or is nested too deeply.
    """
    try:
        return strict_text.parse_json(data)
    except TextError as error:
        raise ValueError(str(error)) from None


def check_tree(value: object) -> None:
    """Check every number and the depth of a parsed document.

    Raises:
        ValueError: A number is beyond the range of a double, or the nesting exceeds MAX_DEPTH.
    """
    waiting: list[tuple[object, int]] = [(value, 1)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"is nested deeper than {MAX_DEPTH} levels")
        if isinstance(node, dict):
            waiting.extend((child, depth + 1) for child in node.values())
        elif isinstance(node, list):
            waiting.extend((child, depth + 1) for child in node)
        elif isinstance(node, (int, float)) and not -_LARGEST <= node <= _LARGEST:
            raise ValueError("holds a number that is not finite")


def is_number(value: object) -> TypeGuard[int | float]:
    """Say whether a value is a finite JSON number; booleans are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST


def is_text(value: object) -> TypeGuard[str]:
    """Say whether a value is a string with something in it."""
    return isinstance(value, str) and bool(value)


def metadata_kind(value: object) -> str:
    """Return how the service files a metadata value: as a ``string``, a ``number``, or not at all (empty)."""
    if isinstance(value, str):
        return "string"
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else ""
