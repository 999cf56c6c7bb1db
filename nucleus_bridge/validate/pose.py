# SPDX-License-Identifier: Apache-2.0
"""The rules of positions, headings and coordinates."""

from __future__ import annotations

import math

from nucleus_bridge.validate.json import components
from nucleus_bridge.validate.report import Findings, Place, shown

POSE_RULES = {
    "position-keys": "every position has numbers x, y and z and nothing else",
    "heading-keys": "every heading has numbers x, y, z and w and nothing else",
    "unit-quaternions": "every heading has length one",
    "coordinate-range": "every coordinate is below 100,000 m, where 32-bit floats still resolve a centimetre",
}

COORDINATE_LIMIT_M = 1e5

_LENGTH_TOLERANCE = 1e-6


def check_position(name: str, value: object, place: Place, findings: Findings) -> list[float] | None:
    """Check a position, metres; returns x, y and z if they are numbers."""
    xyz = components(value, "xyz")
    text = f"{name} is {shown(value)} without exactly the numbers x, y and z"
    findings.expect("position-keys", place, holds=xyz is not None, text=text)
    if xyz is None:
        return None
    holds = all(abs(number) < COORDINATE_LIMIT_M for number in xyz)
    text = f"{name} is ({', '.join(f'{number:g}' for number in xyz)}) m"
    findings.expect("coordinate-range", place, holds=holds, text=text)
    return xyz


def check_heading(name: str, value: object, place: Place, findings: Findings) -> None:
    """Check a heading: a Hamilton quaternion of unit length."""
    xyzw = components(value, "xyzw")
    text = f"{name} is {shown(value)} without exactly the numbers x, y, z and w"
    findings.expect("heading-keys", place, holds=xyzw is not None, text=text)
    if xyzw is None:
        return
    length = math.hypot(*xyzw)
    text = f"{name} has length {length:.9g}"
    findings.expect("unit-quaternions", place, holds=abs(length - 1.0) <= _LENGTH_TOLERANCE, text=text)
