# SPDX-License-Identifier: Apache-2.0
"""What is painted on the faces of boxes: windows, wheels, planks. Brightness only: no box gets a pole's colour."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.testing.demo.world import Box

Float32Array = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

_BAY_M, _STOREY_M = 2.4, 2.9


def brightness(
    box: Box, by_end: BoolArray, by_side: BoolArray, across: Float32Array, height: Float32Array
) -> Float32Array:
    """Return the brightness of places on a box's faces.

    ``by_end`` and ``by_side`` tell its short and long faces (else it is the top); ``across`` is the distance from the
    face's vertical middle line and ``height`` that above the ground, in metres.
    """
    painted = _PAINTERS[box.kind](box, by_end, across, height)
    value: Float32Array = np.where(by_end | by_side, painted, np.float32(1.0))
    return value


def _building(box: Box, by_end: BoolArray, across: Float32Array, height: Float32Array) -> Float32Array:
    end, side = (int((extent - 0.8) / _BAY_M) * _BAY_M / 2 for extent in (box.width, box.length))
    half = np.where(by_end, np.float32(end), np.float32(side))
    storeys = int((box.height - 0.6) / _STOREY_M) * _STOREY_M
    off_across = np.abs((across + half) % np.float32(_BAY_M) - np.float32(_BAY_M / 2))
    off_height = np.abs(height % np.float32(_STOREY_M) - np.float32(1.7))
    has_window = (np.abs(across) < half) & (height < storeys)
    pane = (off_across < 0.6) & (off_height < 0.72)
    frame = (off_across < 0.72) & (off_height < 0.84)
    front = np.where(frame & has_window, np.where(pane, np.float32(0.42), np.float32(1.14)), np.float32(1.0))
    cornice = height > box.height - 0.35
    value: Float32Array = np.where(height < 0.5, np.float32(0.7), np.where(cornice, np.float32(0.8), front))
    return value


def _van(box: Box, by_end: BoolArray, across: Float32Array, height: Float32Array) -> Float32Array:
    half = np.where(by_end, np.float32(box.width / 2 - 0.15), np.float32(box.length / 2 - 0.35))
    glass = (np.abs(height - 1.5) < 0.27) & (np.abs(across) < half) & (by_end | (np.abs(across % 1.3 - 0.65) < 0.6))
    wheel = ~by_end & (np.hypot(np.abs(across) - np.float32(1.4), height - np.float32(0.33)) < 0.36)
    sill = height < 0.2
    value: Float32Array = np.where(glass, np.float32(0.22), np.where(wheel | sill, np.float32(0.16), np.float32(1.0)))
    return value


def _crate(box: Box, _by_end: BoolArray, across: Float32Array, height: Float32Array) -> Float32Array:
    gap = height % np.float32(0.24) < 0.03
    post = np.abs(across) > box.length / 2 - 0.1
    value: Float32Array = np.where(post, np.float32(0.85), np.where(gap, np.float32(0.6), np.float32(1.0)))
    return value


def _wall(box: Box, _by_end: BoolArray, across: Float32Array, height: Float32Array) -> Float32Array:
    joint = across % np.float32(3.0) < 0.05
    coping = height > box.height - 0.14
    value: Float32Array = np.where(coping, np.float32(1.2), np.where(joint, np.float32(0.75), np.float32(1.0)))
    return value


_PAINTERS: Mapping[str, Callable[[Box, BoolArray, Float32Array, Float32Array], Float32Array]] = {
    "building": _building,
    "van": _van,
    "crate": _crate,
    "wall": _wall,
}
