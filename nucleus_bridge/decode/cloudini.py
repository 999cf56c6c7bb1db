# SPDX-License-Identifier: Apache-2.0
"""Unpack clouds that Cloudini packed (versions 4 and 5): quantised floats and integers as differences in varints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import lz4.block  # type: ignore[import-untyped]
import numpy as np
import yaml
from numpy.typing import NDArray

from nucleus_bridge.errors import CloudError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = b"CLOUDINI_V"
_VERSIONS = (4, 5)
_POINTS_A_CHUNK = 32_768
_LONGEST_HEADER = 1 << 16
_LONGEST_VARINT = 10
_MOST_FIELDS = 256
_TYPES = {
    "INT8": "i1",
    "UINT8": "u1",
    "INT16": "<i2",
    "UINT16": "<u2",
    "INT32": "<i4",
    "UINT32": "<u4",
    "INT64": "<i8",
    "UINT64": "<u8",
    "FLOAT32": "<f4",
    "FLOAT64": "<f8",
}

Bytes = NDArray[np.uint8]
Places = NDArray[np.intp]


class Unpacked(NamedTuple):
    """The points of a cloud as they were before they were packed."""

    data: bytes
    point_step: int


@dataclass(frozen=True)
class _Field:
    name: str
    offset: int
    kind: np.dtype[Any]
    resolution: float | None


@dataclass(frozen=True)
class _Header:
    version: int
    points: int
    point_step: int
    encoding: str
    compression: str
    fields: tuple[_Field, ...]


def unpack_cloudini(data: memoryview, max_bytes: int) -> Unpacked:
    """Unpack a cloud.

    Raises:
        CloudError: It is damaged, of more than ``max_bytes``, or packed in a way that is not read (cause
            ``unknown_encoding``).
    """
    try:
        header, at = _read_header(bytes(data[:_LONGEST_HEADER]))
        if header.points * header.point_step > max_bytes or header.points > _POINTS_A_CHUNK * (len(data) // 4 + 1):
            raise CloudError(f"the Cloudini data claims {header.points} points of {header.point_step} bytes")
        rows = np.zeros((header.points, header.point_step), np.uint8)
        for start in range(0, header.points, _POINTS_A_CHUNK):
            size = int.from_bytes(data[at : at + 4], "little")
            content = data[at + 4 : at + 4 + size]
            if len(content) != size or not size:
                raise CloudError(f"the Cloudini data ends in a chunk of {size} bytes")
            _unpack_chunk(header, content, rows[start : start + _POINTS_A_CHUNK])
            at += 4 + size
    except (IndexError, ValueError, OverflowError) as error:
        raise CloudError(f"the Cloudini data is damaged: {error}") from error
    return Unpacked(rows.tobytes(), header.point_step)


def _read_header(begin: bytes) -> tuple[_Header, int]:
    """Read the header, and say where the chunks begin."""
    line, newline, rest = begin.partition(b"\n")
    text, end, _ = rest.partition(b"\0")
    digits = line[len(MAGIC) :]
    if not begin.startswith(MAGIC) or not digits.isdigit() or int(digits) not in _VERSIONS or not newline or not end:
        version = begin[len(MAGIC) - 1 : len(MAGIC) + 2]
        raise CloudError(f"the Cloudini format {version!r} is not read; V04 and V05 are", cause="unknown_encoding")
    try:
        content = yaml.safe_load(text.decode())
        fields = tuple(
            _Field(
                str(field["name"]),
                _count(field["offset"]),
                np.dtype(_TYPES[field["type"]]),
                None if field.get("resolution") is None else float(field["resolution"]),
            )
            for field in content["fields"][: _MOST_FIELDS + 1]
        )
        header = _Header(
            int(digits),
            _count(content["width"]) * _count(content["height"]),
            _count(content["point_step"]),
            str(content["encoding_opt"]),
            str(content["compression_opt"]),
            fields,
        )
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CloudError(f"the Cloudini header cannot be understood: {str(error)[:200]}") from error
    for field in fields:
        if field.offset + field.kind.itemsize > header.point_step:
            raise CloudError(f"field {field.name[:40]!r} is not inside point_step {header.point_step}")
        if field.resolution is not None and not field.resolution > 0.0:
            raise CloudError(f"field {field.name[:40]!r} has the resolution {field.resolution}")
    if len(fields) > _MOST_FIELDS or not 0 < header.point_step <= 65_535:
        raise CloudError(f"a point of {len(fields)} fields in {header.point_step} bytes")
    return header, len(line) + 1 + len(text) + 1


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 32:
        raise TypeError(f"{str(value)[:40]!r} is not a count")
    return value


def _unpack_chunk(header: _Header, content: memoryview, rows: Bytes) -> None:
    most = len(rows) * 11 * max(len(header.fields), 1) + 1024
    try:
        if header.compression == "ZSTD":
            unpacker = zstd.ZstdDecompressor()
            plain = unpacker.decompress(content, max_length=most)
            if not unpacker.eof:
                raise CloudError("a Cloudini chunk is cut, or too long")
        elif header.compression == "LZ4":
            plain = lz4.block.decompress(content, uncompressed_size=most)
        elif header.compression == "NONE":
            plain = bytes(content)
        else:
            raise CloudError(f"the compression {header.compression[:40]!r} is not read", cause="unknown_encoding")
    except (zstd.ZstdError, lz4.block.LZ4BlockError) as error:
        raise CloudError(f"a Cloudini chunk cannot be unpacked: {error}") from error
    stream = _Chunk(np.frombuffer(plain, np.uint8), len(rows))
    apart = [field for field in header.fields if _is_apart(header, field)]
    together = [field for field in header.fields if field not in apart]
    values = [*stream.points(header, together), *(stream.section(field) for field in apart)]
    stream.finish()
    for field, column in zip([*together, *apart], values, strict=True):
        width = field.kind.itemsize
        rows[:, field.offset : field.offset + width] = column.astype(field.kind).view(np.uint8).reshape(-1, width)


def _is_apart(header: _Header, field: _Field) -> bool:
    """Return whether version 5 keeps a field in a section of its own: long integers, where it is lossy."""
    return header.version >= 5 and header.encoding == "LOSSY" and field.kind.kind in "ui" and field.kind.itemsize > 1


class _Chunk:
    """The bytes of one chunk; a field follows the other point by point, then come the sections."""

    def __init__(self, data: Bytes, points: int) -> None:
        self._data, self._points = data, points
        self._at = 0

    def points(self, header: _Header, fields: Sequence[_Field]) -> list[NDArray[Any]]:
        """Read the fields that follow each other point by point."""
        if not fields:
            return []
        codes = [_code_of(header, field) for field in fields]
        steps = [
            self._ends() if code == "varint" else _fixed(len(self._data), field, code)
            for field, code in zip(fields, codes, strict=True)
        ]
        starts = self._starts(fields, codes, steps)
        columns = []
        for number, (field, code) in enumerate(zip(fields, codes, strict=True)):
            places = starts[:, number]
            if code == "varint":
                columns.append(_restored(field, self._varints(places)))
            elif code == "gorilla":
                columns.append(self._gorilla[number])
            else:
                raw = self._data[places[:, None] + np.arange(field.kind.itemsize)]
                bits = raw.view(f"<u{field.kind.itemsize}").reshape(-1)
                columns.append((np.bitwise_xor.accumulate(bits) if code == "xor" else bits).view(field.kind))
        return columns

    def section(self, field: _Field) -> NDArray[Any]:
        """Read a field that is kept by itself."""
        mode, self._at = int(self._data[self._at]), self._at + 1
        if mode == 0:
            return _sum(self._take_varints(self._points))
        if mode == 1:
            return self._palette(field)
        if mode not in (2, 3):
            raise CloudError(f"a Cloudini section has the unknown mode {mode}")
        count = self._integer(4)
        if count > self._points:
            raise CloudError(f"a Cloudini section claims {count} runs for {self._points} points")
        values, lengths = [], []
        for _ in range(count):
            values.append(self._raw(field) if mode == 2 else _signed(self._uvarint()))
            lengths.append(self._uvarint())
        if sum(lengths) != self._points:
            raise CloudError(f"the runs of a Cloudini section are {sum(lengths)} points long, not {self._points}")
        if mode == 2:
            return np.repeat(np.array(values, field.kind), lengths)
        return _sum(np.repeat(np.array(values, np.int64), lengths))

    def finish(self) -> None:
        """Check that nothing is left."""
        if self._at != len(self._data):
            raise CloudError(f"a Cloudini chunk has {len(self._data) - self._at} bytes behind its last value")

    def _palette(self, field: _Field) -> NDArray[Any]:
        count = self._integer(2)
        palette = np.array([self._raw(field) for _ in range(count)], field.kind)
        bits = max(count - 1, 0).bit_length()
        size = (bits * self._points + 7) // 8
        packed = self._data[self._at : self._at + size]
        if len(packed) != size or not count:
            raise CloudError("a Cloudini palette is cut")
        self._at += size
        each = np.unpackbits(packed, bitorder="little")[: bits * self._points].reshape(self._points, bits)
        indexes = each.astype(np.int64) @ (1 << np.arange(bits, dtype=np.int64))
        return palette[indexes]

    def _ends(self) -> Places:
        """Return for each place where the varint that begins there ends; past the data where it does not."""
        size = len(self._data)
        last = np.where(self._data < 0x80, np.arange(size), size)
        ends: Places = np.minimum(np.minimum.accumulate(last[::-1])[::-1] + 1, size)
        return ends

    def _starts(self, fields: Sequence[_Field], codes: Sequence[str], steps: Sequence[Places]) -> Places:
        """Return where each field of each point begins, shape (points, fields)."""
        size = len(self._data)
        if "gorilla" in codes:
            return self._walk(fields, codes, steps)
        begins, heads = np.arange(size + 1), []
        whole = begins
        for step in steps:
            heads.append(whole)
            whole = np.append(step, size)[whole]
        follow = whole.tolist()
        starts = np.empty(self._points, np.intp)
        at = 0
        for point in range(self._points):
            starts[point] = at
            at = follow[at]
        placed = np.stack([head[starts] for head in heads], axis=1)
        self._finish(at, placed[-1, -1], codes[-1])
        return placed

    def _walk(self, fields: Sequence[_Field], codes: Sequence[str], steps: Sequence[Places]) -> Places:
        """Do the same one point after the other: how long a bit-packed value is depends on those before."""
        self._gorilla = {
            number: np.empty(self._points, field.kind)
            for number, (field, code) in enumerate(zip(fields, codes, strict=True))
            if code == "gorilla"
        }
        readers = {number: _Gorilla(self._data) for number in self._gorilla}
        follow = [None if code == "gorilla" else step.tolist() for code, step in zip(codes, steps, strict=True)]
        starts = np.empty((self._points, len(codes)), np.intp)
        at = 0
        for point in range(self._points):
            for number, jump in enumerate(follow):
                starts[point, number] = at
                if jump is None:
                    bits, at = readers[number].read(at)
                    self._gorilla[number].view(np.uint64)[point] = bits
                else:
                    at = jump[at]
        self._finish(at, starts[-1, -1], codes[-1])
        return starts

    def _finish(self, at: int, last: int, code: str) -> None:
        is_cut = last >= len(self._data) or (code == "varint" and self._data[at - 1] >= 0x80)
        if is_cut:
            raise CloudError(f"a Cloudini chunk holds less than its {self._points} points")
        self._at = at

    def _varints(self, starts: Places) -> NDArray[np.int64]:
        """Read the varints that begin at these places; -1 differences stand for what is not a number."""
        value = np.zeros(len(starts), np.uint64)
        open_, places = np.ones(len(starts), np.bool_), starts.copy()
        for number in range(_LONGEST_VARINT):
            octets = self._data[np.minimum(places, len(self._data) - 1)].astype(np.uint64)
            value[open_] |= (octets[open_] & np.uint64(0x7F)) << np.uint64(7 * number)
            open_ &= octets >= 0x80
            if not open_.any():
                break
            places += 1
        return value.view(np.int64)

    def _take_varints(self, count: int) -> NDArray[np.int64]:
        """Read so many varints in a row, as differences."""
        ends = np.flatnonzero(self._data[self._at :] < 0x80)[:count] + self._at + 1
        if len(ends) < count:
            raise CloudError(f"a Cloudini section holds {len(ends)} of {count} values")
        starts = np.concatenate([[self._at], ends[:-1]]).astype(np.intp)
        self._at = int(ends[-1])
        return _unzigzag(self._varints(starts))

    def _uvarint(self) -> int:
        value = 0
        for number in range(_LONGEST_VARINT):
            octet, self._at = int(self._data[self._at]), self._at + 1
            value |= (octet & 0x7F) << (7 * number)
            if octet < 0x80:
                return value
        raise CloudError("a Cloudini number does not end")

    def _integer(self, size: int) -> int:
        part = self._data[self._at : self._at + size].tobytes()
        if len(part) != size:
            raise CloudError("a Cloudini section is cut")
        self._at += size
        return int.from_bytes(part, "little")

    def _raw(self, field: _Field) -> Any:
        size = field.kind.itemsize
        return np.frombuffer(self._integer(size).to_bytes(size, "little"), field.kind)[0]


class _Gorilla:
    """64-bit floats as the bits that differ from the float before, from the lowest bit on, each in whole bytes."""

    def __init__(self, data: Bytes) -> None:
        self._data = data.tobytes()
        self._value: int | None = None
        self._leading = self._trailing = 0

    def read(self, at: int) -> tuple[int, int]:
        """Return the float's bits and where it ends."""
        window = int.from_bytes(self._data[at : at + 11], "little")
        if at >= len(self._data):
            raise CloudError("a Cloudini chunk ends in a number")
        if self._value is None:
            self._value = window & ((1 << 64) - 1)
            return self._value, at + 8
        if not window & 1:
            return self._value, at + 1
        used = 2
        if window & 2:
            self._leading = (window >> 2) & 31
            meaningful = ((window >> 7) & 63) + 1
            self._trailing = 64 - self._leading - meaningful
            used = 13
        meaningful = 64 - self._leading - self._trailing
        if self._trailing < 0:
            raise CloudError("a Cloudini number has more than 64 bits")
        self._value ^= ((window >> used) & ((1 << meaningful) - 1)) << self._trailing
        return self._value, at + (used + meaningful + 7) // 8


def _code_of(header: _Header, field: _Field) -> str:
    """Say how a field is written point by point."""
    is_float = field.kind.kind == "f"
    if header.encoding == "NONE" or field.kind.itemsize == 1:
        return "copy"
    if not is_float or (field.resolution is not None and header.encoding != "LOSSLESS"):
        return "varint"
    if field.kind.itemsize == 8:
        return "gorilla" if field.resolution is None else "xor"
    return "xor" if header.encoding == "LOSSLESS" else "copy"


def _fixed(size: int, field: _Field, code: str) -> Places:
    """Return for each place where a value of fixed length that begins there ends."""
    length = 0 if code == "gorilla" else field.kind.itemsize
    return np.minimum(np.arange(size) + length, size)


def _unzigzag(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Turn codes, one more than the zigzag number, into differences."""
    zigzag = codes.view(np.uint64) - np.uint64(1)
    differences: NDArray[np.int64] = (zigzag >> np.uint64(1)).view(np.int64) ^ -(zigzag & np.uint64(1)).view(np.int64)
    return differences


def _signed(code: int) -> int:
    zigzag = max(code - 1, 0)
    value = (zigzag >> 1) ^ -(zigzag & 1)
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _sum(differences: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.cumsum(differences, dtype=np.int64)


def _restored(field: _Field, codes: NDArray[np.int64]) -> NDArray[Any]:
    """Add differences up to values; the code 0 is NaN and begins the count again."""
    if field.kind.kind != "f":
        return _sum(_unzigzag(codes))
    is_nan = codes == 0
    steps = np.where(is_nan, 0, _unzigzag(codes))
    total = _sum(steps)
    last_nan = np.maximum.accumulate(np.where(is_nan, np.arange(len(codes)), -1))
    base = np.where(last_nan >= 0, total[last_nan], 0)
    values = (total - base).astype(field.kind) * field.kind.type(field.resolution)
    values[is_nan] = np.nan
    return np.asarray(values, field.kind)
