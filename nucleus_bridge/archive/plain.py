# SPDX-License-Identifier: Apache-2.0
"""Frozen dataclasses and arrays as JSON and back, exactly; reading makes nothing but the classes it is given."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

_CLASS, _ARRAY = ".class", ".array"


def to_json(value: object) -> bytes:
    """Serialise dataclasses, arrays, tuples, mappings with string keys, numbers, strings and None."""
    return json.dumps(_plain(value), separators=(",", ":")).encode()


def from_json(content: bytes, classes: Collection[type]) -> Any:  # noqa: ANN401 - any of the classes
    """Read it again; sequences become tuples.

    Raises:
        ValueError: It is not what ``to_json`` makes of these classes.
    """
    known = {kind.__name__: kind for kind in classes}
    try:
        return _value(json.loads(content), known)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a kept part: {type(error).__name__}: {error}") from None


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        data = b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {_ARRAY: value.dtype.str, "shape": value.shape, "data": data}
    if isinstance(value, np.generic):
        return value.item()
    if is_dataclass(value) and not isinstance(value, type):
        return {
            _CLASS: type(value).__name__,
            **{item.name: _plain(getattr(value, item.name)) for item in fields(value)},
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(entry) for entry in value]
    return value


def _value(plain: Any, known: Mapping[str, type]) -> Any:  # noqa: ANN401 - anything that JSON holds
    if isinstance(plain, list):
        return tuple(_value(entry, known) for entry in plain)
    if not isinstance(plain, dict):
        return plain
    if _ARRAY in plain:
        return np.frombuffer(b64decode(plain["data"]), plain[_ARRAY]).reshape(plain["shape"])
    values = {name: _value(entry, known) for name, entry in plain.items() if name != _CLASS}
    return known[plain[_CLASS]](**values) if _CLASS in plain else values
