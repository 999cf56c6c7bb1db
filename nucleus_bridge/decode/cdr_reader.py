# SPDX-License-Identifier: Apache-2.0
"""Read a CDR message field by field, as views: for large messages and for types that no typestore knows."""

from __future__ import annotations

import struct
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.decode.cdr import byte_order, strip_slashes
from nucleus_bridge.errors import DecodeError, MissingExtraError
from nucleus_bridge.model import Message

_ENCAPSULATION_BYTES = 4
_NS_PER_S = 1_000_000_000


class CdrReader:
    """The fields of one message in their order; a field that passes the end of the message is a ``DecodeError``."""

    def __init__(self, message: Message) -> None:
        """Begin behind the encapsulation header.

        Raises:
            DecodeError: The bytes are not plain CDR.
        """
        self.order: Literal["<", ">"] = byte_order(message.data)
        self._data = memoryview(message.data)
        self._at = _ENCAPSULATION_BYTES

    @property
    def left(self) -> int:
        """Bytes that were not read."""
        return len(self._data) - self._at

    def number(self, code: str) -> Any:
        """Read one number of a ``struct`` code, aligned to its size."""
        size = struct.calcsize(code)
        return struct.unpack(self.order + code, self._take(size, size))[0]

    def text(self) -> str:
        """Read a string.

        Raises:
            DecodeError: It is not UTF-8.
        """
        content = bytes(self._take(self.number("I"), 1))
        try:
            return content.rstrip(b"\0").decode()
        except UnicodeDecodeError as error:
            raise DecodeError(f"the text {content[:40]!r} is not UTF-8") from error

    def stamp(self) -> int:
        """Read a ``builtin_interfaces/Time`` as nanoseconds."""
        return int(self.number("i")) * _NS_PER_S + int(self.number("I"))

    def header(self) -> tuple[int, str]:
        """Read a ``std_msgs/Header``: the stamp in nanoseconds, and the frame id without leading slashes."""
        return self.stamp(), strip_slashes(self.text())

    def octets(self) -> memoryview:
        """Read a ``uint8[]``."""
        return self._take(self.number("I"), 1)

    def array(self, dtype: Any, count: int | None = None) -> NDArray[Any]:
        """Read a sequence of numbers or, with ``count``, a fixed array of them; a view in the message's byte order."""
        kind = np.dtype(dtype).newbyteorder(self.order)
        length = self.number("I") if count is None else count
        return np.frombuffer(self._take(length * kind.itemsize, kind.itemsize if length else 1), kind)

    def records(self, dtype: np.dtype[np.void], alignment: int) -> NDArray[np.void]:
        """Read a sequence of structures without strings; the padding behind the last one is not in the message."""
        count = self.number("I")
        kind = dtype.newbyteorder(self.order)
        stride = -(-kind.itemsize // alignment) * alignment
        if count == 0:
            return np.empty(0, kind)
        part = self._take((count - 1) * stride + kind.itemsize, alignment)
        view: NDArray[np.void] = np.ndarray((count,), kind, part, 0, (stride,))
        return view

    def _take(self, size: int, alignment: int) -> memoryview:
        start = self._at + -(self._at - _ENCAPSULATION_BYTES) % alignment
        if size > len(self._data) - start:
            raise DecodeError(
                f"{size} bytes should follow at byte {start}, but the message has only {len(self._data)} bytes"
            )
        self._at = start + size
        return self._data[start : self._at]


def load_extra(module: str, extra: str, purpose: str) -> Any:
    """Import a library that only an extra of this package brings.

    Raises:
        MissingExtraError: It is not installed; says how it is.
    """
    try:
        return import_module(module)
    except ImportError:
        raise MissingExtraError(
            f"{purpose} needs the Python package {module}, which is not installed: "
            f"pip install 'nucleus-bridge[{extra}]'"
        ) from None
