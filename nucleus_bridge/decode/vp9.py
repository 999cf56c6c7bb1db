# SPDX-License-Identifier: Apache-2.0
"""What a VP9 message holds, frame by frame: how large a picture each one asks for, before a decoder makes room for it.

The decoder that notices cut messages, libvpx's, takes any size, and reads on behind a frame unless an index at the end
of the message (VP9, annex B) says where that ends.
"""

from __future__ import annotations

from collections.abc import Sequence

_MARKER, _MARKER_MASK = 0b110_00000, 0b111_00000
_SIZE_BYTES = 4
_SYNC_BITS, _SIZE_BITS = 24, 16
_HEADER_BYTES = 32  # more than the part of a header that is read here
_SRGB = 7


class _Bits:
    def __init__(self, data: memoryview) -> None:
        head = bytes(data[:_HEADER_BYTES])
        self._bits, self._left = int.from_bytes(head, "big"), 8 * len(head)

    def take(self, count: int) -> int:
        if count > self._left:
            raise EOFError
        self._left -= count
        return (self._bits >> self._left) & ((1 << count) - 1)


def frames_of(data: memoryview) -> Sequence[memoryview] | None:
    """Return the frames of a message that has an index at its end, None for one that has none."""
    last = data[-1] if len(data) else 0
    count, width = (last & 7) + 1, ((last >> 3) & 3) + 1
    end = len(data) - 2 - count * width
    if last & _MARKER_MASK != _MARKER or end < 0 or data[end] != last:
        return None
    table = bytes(data[end + 1 : -1])
    sizes = [int.from_bytes(table[at : at + width], "little") for at in range(0, len(table), width)]
    if sum(sizes) > end:
        return None
    starts = [sum(sizes[:number]) for number in range(count)]
    return [data[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def indexed(data: memoryview) -> bytes | memoryview:
    """Return a message whose index says where its frames end: as it is, or with one added for the one that it holds."""
    if frames_of(data) is not None:
        return data
    marker = bytes([_MARKER | (_SIZE_BYTES - 1) << 3])
    return bytes(data) + marker + len(data).to_bytes(_SIZE_BYTES, "little") + marker


def largest_picture(data: memoryview) -> int:
    """Return the pixels of the largest picture that a message asks for; 0 where all have the size of earlier ones."""
    frames = frames_of(data)
    return max((_pixels(frame) for frame in ([data] if frames is None else frames)), default=0)


def _pixels(frame: memoryview) -> int:
    """Read an uncompressed header (VP9, 6.2) as far as the size; one that is cut has none."""
    bits = _Bits(frame)
    try:
        bits.take(2)
        profile = bits.take(1) | bits.take(1) << 1
        if profile == 3:
            bits.take(1)
        if bits.take(1):  # an earlier picture is shown
            return 0
        is_inter, is_shown, is_resilient = bits.take(1), bits.take(1), bits.take(1)
        if not is_inter:
            bits.take(_SYNC_BITS)
            _pass_colours(bits, profile)
            return _size(bits)
        is_intra_only = not is_shown and bits.take(1)
        if not is_resilient:
            bits.take(2)
        if is_intra_only:
            bits.take(_SYNC_BITS)
            if profile:
                _pass_colours(bits, profile)
            bits.take(8)
            return _size(bits)
        bits.take(8 + 3 * 4)  # which pictures are replaced, and which are built on
        return 0 if any(bits.take(1) for _ in range(3)) else _size(bits)
    except EOFError:
        return 0


def _pass_colours(bits: _Bits, profile: int) -> None:
    if profile > 1:
        bits.take(1)
    if bits.take(3) != _SRGB:
        bits.take(1)
        bits.take(3 * (profile & 1))
    else:
        bits.take(profile & 1)


def _size(bits: _Bits) -> int:
    return (bits.take(_SIZE_BITS) + 1) * (bits.take(_SIZE_BITS) + 1)
