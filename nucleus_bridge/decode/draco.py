# SPDX-License-Identifier: Apache-2.0
"""Draco's point clouds: an attribute for each field of the cloud, in the order of the fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.decode.cdr_reader import load_extra
from nucleus_bridge.decode.pointcloud2 import PointField, dtype_from_fields
from nucleus_bridge.errors import CloudError

DRACO_MAGIC = b"DRACO"

_POINT_CLOUD, _SEQUENTIAL, _METADATA, _DEEPEST_METADATA = 0, 0, 0x8000, 8
_INT32, _UINT32, _FLOAT32, _FLOAT64 = 5, 6, 9, 10
"""Draco's own numbers of types."""
_COPIED = 0
"""The encoder of values that are copied as they are: all floats that are not quantised."""
_DOUBLE_FIELD = 8
_COLOURS = ("rgb", "rgba")
_KEPT_DOUBLES = ("x", "y", "z")


class DracoCloud(NamedTuple):
    """Points in the layout of their fields.

    Attributes:
        fields: Those that came back.
        points: How many there are.
        data: Bytes of all points.
    """

    fields: tuple[PointField, ...]
    points: int
    data: bytes


def unpack_draco(
    data: bytes, fields: tuple[PointField, ...], point_step: int, *, is_bigendian: bool, most_bytes: int
) -> DracoCloud:
    """Unpack a cloud; ``fields`` are those of the cloud that was packed.

    The library gives 64-bit floats back as 32-bit ones, which times of today do not survive, and 32-bit integers as
    floats. Sequential data, which is what Draco makes of them, holds the floats as they were: so the library is asked
    for pairs of 32-bit floats and for unsigned integers, whose bits are the same.

    Raises:
        CloudError: The data is damaged, or is not of these fields.
        InputError: The library is not installed.
    """
    library = load_extra("DracoPy", "draco", "reading Draco clouds")
    head = _read_head(data)
    if head.points * max(point_step, 1) > most_bytes:
        raise CloudError(
            f"the Draco data claims {head.points} points of {point_step} bytes, more than {most_bytes} bytes"
        )
    asked, exact = _asked_for_bits(data, head.attributes)
    try:
        attributes = library.decode(asked).attributes
    except Exception as error:  # the library has several, by version
        raise CloudError(f"the Draco data cannot be unpacked: {error}") from error
    if len(attributes) != len(fields):
        raise CloudError(f"the Draco data has {len(attributes)} attributes for {len(fields)} fields")
    columns = [np.asarray(attribute["data"]) for attribute in attributes]
    for number, kind in exact.items():
        columns[number] = np.ascontiguousarray(columns[number]).view(kind)
    count = len(columns[0]) if columns else 0
    if any(len(column) != count for column in columns):
        raise CloudError("the Draco data has columns of different length")
    if count != head.points:
        raise CloudError(f"the Draco data holds {count} of {head.points} points")
    dtype_from_fields(fields, point_step, is_bigendian)  # checks them
    rows = np.zeros((count, point_step), np.uint8)
    for field, column in zip(fields, columns, strict=True):
        octets = _octets(field, column, is_bigendian=is_bigendian)
        rows[:, field.offset : field.offset + octets.shape[1]] = octets
    kept = tuple(
        field
        for number, field in enumerate(fields)
        if field.datatype != _DOUBLE_FIELD or number in exact or field.name in _KEPT_DOUBLES
    )
    return DracoCloud(kept, count, rows.tobytes())


class _Attribute(NamedTuple):
    """Where an attribute is described."""

    at: int
    encoder: int


class _Head(NamedTuple):
    points: int
    attributes: Sequence[_Attribute]


def _asked_for_bits(data: bytes, attributes: Sequence[_Attribute]) -> tuple[bytes, dict[int, str]]:
    """Return data that asks for bits where the library would round, and how to look at those, by attribute."""
    changed, exact = bytearray(data), {}
    for number, (at, encoder) in enumerate(attributes):
        kind, components = data[at + 1], data[at + 2]
        if kind == _FLOAT64 and encoder == _COPIED and components <= 127:
            changed[at + 1 : at + 3] = bytes([_FLOAT32, 2 * components])
            exact[number] = "<f8"
        elif kind == _INT32 and encoder != _COPIED:
            changed[at + 1] = _UINT32
            exact[number] = "<i4"
    return (bytes(changed), exact) if exact else (data, exact)


def _read_head(data: bytes) -> _Head:
    """Read how many points there are, and of sequential clouds what is said of their attributes.

    Source: Draco bitstream 2.2, sections 4, 8 and 16; 2.3 is the same here.
    """
    reader = _Reader(data, 11)
    if int.from_bytes(data[9:11], "little") & _METADATA:
        for _ in range(reader.number()):
            reader.number()
            _skip_metadata(reader, 0)
        _skip_metadata(reader, 0)
    count = int.from_bytes(data[reader.at : reader.at + 4], "little")
    reader.skip(4)
    major, kind, method = (data[at] if at < len(data) else None for at in (5, 7, 8))
    if (major, kind, method) != (2, _POINT_CLOUD, _SEQUENTIAL) or reader.octet() != 1:
        return _Head(count, ())
    places = []
    for _ in range(reader.number()):
        places.append(reader.at)
        reader.skip(4)
        reader.number()
    return _Head(count, [_Attribute(at, reader.octet()) for at in places])


def _skip_metadata(reader: _Reader, depth: int) -> None:
    for _ in range(reader.number()):
        reader.skip(reader.octet())
        reader.skip(reader.number())
    for _ in range(reader.number()):
        if depth > _DEEPEST_METADATA:
            raise CloudError("the Draco metadata does not end")
        reader.skip(reader.octet())
        _skip_metadata(reader, depth + 1)


class _Reader:
    """Reads numbers of Draco's head one after the other."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self.at = data, at

    def skip(self, size: int) -> None:
        """Pass over so many bytes."""
        self.at += size

    def octet(self) -> int:
        """Read one byte."""
        if self.at >= len(self._data):
            raise CloudError("the Draco header is cut")
        self.at += 1
        return self._data[self.at - 1]

    def number(self) -> int:
        """Read a number of seven bits a byte, the lowest first."""
        value = 0
        for shift in range(0, 35, 7):
            octet = self.octet()
            value |= (octet & 0x7F) << shift
            if octet < 0x80:
                return value
        raise CloudError("the Draco header holds a number of more than 5 bytes")


def _octets(field: PointField, column: NDArray[Any], *, is_bigendian: bool) -> NDArray[np.uint8]:
    """Return the bytes of one field of all points, shape (n, bytes a point)."""
    kind = dtype_from_fields((replace(field, offset=0, count=1),), 8, is_bigendian)[0]
    values = column.reshape(len(column), -1)
    if field.name in _COLOURS and values.dtype.itemsize * values.shape[1] == kind.itemsize and values.shape[1] > 1:
        return np.ascontiguousarray(values).view(np.uint8)
    if values.shape[1] != field.count:
        raise CloudError(f"the Draco data has {values.shape[1]} values a point for {field.name!r}, not {field.count}")
    if kind.kind in "ui":
        limits = np.iinfo(kind)
        if len(values) and not (limits.min <= values.min() and values.max() <= limits.max):
            raise CloudError(f"the Draco data has values of {field.name!r} that are not of type {kind.name}")
    return np.ascontiguousarray(values.astype(kind)).view(np.uint8).reshape(len(values), -1)
