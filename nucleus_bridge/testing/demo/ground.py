# SPDX-License-Identifier: Apache-2.0
"""The ground as seen from above, and the sky: the textures that cameras and lidars look up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.testing.demo.rigid import FloatArray
from nucleus_bridge.testing.demo.world import LANE_M, ROAD_CENTRE_M, World, build_world, sample_road

CELL_M = 0.0625
SUN = np.array([-0.45, 0.6, 0.66])  # direction towards the sun
_MARGIN_M = 40.0
_FRACTION_BITS = 6

GRASS = (104, 122, 74)
HORIZON = (206, 216, 226)
_ZENITH = (92, 140, 204)
_ASPHALT, _PAVEMENT, _PAINT = (92, 93, 96), (150, 146, 140), (226, 226, 220)
_REFLECTIVITY = {"grass": 55, "pavement": 40, "asphalt": 18, "paint": 170}


@dataclass(frozen=True, eq=False)
class Ground:
    """Textures over the ground plane; the centre of cell (0, 0) lies at ``origin`` and rows grow with y.

    Attributes:
        origin: Map coordinates, shape (2,), metres.
        color: Shape (rows, columns, 3), RGB.
        intensity: Shape (rows, columns), what a lidar returns.
    """

    origin: FloatArray
    color: NDArray[np.uint8]
    intensity: NDArray[np.uint8]

    def intensity_at(self, x: FloatArray, y: FloatArray) -> NDArray[np.uint8]:
        """Return the lidar intensity of places on the ground; beyond the texture everything is grass."""
        column = np.rint((x - self.origin[0]) / CELL_M).astype(np.int64)
        row = np.rint((y - self.origin[1]) / CELL_M).astype(np.int64)
        rows, columns = self.intensity.shape
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        flat = np.where(inside, row * columns + column, 0)
        values: NDArray[np.uint8] = np.where(inside, self.intensity.reshape(-1)[flat], _REFLECTIVITY["grass"])
        return values.astype(np.uint8)


@lru_cache(maxsize=2)
def build_ground(course: str) -> Ground:
    """Return the ground along a course."""
    line, heading = sample_road(0.25, course)
    origin = np.floor(line.min(axis=0) - _MARGIN_M)
    columns, rows = np.ceil((line.max(axis=0) + _MARGIN_M - origin) / CELL_M).astype(int)
    middle = line + ROAD_CENTRE_M * np.stack([-np.sin(heading), np.cos(heading)], axis=-1)

    color = np.empty((rows, columns, 3), np.uint8)
    color[:] = GRASS
    intensity = np.full((rows, columns), _REFLECTIVITY["grass"], np.uint8)
    half = LANE_M + 0.25
    bands = [(half + 2.2, _PAVEMENT, "pavement"), (half, _ASPHALT, "asphalt"), (LANE_M + 0.1, _PAINT, "paint")]
    for reach, paint, material in [*bands, (LANE_M - 0.1, _ASPHALT, "asphalt")]:
        for texture, value in ((color, paint), (intensity, (_REFLECTIVITY[material],))):
            _draw(texture, [_cells(middle, origin)], 2 * reach, value, closed=True)
    dashes = [_cells(middle[start : start + 13], origin) for start in range(0, len(middle) - 13, 32)]
    for texture, value in ((color, _PAINT), (intensity, (_REFLECTIVITY["paint"],))):
        _draw(texture, dashes, 0.15, value, closed=False)

    light = _grain((rows, columns)) * _sunlight(build_world(course), origin, (rows, columns))
    channels = [cv2.multiply(color[..., channel], light, dtype=cv2.CV_8U) for channel in range(3)]
    return Ground(origin, np.stack(channels, axis=-1).astype(np.uint8, copy=False), intensity)


def sky_gradient(steps: int) -> NDArray[np.uint8]:
    """Return the sky's colours from the horizon up to the zenith, shape (steps, 3), RGB."""
    rise = np.linspace(0.0, 1.0, steps)[:, None] ** 0.6
    horizon, zenith = np.array(HORIZON, float), np.array(_ZENITH, float)
    colors: FloatArray = np.rint(horizon + rise * (zenith - horizon))
    return colors.astype(np.uint8)


def _cells(places: FloatArray, origin: FloatArray) -> NDArray[np.int32]:
    """Return map coordinates (k, 2) in the fixed-point cells that OpenCV draws with."""
    return np.rint((places - origin) / CELL_M * (1 << _FRACTION_BITS)).astype(np.int32)


def _draw(
    texture: NDArray[np.uint8], lines: list[NDArray[np.int32]], width: float, value: tuple[int, ...], *, closed: bool
) -> None:
    cv2.polylines(texture, lines, closed, value, max(1, round(width / CELL_M)), cv2.LINE_AA, _FRACTION_BITS)


def _grain(shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the brightness of a surface that is not quite even: a tile of noise, repeated, on broad patches."""
    noise = np.random.default_rng(3)
    tile = 1.0 + noise.normal(0.0, 0.035, (256, 256)).astype(np.float32)
    fine = np.tile(tile, (shape[0] // 256 + 1, shape[1] // 256 + 1))[: shape[0], : shape[1]]
    spots = noise.normal(0.0, 0.06, (shape[0] // 64 + 2, shape[1] // 64 + 2)).astype(np.float32)
    patches = cv2.resize(spots, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return (fine + patches).astype(np.float32, copy=False)


def _sunlight(world: World, origin: FloatArray, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return how much light reaches each cell: 1 in the sun, less in the shadow of what stands there."""
    sunlit = np.ones(shape, np.float32)
    cast = -SUN[:2] / SUN[2]
    for box in world.boxes:
        corners = box.footprint()
        _fill_hull(sunlit, np.concatenate([corners, corners + box.height * cast]), origin)
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    for pole in world.poles:
        ring = np.array([pole.x, pole.y]) + pole.radius * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
        _fill_hull(sunlit, np.concatenate([ring, ring + pole.height * cast]), origin)
    return cv2.GaussianBlur(sunlit, (0, 0), 1.8).astype(np.float32)


def _fill_hull(sunlit: NDArray[np.float32], corners: FloatArray, origin: FloatArray) -> None:
    hull = cv2.convexHull(_cells(corners, origin))
    cv2.fillConvexPoly(sunlit, hull, 0.55, cv2.LINE_8, _FRACTION_BITS)
