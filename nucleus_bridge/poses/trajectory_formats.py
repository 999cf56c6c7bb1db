# SPDX-License-Identifier: Apache-2.0
"""Files with poses over time: TUM, KITTI with times, tables with named columns (SLAM tools, EuRoC, INS exports)."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nucleus_bridge.config import PoseConfig
from nucleus_bridge.errors import ConfigError
from nucleus_bridge.geometry import quaternion
from nucleus_bridge.geometry.local_level import GlobeOrigin, local_poses, quaternion_of_rpy
from nucleus_bridge.model import FloatArray, IntArray
from nucleus_bridge.poses.trajectory_table import (
    ALIASES,
    ANGLES,
    NS_PER,
    Column,
    Stamps,
    Table,
    open_table,
    read_lines,
    resolved,
    unit_in,
)

_POSITION, _GLOBE = ("x", "y", "z"), ("lat", "lon", "alt")
_QUATERNION, _INS, _RPY = ("qx", "qy", "qz", "qw"), ("roll", "pitch", "heading"), ("roll", "pitch", "yaw")
_TUM = ("stamp", *_POSITION, *_QUATERNION)
_MATRIX = 12
_STAMPED_MATRICES = (1 + 12, 1 + 16)
_TURN = 2.0 * np.pi
_UNIT_LENGTH_WITHIN = 0.02  # what two printed digits leave
_ORTHOGONAL_WITHIN = 0.01
_MAX_LATITUDE, _MAX_LONGITUDE = 90.0, 360.0


@dataclass(frozen=True, eq=False)
class Poses:
    """What a file says, in its order.

    Attributes:
        stamps_ns: Shape (n,), int64, as the file counts.
        poses: Shape (n, 7), float64: x, y, z in metres, quaternion x y z w.
        origin: Where the local level frame of an INS file lies, or None.
        has_quaternions: Whether the attitudes are quaternions in the file.
    """

    stamps_ns: IntArray
    poses: FloatArray
    origin: GlobeOrigin | None = None
    has_quaternions: bool = False


def read_trajectory(settings: PoseConfig, base_dir: Path) -> Poses:
    """Read the trajectory file of ``poses.<name>``.

    Args:
        settings: The file, its format, columns and times file.
        base_dir: What the paths are relative to.

    Raises:
        ConfigError: Naming the parameter, the file, the line and what was expected.
    """
    return _Reader(settings, base_dir).read()


class _Reader:
    def __init__(self, settings: PoseConfig, base_dir: Path) -> None:
        self._settings = settings
        self._base_dir = base_dir
        self._path = base_dir / settings.file
        self._name = f"poses.{settings.name}"

    def read(self) -> Poses:
        table = open_table(self._path, f"{self._name}.file")
        layout = self._settings.format if self._settings.format != "auto" else self._layout(table)
        if layout == "tum":
            self._check_width(table, (len(_TUM),), "TUM: stamp x y z qx qy qz qw")
            columns = {role: Column(index) for index, role in enumerate(_TUM)}
            return self._by_columns(table, columns)
        if layout == "kitti":
            self._check_width(table, (_MATRIX, *_STAMPED_MATRICES), "KITTI: 3x4 matrices by rows, with or without time")
            return self._by_matrices(table)
        return self._by_columns(table, self._columns(table))

    def _layout(self, table: Table) -> str:
        if not self._settings.columns and not table.names:
            if table.width == len(_TUM):
                return "tum"
            if table.width in (_MATRIX, *_STAMPED_MATRICES):
                return "kitti"
        return "csv"

    def _check_width(self, table: Table, widths: Sequence[int], what: str) -> None:
        if table.width not in widths:
            wanted = " or ".join(str(width) for width in widths)
            raise self._error(f"has {table.width} columns, not {wanted} ({what})")

    def _columns(self, table: Table) -> dict[str, Column]:
        if self._settings.columns:
            found = dict(self._named(text, table) for text in self._settings.columns)
        else:
            found = resolved(table.names)
        missing = [] if "stamp" in found else ["the stamp"]
        if _first_complete(found, _POSITION, _GLOBE) is None:
            missing.append("x, y, z (or lat, lon, alt)")
        if _first_complete(found, _QUATERNION, _INS, _RPY) is None:
            missing.append(
                "qx, qy, qz, qw (or roll, pitch and heading, clockwise from north, or yaw, counterclockwise from east)"
            )
        if missing:
            there = ", ".join(table.names) or f"numbers 1 to {table.width}"
            raise self._error(
                f"has columns {there}, and which of them hold {'; '.join(missing)} is not known; set "
                f"{self._name}.columns: ['stamp=...', 'x=...', ...]"
            )
        return found

    def _named(self, text: str, table: Table) -> tuple[str, Column]:
        key = f"{self._name}.columns: {text!r}"
        role, _, name = (part.strip() for part in text.partition("="))
        role, _, unit = role.partition(":")
        if role not in ALIASES or not name:
            raise ConfigError(f"{key} is not role=column with a role of {', '.join(ALIASES)}")
        units = tuple(NS_PER) if role == "stamp" else ANGLES
        if unit and unit not in units:
            raise ConfigError(f"{key}: {unit!r} is not one of {', '.join(units)}")
        if name in table.names:
            return role, Column(table.names.index(name), unit or unit_in(name))
        if name.isdecimal() and 1 <= int(name) <= table.width:
            return role, Column(int(name) - 1, unit)
        there = ", ".join(table.names) or f"numbers 1 to {table.width}"
        raise ConfigError(f"{key}: {self._path} has no column {name!r}, but {there}")

    def _by_columns(self, table: Table, columns: Mapping[str, Column]) -> Poses:
        place = _first_complete(columns, _POSITION, _GLOBE) or _POSITION
        turn = _first_complete(columns, _QUATERNION, _INS, _RPY) or _QUATERNION
        stamps, week = Stamps(columns["stamp"].unit), columns.get("week")
        read = [columns[role].at for role in (*place, *turn)]

        def stamp(fields: list[str]) -> None:
            stamps.add(fields[columns["stamp"].at], fields[week.at] if week else "")

        values = self._numbers(table, read, stamp)
        positions, rotations = values[:, :3], values[:, 3:]
        if turn == _QUATERNION:
            self._check_unit(rotations)
        else:
            self._check_convention(place, turn)
            units = {role: columns[role].unit for role in turn}
            rotations = np.stack([self._radians(rotations[:, i], role, units) for i, role in enumerate(turn)], axis=1)
        if place == _GLOBE:
            positions = self._degrees(positions, columns)
            origin = GlobeOrigin(*(float(value) for value in positions[0]))
            return Poses(stamps.ns, local_poses(positions, rotations, origin), origin)
        if turn != _QUATERNION:
            roll, pitch, yaw = rotations.T
            pitch, yaw = (-pitch, np.pi / 2.0 - yaw) if turn == _INS else (pitch, yaw)
            rotations = quaternion_of_rpy(roll, pitch, yaw)
        poses = np.concatenate((positions, rotations), axis=1)
        return Poses(stamps.ns, poses, has_quaternions=turn == _QUATERNION)

    def _by_matrices(self, table: Table) -> Poses:
        is_stamped = table.width in _STAMPED_MATRICES
        stamps = Stamps("")

        def stamp(fields: list[str]) -> None:
            if is_stamped:
                stamps.add(fields[0])

        values = self._numbers(table, range(is_stamped, is_stamped + _MATRIX), stamp)
        if not is_stamped:
            self._read_times(stamps, len(values))
        matrices = values.reshape(-1, 3, 4)
        rotations = matrices[:, :, :3]
        off = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
        bad = (off > _ORTHOGONAL_WITHIN) | (np.linalg.det(rotations) < 0.0)
        if bool(bad.any()):
            raise self._error(f"pose {int(np.argmax(bad)) + 1} has no rotation matrix: not a file of KITTI's form")
        return Poses(stamps.ns, np.concatenate((matrices[:, :, 3], quaternion.from_matrix(rotations)), axis=1))

    def _numbers(self, table: Table, columns: Iterable[int], stamp: Callable[[list[str]], None]) -> FloatArray:
        """Read columns of all rows, shape (n, columns); hand each row to ``stamp``."""
        values, columns = array("d"), list(columns)
        for line, fields in table.rows:
            try:
                values.extend([float(fields[index]) for index in columns])
                stamp(fields)
            except ValueError:
                raise self._error(f"line {line} holds something other than numbers: {' '.join(fields)[:80]}") from None
        numbers = np.frombuffer(values).reshape(-1, len(columns))
        bad = ~np.isfinite(numbers).all(axis=1)
        if bool(bad.any()):
            raise self._error(f"row {int(np.argmax(bad)) + 1} holds a value that is not finite")
        return numbers

    def _read_times(self, stamps: Stamps, count: int) -> None:
        key = f"{self._name}.times_file"
        if not self._settings.times_file:
            raise self._error(f"holds poses without times; set {key} to the file that has a time a line")
        path = self._base_dir / self._settings.times_file
        for line, text in _filled(read_lines(path, key)):
            try:
                stamps.add(text.split()[0].rstrip(","))
            except ValueError:
                raise ConfigError(f"{key}: {path} line {line} is not a time: {text[:40]}") from None
        if len(stamps) != count:
            raise ConfigError(f"{key}: {path} has {len(stamps)} times, {self._path} {count} poses")

    def _check_unit(self, rotations: FloatArray) -> None:
        off = np.abs(np.sqrt((rotations * rotations).sum(axis=1)) - 1.0) > _UNIT_LENGTH_WITHIN
        if bool(off.any()):
            at = int(np.argmax(off))
            given = " ".join(f"{value:g}" for value in rotations[at])
            raise self._error(
                f"row {at + 1}: {given} is not a unit quaternion; if other columns hold it, name them: "
                f"{self._name}.columns: ['stamp=1', 'x=2', 'y=3', 'z=4', 'qx=5', 'qy=6', 'qz=7', 'qw=8']"
            )

    def _check_convention(self, place: Sequence[str], turn: Sequence[str]) -> None:
        if place == _GLOBE and turn == _RPY:
            raise self._error(
                f"has latitudes with yaw; set {self._name}.columns with 'heading=...' if it counts clockwise from north"
            )

    def _radians(self, values: FloatArray, role: str, units: Mapping[str, str]) -> FloatArray:
        """Return an angle in radians; INS exports are in degrees where nothing says otherwise, other tables say it."""
        unit, largest = units[role], float(np.abs(values).max(initial=0.0))
        if not unit and ("heading" in units or largest > _TURN):
            unit = "deg"
        if not unit:
            raise self._error(
                f"does not say the unit of {role}; set {self._name}.columns with '{role}:rad=...' or '{role}:deg=...'"
            )
        if unit == "rad" and largest > _TURN:
            raise self._error(f"says {largest:g} rad for {role}; are these degrees? '{role}:deg=...'")
        return np.radians(values) if unit == "deg" else values

    def _degrees(self, globe: FloatArray, columns: Mapping[str, Column]) -> FloatArray:
        """Return latitudes and longitudes in degrees, heights as they are."""
        if columns["lat"].unit == "rad":
            globe = np.concatenate((np.degrees(globe[:, :2]), globe[:, 2:]), axis=1)
        largest = np.abs(globe).max(axis=0)
        if largest[0] > _MAX_LATITUDE or largest[1] > _MAX_LONGITUDE:
            raise self._error(f"has latitudes to {largest[0]:g} and longitudes to {largest[1]:g}: not degrees")
        if not columns["lat"].unit and largest[0] < np.pi / 2.0 and largest[1] < np.pi:
            raise self._error(
                "has latitudes and longitudes that may be radians; set "
                f"{self._name}.columns with 'lat:rad=...', 'lon:rad=...' or 'lat:deg=...', 'lon:deg=...'"
            )
        return globe

    def _error(self, text: str) -> ConfigError:
        return ConfigError(f"{self._name}.file: {self._path} {text}")


def _filled(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    return ((number, text.strip()) for number, text in lines if text.strip() and text.strip()[0] not in "#%")


def _first_complete(roles: Iterable[str], *groups: tuple[str, ...]) -> tuple[str, ...] | None:
    return next((group for group in groups if set(group) <= set(roles)), None)
