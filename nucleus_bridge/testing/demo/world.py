# SPDX-License-Identifier: Apache-2.0
"""What stands along the road: poles, boxes and walls on the ground plane z = 0, always the same ones."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nucleus_bridge.testing.demo.course import centre
from nucleus_bridge.testing.demo.rigid import FloatArray

ROAD_CENTRE_M = 1.75  # the vehicle keeps to the right lane: the middle of the road is this far to its left
LANE_M = 3.5


@dataclass(frozen=True)
class Pole:
    """A vertical cylinder from the ground up; its colour (RGB) is its alone in every image."""

    x: float
    y: float
    radius: float
    height: float
    color: tuple[int, int, int]
    intensity: int


@dataclass(frozen=True)
class Box:
    """A box on the ground, turned by ``yaw`` (radians) about z; ``kind`` is building, van, crate or wall."""

    kind: str
    x: float
    y: float
    yaw: float
    length: float
    width: float
    height: float
    color: tuple[int, int, int]
    intensity: int

    def footprint(self, grow: float = 0.0) -> FloatArray:
        """Return the corners on the ground in order around, shape (4, 2), moved outwards by ``grow`` metres."""
        signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
        local = signs * (np.array([self.length, self.width]) / 2 + grow)
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        corners: FloatArray = local @ np.array([[cos, sin], [-sin, cos]]) + [self.x, self.y]
        return corners

    def contains(self, points: FloatArray, grow: float) -> bool:
        """Return whether one of ``points`` (k, 2) lies in the footprint grown by ``grow`` metres."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        local = np.abs((points - [self.x, self.y]) @ np.array([[cos, -sin], [sin, cos]]))
        return bool(np.any(np.all(local <= np.array([self.length, self.width]) / 2 + grow, axis=1)))

    @property
    def reach(self) -> float:
        """Return the distance from the middle to a corner of the footprint."""
        return math.hypot(self.length, self.width) / 2

    def outline(self) -> FloatArray:
        """Return places about half a metre apart along the footprint, shape (k, 2)."""
        corners = self.footprint()
        along = np.linspace(0.0, 1.0, 30)[:, None]
        return np.concatenate([a + along * (b - a) for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)])


@dataclass(frozen=True)
class World:
    """Everything a ray can hit besides the ground."""

    poles: tuple[Pole, ...]
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class _Road:
    """The driven line sampled every ``step`` metres: positions (k, 2) and headings (k,)."""

    step: float
    line: FloatArray
    heading: FloatArray

    def beside(self, index: int, offset: float) -> tuple[float, float]:
        """Return the place ``offset`` metres left of the driven line."""
        heading = self.heading[index]
        x, y = self.line[index] + offset * np.array([-np.sin(heading), np.cos(heading)])
        return float(x), float(y)

    def clears(self, points: FloatArray, margin: float) -> bool:
        """Return whether ``points`` (k, 2) keep ``margin`` metres from the edge of the road everywhere."""
        left = np.stack([-np.sin(self.heading), np.cos(self.heading)], axis=-1)
        middle = self.line + ROAD_CENTRE_M * left
        distance = np.linalg.norm(middle[None] - points[:, None], axis=-1).min()
        return bool(distance >= LANE_M + margin)


def sample_road(step: float, course: str) -> tuple[FloatArray, FloatArray]:
    """Return places (k, 2) about ``step`` metres apart along one lap of a course and their headings (k,)."""
    dense = np.linspace(0.0, 2 * np.pi, 20_000, dtype=np.float64)
    speed = np.abs(centre(dense, course)[1])
    length = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * np.diff(dense))])
    count = round(length[-1] / step)
    phase = np.asarray(np.interp(np.arange(count) * length[-1] / count, length, dense), dtype=np.float64)
    position, tangent = centre(phase, course)
    return np.stack([position.real, position.imag], axis=-1), np.arctan2(tangent.imag, tangent.real)


@lru_cache(maxsize=2)
def build_world(course: str) -> World:
    """Return what stands along a course."""
    road = _Road(1.0, *sample_road(1.0, course))
    boxes = _place_boxes(road)
    return World(_place_poles(road, boxes), boxes)


def _place_boxes(road: _Road) -> tuple[Box, ...]:
    choice = np.random.default_rng(20)
    boxes: list[Box] = []
    outlines: list[FloatArray] = []

    def place(index: int, kind: str, offset: float, size: tuple[float, float, float], turn: float = 0.0) -> None:
        x, y = road.beside(index, offset)
        yaw = float(np.angle(np.exp(1j * (road.heading[index] + turn))))
        palette = _PALETTES[kind]
        color = palette[len(boxes) % len(palette)]
        box = Box(kind, x, y, yaw, *size, color, _INTENSITIES[kind])
        outline = box.outline()
        if not road.clears(outline, 0.5 if kind == "van" else 1.2):
            return
        for other, other_outline in zip(boxes, outlines, strict=True):
            if math.hypot(x - other.x, y - other.y) > box.reach + other.reach + 2.0:
                continue
            if other.contains(outline, 0.8) or box.contains(other_outline, 0.8):
                return
        boxes.append(box)
        outlines.append(outline)

    for index in range(0, len(road.line), 4):
        side = -1 if (index // 4) % 2 else 1
        length, width, height = (float(value) for value in choice.uniform([11, 8, 5], [18, 11, 11]))
        curb = ROAD_CENTRE_M + side * (LANE_M + 7.5 + width / 2)
        place(index, "building", curb, (length, width, height))
    for index in range(6, len(road.line), 13):
        side = 1 if index % 3 == 0 else -1
        place(index, "van", ROAD_CENTRE_M + side * (LANE_M + 1.6), (4.7, 1.9, 2.05), 0.0 if side < 0 else np.pi)
    for index in range(9, len(road.line), 16):
        side = -1 if (index // 16) % 2 else 1
        place(index, "wall", ROAD_CENTRE_M + side * (LANE_M + 5.6), (9.0, 0.25, 1.7))
    for index in range(0, len(road.line), 11):
        side = 1 if (index // 11) % 2 else -1
        edge = float(choice.uniform(0.7, 1.3))
        place(index, "crate", ROAD_CENTRE_M + side * (LANE_M + 4.0), (edge, edge, edge), float(choice.uniform(0, 1.5)))
    return tuple(boxes)


def _place_poles(road: _Road, boxes: tuple[Box, ...]) -> tuple[Pole, ...]:
    places: list[tuple[float, float]] = []
    for number, index in enumerate(range(3, len(road.line), 5)):
        side = 1 if number % 2 else -1
        place = road.beside(index, ROAD_CENTRE_M + side * (LANE_M + 1.0 + 0.5 * (number % 3)))
        if road.clears(np.array([place]), 0.8) and not any(box.contains(np.array([place]), 0.5) for box in boxes):
            places.append(place)
    poles = []
    for number, (x, y) in enumerate(places):
        hue = (number * 0.381966) % 1.0  # the golden section keeps neighbours far apart on the colour wheel
        red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 1.0, 1.0 - 0.2 * (number % 2)))
        radius = (0.10, 0.13, 0.17, 0.22)[number % 4]
        poles.append(Pole(x, y, radius, 3.2 + 0.6 * (number % 5), (red, green, blue), 220))
    return tuple(poles)


_INTENSITIES = {"building": 90, "van": 150, "crate": 115, "wall": 70}
_PALETTES = {
    "building": ((181, 150, 128), (168, 166, 158), (196, 178, 146), (150, 138, 132), (158, 172, 176)),
    "van": ((222, 222, 218), (88, 96, 110), (166, 172, 178), (120, 108, 100)),
    "crate": ((150, 122, 92), (134, 112, 88)),
    "wall": ((158, 146, 134), (140, 140, 136)),
}
