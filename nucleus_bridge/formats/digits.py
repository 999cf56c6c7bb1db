# SPDX-License-Identifier: Apache-2.0
"""Look-up tables of decimal text, eight bytes an entry, so that formatting an array of numbers is one gather.

Every function takes the text that follows the number (``tail``), because an entry always fills its eight bytes.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

WORD_BYTES = 8
WORD = np.dtype("<u8")
Words = NDArray[np.uint64]

THOUSANDTHS_DECIMALS = 3
NUMBER_LIMIT = 100_000  # thousandths; a table of all numbers below this many stays in a core's level 2 cache
WHOLE_LIMIT = 100_000

_ZERO, _SPACE, _MINUS, _POINT = b"0 -."


def number_range(width: int) -> range:
    """Return the numbers, in thousandths, that ``numbers`` tabulates: those that fit in ``width`` columns."""
    lowest = 1 - min(NUMBER_LIMIT, 10 ** (width - 2)) if width > len("0.000") else 0
    return range(lowest, min(NUMBER_LIMIT, 10 ** (width - 1)))


@lru_cache(maxsize=16)
def numbers(width: int, tail: bytes) -> Words:
    """Tabulate ``-99.999`` to ``99.999`` by thousandths, as far as ``number_range`` goes."""
    thousandths = _array(number_range(width))
    return words(decimal_text(np.abs(thousandths), thousandths < 0, width, THOUSANDTHS_DECIMALS), tail)


def whole_part_range(width: int) -> range:
    """Return the codes of the whole parts that fit in ``width`` columns: w, or ``~w`` for one with a minus sign."""
    return range(-min(WHOLE_LIMIT + 1, 10 ** (width - 1)) if width > 1 else 0, min(WHOLE_LIMIT + 1, 10**width))


@lru_cache(maxsize=16)
def whole_parts(width: int, tail: bytes) -> Words:
    """Tabulate the text before the decimal point, ``-100000`` to ``100000`` with ``-0``, by ``whole_part_range``."""
    codes = _array(whole_part_range(width))
    return words(decimal_text(np.where(codes < 0, ~codes, codes), codes < 0, width), tail)


@lru_cache(maxsize=16)
def padded_counts(width: int, tail: bytes) -> Words:
    """Tabulate the integers of ``width`` digits with zeros in front."""
    return words(_unsigned(10**width, len("0.") + width, width)[:, len("0.") :], tail)


@lru_cache(maxsize=4)
def unit_fractions(tail: bytes) -> Words:
    """Tabulate ``0.000`` to ``1.000`` by thousandths."""
    return words(_unsigned(1001, 5, THOUSANDTHS_DECIMALS), tail)


@lru_cache(maxsize=4)
def small_counts(width: int, tail: bytes) -> Words:
    """Tabulate the integers of at most ``width`` digits."""
    return words(_unsigned(10**width, width, 0), tail)


@lru_cache(maxsize=4)
def truths(tail: bytes) -> Words:
    """Tabulate ``false`` and ``true``."""
    return words(aligned_text([b"false", b"true"]), tail)


def words(text: NDArray[np.uint8], tail: bytes) -> Words:
    """Join each row of characters, shape (k, width), with as much of ``tail`` as fits in eight bytes."""
    width = text.shape[1]
    rows = np.full((len(text), WORD_BYTES), _SPACE, np.uint8)
    rows[:, :width] = text
    following = tail[: WORD_BYTES - width]
    rows[:, width : width + len(following)] = np.frombuffer(following, np.uint8)
    joined: Words = rows.view(WORD)[:, 0]
    return joined


def aligned_text(texts: list[bytes]) -> NDArray[np.uint8]:
    """Align texts to the right; shape (k, longest)."""
    width = max(map(len, texts))
    return np.frombuffer(b"".join(text.rjust(width) for text in texts), np.uint8).reshape(-1, width)


def decimal_text(
    magnitudes: NDArray[np.int64], negative: NDArray[np.bool_], width: int, decimals: int = 0
) -> NDArray[np.uint8]:
    """Write integers, divided by ten to the ``decimals``, aligned to the right; shape (k, width).

    The sign is its own argument, so that -0 can be written. Numbers must fit in ``width`` columns.
    """
    text = np.empty((len(magnitudes), width), np.uint8)
    rest = magnitudes
    sign_due = negative
    columns = [column for column in reversed(range(width)) if not decimals or column != width - 1 - decimals]
    for place, column in enumerate(columns):
        digit_due = (rest > 0) | (place <= decimals)
        text[:, column] = np.where(digit_due, _ZERO + rest % 10, np.where(sign_due, _MINUS, _SPACE))
        sign_due = sign_due & digit_due
        rest = rest // 10
    if decimals:
        text[:, width - 1 - decimals] = _POINT
    return text


def _unsigned(count: int, width: int, decimals: int) -> NDArray[np.uint8]:
    values = _array(range(count))
    return decimal_text(values, values < 0, width, decimals)


def _array(numbers: range) -> NDArray[np.int64]:
    return np.arange(numbers.start, numbers.stop, dtype=np.int64)
