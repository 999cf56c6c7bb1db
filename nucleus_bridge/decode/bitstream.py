# SPDX-License-Identifier: Apache-2.0
"""What an encoded picture says of itself before it is decoded: whether it is a key picture, and what it follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Codec = Literal["h264", "hevc", "vp9", "av1"]

_START_CODE = b"\x00\x00\x01"
_SLICE_HEADER_BYTES = 64
_MOST_PARAMETER_SETS = 256
_LONGEST_GOLOMB = 32
# H.264, tables 7-1 and 7-6.
_H264_SLICES, _H264_IDR, _H264_SPS, _H264_PPS = (1, 2, 5), 5, 7, 8
_H264_B = 1
_H264_WITH_CHROMA = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
# H.265, table 7-1.
_HEVC_SLICES, _HEVC_KEYS, _HEVC_SPS = range(32), range(16, 22), 33
_HEVC_BEFORE_KEY = (8, 9)
# AV1, 6.2.2.
_AV1_SEQUENCE, _AV1_FRAME_HEADER, _AV1_FRAME = 1, 3, 6


class Unit(NamedTuple):
    """What one message of a video stream holds.

    Attributes:
        has_picture: Whether there is a picture.
        is_key: Whether the picture builds on no other.
        has_parameters: Whether the parameters of the stream are in the message.
        is_bidirectional: Whether the picture is an H.264 B picture.
        is_before_key: Whether it is an H.265 picture that precedes the last key picture and builds on what did (RASL).
        follows: Whether all that it builds on came before; None where the codec does not number its pictures.
    """

    has_picture: bool
    is_key: bool
    has_parameters: bool = False
    is_bidirectional: bool = False
    is_before_key: bool = False
    follows: bool | None = None


def is_entry(codec: Codec, data: memoryview) -> bool:
    """Return whether decoding can start at a message that nothing is known before."""
    unit = Stream(codec).unit(data)
    return unit.is_key and unit.has_parameters


class Stream:
    """Reads the messages of one stream in order and remembers what H.264 numbers its pictures by."""

    def __init__(self, codec: Codec) -> None:
        """Begin a stream."""
        self._codec = codec
        self._numbering = _H264Numbering()

    def unit(self, data: memoryview) -> Unit:
        """Look at the next message; damage makes it what it looks like, and is for the decoder to find."""
        if self._codec == "h264":
            return self._numbering.unit(data)
        if self._codec == "hevc":
            return _hevc(data)
        return _vp9(data) if self._codec == "vp9" else _av1(data)


class _Bits:
    """Bits from the most significant one on, the bytes that only prevent start codes taken out (H.264, 7.4.1)."""

    def __init__(self, data: memoryview) -> None:
        content = bytes(data)
        self._bits = int.from_bytes(content.replace(b"\0\0\3", b"\0\0"), "big")
        self._left = 8 * len(content.replace(b"\0\0\3", b"\0\0"))

    def take(self, count: int) -> int:
        if count > self._left:
            raise EOFError
        self._left -= count
        return (self._bits >> self._left) & ((1 << count) - 1)

    def golomb(self) -> int:
        """Read ue(v) (H.264, 9.1)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > _LONGEST_GOLOMB:
                raise EOFError
        return (1 << zeros) - 1 + self.take(zeros)

    def signed_golomb(self) -> int:
        """Read se(v)."""
        code = self.golomb()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def _nal_units(data: memoryview) -> Iterator[memoryview]:
    """Yield the NAL units of an Annex B stream without their start codes."""
    content = data.obj if isinstance(data.obj, bytes) and len(data.obj) == len(data) else bytes(data)
    start = content.find(_START_CODE)
    while start >= 0:
        end = content.find(_START_CODE, start + 3)
        yield memoryview(content)[start + 3 : end if end >= 0 else len(content)]
        start = end


@dataclass(frozen=True)
class _Sps:
    """The part of a sequence parameter set that is needed to read a slice header."""

    separate_planes: bool
    frame_num_bits: int
    gaps_allowed: bool


@dataclass
class _H264Numbering:
    """``frame_num`` of reference pictures goes up by one (H.264, 7.4.3); a step means that one is missing."""

    sets: dict[int, _Sps] = field(default_factory=dict)
    set_of_picture: dict[int, int] = field(default_factory=dict)
    last_reference: int | None = None

    def unit(self, data: memoryview) -> Unit:
        has_parameters = False
        for nal in _nal_units(data):
            kind = nal[0] & 31 if len(nal) else 0
            try:
                if kind == _H264_SPS:
                    has_parameters = True
                    self._add_sps(_Bits(nal[4:]), profile=nal[1])
                elif kind == _H264_PPS:
                    bits = _Bits(nal[1:_SLICE_HEADER_BYTES])
                    number = bits.golomb()
                    if number < _MOST_PARAMETER_SETS:
                        self.set_of_picture[number] = bits.golomb()
                elif kind in _H264_SLICES:
                    return self._slice(nal, has_parameters)
            except (EOFError, IndexError):
                if kind in _H264_SLICES:
                    return Unit(True, kind == _H264_IDR, has_parameters)
        return Unit(has_picture=False, is_key=False, has_parameters=has_parameters)

    def _slice(self, nal: memoryview, has_parameters: bool) -> Unit:  # noqa: FBT001 - as in the result
        kind, is_reference = nal[0] & 31, bool(nal[0] & 0x60)
        bits = _Bits(nal[1:_SLICE_HEADER_BYTES])
        bits.golomb()  # first_mb_in_slice
        is_bidirectional = bits.golomb() % 5 == _H264_B
        sps = self.sets.get(self.set_of_picture.get(bits.golomb(), -1))
        if sps is None:
            return Unit(True, kind == _H264_IDR, has_parameters, is_bidirectional)
        if sps.separate_planes:
            bits.take(2)
        number = bits.take(sps.frame_num_bits)
        before, follows = self.last_reference, True
        if kind != _H264_IDR and before is not None and not sps.gaps_allowed:
            follows = number in (before, (before + 1) % (1 << sps.frame_num_bits))
        if is_reference or not follows:
            self.last_reference = number
        return Unit(True, kind == _H264_IDR, has_parameters, is_bidirectional, follows=follows)

    def _add_sps(self, bits: _Bits, profile: int) -> None:
        """Read a sequence parameter set behind its profile and level (H.264, 7.3.2.1.1)."""
        number = bits.golomb()
        separate_planes = False
        if profile in _H264_WITH_CHROMA:
            chroma = bits.golomb()
            separate_planes = chroma == 3 and bool(bits.take(1))
            bits.golomb()
            bits.golomb()
            bits.take(1)
            if bits.take(1):
                for index in range(8 if chroma != 3 else 12):
                    if bits.take(1):
                        _skip_scaling_list(bits, 16 if index < 6 else 64)
        frame_num_bits = bits.golomb() + 4
        order = bits.golomb()
        if order == 0:
            bits.golomb()
        elif order == 1:
            bits.take(1)
            bits.signed_golomb()
            bits.signed_golomb()
            for _ in range(min(bits.golomb(), 255)):
                bits.signed_golomb()
        bits.golomb()  # max_num_ref_frames
        if number < _MOST_PARAMETER_SETS and frame_num_bits <= 16:
            self.sets[number] = _Sps(separate_planes, frame_num_bits, bool(bits.take(1)))


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed_golomb()) % 256
        last = following or last


def _hevc(data: memoryview) -> Unit:
    has_parameters = False
    for nal in _nal_units(data):
        kind = (nal[0] >> 1) & 63 if len(nal) else 63
        has_parameters |= kind == _HEVC_SPS
        if kind in _HEVC_SLICES:
            return Unit(True, kind in _HEVC_KEYS, has_parameters, is_before_key=kind in _HEVC_BEFORE_KEY)
    return Unit(False, False, has_parameters)


def _vp9(data: memoryview) -> Unit:
    """Read the beginning of an uncompressed header (VP9, 6.2)."""
    if not len(data) or data[0] >> 6 != 2:
        return Unit(has_picture=bool(len(data)), is_key=False)
    shift = 1 if (data[0] >> 4) & 3 == 3 else 0  # profile 3 has a reserved bit
    shows_existing, is_inter = (data[0] >> (3 - shift)) & 1, (data[0] >> (2 - shift)) & 1
    is_key = not shows_existing and not is_inter
    return Unit(True, is_key, has_parameters=is_key)


def _av1(data: memoryview) -> Unit:
    """Walk the open bitstream units (AV1, 5.3): a key picture comes with its sequence header."""
    has_sequence, at = False, 0
    while at < len(data):
        header, at = data[at], at + 1
        kind = (header >> 3) & 15
        at += (header >> 2) & 1
        size = len(data) - at
        if header & 2:
            size, at = _leb128(data, at)
        if kind == _AV1_SEQUENCE:
            has_sequence = True
        elif kind in (_AV1_FRAME_HEADER, _AV1_FRAME) and at < len(data):
            is_key = has_sequence and data[at] >> 5 == 0  # not an existing one, and of type KEY_FRAME
            return Unit(True, is_key, has_sequence)
        at += size
    return Unit(False, False, has_sequence)


def _leb128(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(data[at : at + 8]):
        value |= (byte & 0x7F) << (7 * place)
        if not byte & 0x80:
            return value, at + place + 1
    return len(data), len(data)
