# SPDX-License-Identifier: Apache-2.0
"""Whatever happens to the bytes of a message, it is used or refused; no other exception comes out."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import pytest
from message_families import FAMILIES

from nucleus_bridge.decode.cdr import peek_header
from nucleus_bridge.errors import DecodeError

MUTATIONS = 2_000
NUMBERS = (0, 1, 0x7F, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Flip bits, overwrite a run, put in a telling number, cut off or double a part: one or several of these."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(damaged)) if damaged else 0
        how = rng.randrange(6)
        if how == 0 and damaged:
            damaged[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            damaged[at : at + rng.randrange(1, 9)] = bytes([rng.choice((0, 0x7F, 0xFF))]) * rng.randrange(1, 9)
        elif how == 2 and len(damaged) >= 8:
            struct.pack_into("<I", damaged, at // 4 * 4 % (len(damaged) - 4), rng.choice(NUMBERS))
        elif how == 3:
            del damaged[at:]
        elif how == 4:
            damaged[at:at] = damaged[at : at + rng.randrange(1, 40)]
        elif damaged:
            damaged[at] = rng.randrange(256)
    return bytes(damaged)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_damaged_message_is_used_or_refused(name):
    use, originals = FAMILIES[name]
    for message in originals:
        use(message)
    rng = random.Random(f"damage to {name}")
    refused = 0
    for number in range(MUTATIONS):
        message = originals[number % len(originals)]
        damaged = replace(message, data=mutate(message.data, rng))
        try:
            use(damaged)
        except DecodeError:
            refused += 1
    assert MUTATIONS / 20 < refused < MUTATIONS


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "TFMessage"])
def test_a_damaged_header_is_peeked_or_refused(name):
    rng = random.Random(name)
    for _ in range(MUTATIONS):
        data = mutate(FAMILIES[name][1][0].data[:40], rng)
        try:
            stamp_ns, frame_id = peek_header(data)
        except DecodeError:
            continue
        assert isinstance(stamp_ns, int)
        assert not frame_id.startswith("/")


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 64, 4096])
@pytest.mark.parametrize("name", FAMILIES)
def test_noise_is_refused(name, size):
    use, originals = FAMILIES[name]
    rng = random.Random(size)
    for head in (b"", b"\x00\x01\x00\x00", b"\x00\x00\x00\x00"):
        data = (head + rng.randbytes(size))[: max(size, len(head))]
        with pytest.raises(DecodeError):
            use(replace(originals[0], data=data))
