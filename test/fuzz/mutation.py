# SPDX-License-Identifier: Apache-2.0
"""Turns good input into bad: bits flipped, lengths replaced, parts cut, doubled, moved and taken from other input."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE, 0xFFFF_FFFF)
_LARGE = (0x7FFF_FFFF_FFFF_FFFF, 0x8000_0000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF, 1 << 32, 1 << 40)
_FLOATS = (0.0, -0.0, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf"))
_WIDTHS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_MOST_BYTES = 1 << 17


def mutate(data: bytes, others: Sequence[bytes], tokens: Sequence[bytes], chance: random.Random) -> bytes:
    """Damage input in one to eight places.

    Args:
        data: Good input.
        others: Input of the same kind, to take parts from.
        tokens: Words that mean something in this kind of input.
        chance: Where all decisions come from.
    """
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        _damage(damaged, others, tokens, chance)
    return bytes(damaged[:_MOST_BYTES])


def _damage(damaged: bytearray, others: Sequence[bytes], tokens: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(damaged) + 1)
    run = chance.choice((1, 2, 4, 8, chance.randrange(1, 64)))
    how = chance.randrange(10 if tokens else 9)
    if how == 0 and at < len(damaged):
        damaged[at] ^= 1 << chance.randrange(8)
    elif how == 1 and at < len(damaged):
        damaged[at] = chance.randrange(256)
    elif how in (2, 3):
        _put_number(damaged, at, chance)
    elif how == 4:
        damaged[at : at + run] = bytes([chance.choice((0, 0x20, 0x7F, 0xFF))]) * run
    elif how == 5:
        del damaged[at : None if chance.random() < 0.3 else at + run]
    elif how == 6:
        damaged[at:at] = damaged[at : at + run] * chance.choice((1, 1, 2, 50))
    elif how == 7 and others:
        other = chance.choice(others)
        start = chance.randrange(len(other) + 1)
        damaged[at : at + run] = other[start : start + run]
    elif how == 8:
        damaged[at : at + run] = chance.randbytes(run)
    elif how == 9:
        token = chance.choice(tokens)
        damaged[at : at + chance.choice((0, len(token)))] = token


def _put_number(damaged: bytearray, at: int, chance: random.Random) -> None:
    """Put a telling number where one of its width may stand."""
    width = chance.choice((1, 2, 4, 4, 4, 8))
    at -= at % width
    if at + width > len(damaged):
        return
    order = chance.choice("<<<>")
    if width == 8 and chance.random() < 0.5:
        struct.pack_into(f"{order}d", damaged, at, chance.choice(_FLOATS))
        return
    number = chance.choice(_NUMBERS + (_LARGE if width == 8 else ()))
    near = number + chance.choice((-1, 0, 0, 1))
    struct.pack_into(order + _WIDTHS[width], damaged, at, near % (1 << 8 * width))
