# SPDX-License-Identifier: Apache-2.0
"""The container of ``.sfs`` files: a JSON header, then the bytes of its arrays.

Layout, as Scale's ``scale-json-binary`` writes and reads it: the header is one JSON object whose last key ``$items``
lists the arrays (path, bytes, offset, type, shape), padded with 1 to 4 spaces to a multiple of four; then four zero
bytes; then each array, little-endian and row-major, padded with 1 to 4 zero bytes to a multiple of four. Offsets count
from the first zero byte of the file. In the header the place of an array holds the empty string.
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats.content import Buffer

Key = str | int

ITEMS = "$items"
PLACE = ""
"""What stands in the header where an array belongs."""

_ALIGNMENT = 4
_LARGEST_HEADER = 64 << 20
"""Bytes; parsed it takes ten times as much memory. A scene of 2 GB has a header of a few megabytes."""
_HEADER_PIECE = 1 << 18
_MOST_ITEMS = 1_000_000
_DEEPEST_PATH = 32
_LONGEST_INTEGER = 300  # digits; every one fits a 64-bit float
_DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in ("uint8", "uint16", "uint32", "int8", "int16", "int32", "int64", "float32", "float64")
}


@dataclass(frozen=True)
class Blob:
    """An array that is not in memory: what it is, and how to get its bytes when they are written.

    Attributes:
        dtype: numpy's name of its type.
        shape: Its shape.
        chunks: Returns its bytes, little-endian and row-major, in pieces.
    """

    dtype: str
    shape: tuple[int, ...]
    chunks: Callable[[], Iterable[Buffer]]

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def write_tree(tree: Mapping[str, object]) -> Iterator[Buffer]:
    """Yield the bytes of a container, arrays one after the other.

    Args:
        tree: Mappings with text keys, lists, text, finite numbers, booleans and None; arrays and ``Blob`` as leaves.

    Raises:
        ValueError: A number is not finite, or a blob gives other than its size.
        TypeError: Something cannot be written.
    """
    arrays: list[NDArray[Any] | Blob] = []
    items: list[dict[str, object]] = []
    header = _headed(tree, (), arrays, items)
    position = _ALIGNMENT
    for array, item in zip(arrays, items, strict=True):
        item["offset"] = position
        position += array.nbytes + _padding(array.nbytes)
    if not isinstance(header, dict):
        raise TypeError(f"a container holds a mapping, not {type(tree).__name__}")
    text = json.dumps({**header, ITEMS: items}, allow_nan=False, separators=(",", ":")).encode("ascii")
    yield text + b" " * _padding(len(text)) + bytes(_ALIGNMENT)
    for array in arrays:
        yield from _bytes_of(array)
        yield bytes(_padding(array.nbytes))


def _headed(value: object, path: tuple[Key, ...], arrays: list[Any], items: list[dict[str, object]]) -> object:
    """Return a value as the header has it; note its arrays."""
    if isinstance(value, (np.ndarray, Blob)):
        arrays.append(value)
        name = value.dtype if isinstance(value, Blob) else value.dtype.name
        if name not in _DTYPES:
            raise TypeError(f"{_text(path)}: arrays of {name} cannot be written")
        items.append({
            "keys": list(path), "length": value.nbytes, "offset": 0, "dtype": name, "shape": list(value.shape),
        })  # fmt: skip
        return PLACE
    if isinstance(value, Mapping):
        return {str(key): _headed(entry, (*path, str(key)), arrays, items) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_headed(entry, (*path, number), arrays, items) for number, entry in enumerate(value)]
    return value


def _bytes_of(array: NDArray[Any] | Blob) -> Iterator[Buffer]:
    if isinstance(array, Blob):
        given = 0
        for chunk in array.chunks():
            given += len(chunk)
            yield chunk
        if given != array.nbytes:
            raise ValueError(f"an array of {array.dtype} {array.shape} has {given} bytes, not {array.nbytes}")
        return
    ordered = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    if ordered.nbytes:
        yield ordered.reshape(-1).view(np.uint8).data


def _padding(size: int) -> int:
    """Return 1 to 4: what fills a part up to a multiple of four."""
    return _ALIGNMENT - size % _ALIGNMENT


def open_tree(path: Path) -> dict[str, Any]:
    """Open a container: its tree, with read-only arrays that stay on the disk until they are looked at.

    The file stays mapped for as long as one of the arrays is referred to.

    Raises:
        SceneError: The file is not a container, is cut, or lists arrays that are not in it; with the place.
    """
    try:
        with path.open("rb") as file:
            if not file.seek(0, 2):
                raise SceneError(f"{path}: is empty")
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise SceneError(f"{path}: cannot be read: {error.strerror}") from None
    return read_tree(content, path)


def read_tree(content: mmap.mmap | bytes, name: object) -> dict[str, Any]:
    """Read a container from memory; arrays are read-only views of it.

    Raises:
        SceneError: As for ``open_tree``.
    """
    end = content.find(b"\0", 0, _LARGEST_HEADER)
    tree, items = _parsed(content[: max(end, 0)], end, name)
    body = memoryview(content)[end:]
    for number, item in enumerate(items):
        try:
            _place(tree, item, body)
        except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
            raise SceneError(f"{name}: array {number} cannot be read: {error}") from None
    return tree


def read_header(file: BinaryIO, name: object) -> dict[str, Any]:
    """Read what a container says besides its arrays, whose places hold the empty string.

    Args:
        file: At its beginning; it may be far away, and is read only as far as the header goes.
        name: Of the file, for messages.

    Raises:
        SceneError: It is not a container.
    """
    header = bytearray()
    end = -1
    while end < 0 and len(header) <= _LARGEST_HEADER and (piece := file.read(_HEADER_PIECE)):
        end = piece.find(b"\0")
        header += piece if end < 0 else piece[:end]
    return _parsed(bytes(header), end, name)[0]


def _parsed(header: bytes, end: int, name: object) -> tuple[dict[str, Any], list[Any]]:
    """Return a header's tree and its list of arrays."""
    if end < 0:
        raise SceneError(f"{name}: is not a .sfs file: no zero byte ends its header")
    try:
        tree = json.loads(header.decode("utf-8"), parse_constant=_refuse_constant, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise SceneError(f"{name}: is not a .sfs file: its header is not JSON ({error})") from None
    if not isinstance(tree, dict) or not isinstance(tree.get(ITEMS), list):
        raise SceneError(f"{name}: is not a .sfs file: its header has no list {ITEMS!r}")
    items = tree.pop(ITEMS)
    if len(items) > _MOST_ITEMS:
        raise SceneError(f"{name}: lists {len(items)} arrays, more than {_MOST_ITEMS}")
    return tree, items


def _integer(text: str) -> int:
    if len(text) > _LONGEST_INTEGER:
        raise ValueError(f"an integer has {len(text)} digits")
    return int(text)


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _place(tree: dict[str, Any], item: Any, body: memoryview) -> None:  # noqa: ANN401 - whatever JSON holds
    """Put an array where its path says."""
    keys, array = _array(item, body)
    parent: Any = tree
    for key in keys[:-1]:
        parent = _step(parent, key)
    if isinstance(parent, list):
        _step(parent, keys[-1])
        parent[keys[-1]] = array
    elif isinstance(parent, dict) and isinstance(keys[-1], str):
        parent[keys[-1]] = array
    else:
        raise TypeError(f"{_text(keys)} is not in the header")


def _array(item: Any, body: memoryview) -> tuple[list[Any], NDArray[Any]]:  # noqa: ANN401
    """Return an array's path and its view of the body."""
    if not isinstance(item, dict):
        raise TypeError(f"it is {item!r:.80}")
    keys, length, offset = item["keys"], item["length"], item["offset"]
    if not isinstance(keys, list) or not 0 < len(keys) <= _DEEPEST_PATH:
        raise TypeError(f"its path is {keys!r:.80}")
    if type(length) is not int or type(offset) is not int or length < 0 or offset < 0:
        raise ValueError(f"{_text(keys)} has length {length!r:.20} at offset {offset!r:.20}")
    if offset + length > len(body):
        raise ValueError(f"{_text(keys)} ends at byte {offset + length} of {len(body)}: the file is cut")
    dtype = _DTYPES.get(str(item.get("dtype", "uint8")))
    if dtype is None:
        raise ValueError(f"{_text(keys)} is of type {item['dtype']!r:.20}")
    shape = item.get("shape", [length // dtype.itemsize])
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape) or len(shape) > 8:
        raise ValueError(f"{_text(keys)} has the shape {shape!r:.80}")
    if math.prod(shape) * dtype.itemsize != length:
        raise ValueError(f"{_text(keys)} is {length} bytes long, which is not {shape} of {dtype.name}")
    array = np.frombuffer(body[offset : offset + length], dtype).reshape(shape)
    array.setflags(write=False)
    return keys, array


def _step(parent: Any, key: Any) -> Any:  # noqa: ANN401
    is_there = type(key) is int and 0 <= key < len(parent) if isinstance(parent, list) else isinstance(key, str)
    if not isinstance(parent, (list, dict)) or not is_there or (isinstance(parent, dict) and key not in parent):
        raise KeyError(f"{key!r:.40} is not in the header")
    return parent[key]


def _text(keys: Sequence[object]) -> str:
    return "/".join(str(key)[:40] for key in keys)
