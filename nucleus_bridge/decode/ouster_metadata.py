# SPDX-License-Identifier: Apache-2.0
"""What an Ouster sensor says of itself: how its packets are laid out and where its beams point."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.errors import DecodeError
from nucleus_bridge.model import FloatArray, IntArray


class _Bits(NamedTuple):
    """A field of a pixel: position and width in bits, and what its unit is worth."""

    at: int
    width: int
    factor: int = 1


class _Return(NamedTuple):
    """The fields of one return; None where the profile does not say."""

    range_mm: _Bits
    reflectivity: _Bits
    signal: _Bits | None = None


@dataclass(frozen=True)
class Profile:
    """The layout of packets of one ``udp_profile_lidar``.

    Attributes:
        pixel_bytes: Bytes a pixel.
        returns: One or two.
        near_ir: Ambient light.
        header_bytes: Before the columns and, the same, behind them; 0 for the first profile.
        frame_at: Where the frame's number begins, and how many bytes it has.
    """

    pixel_bytes: int
    returns: tuple[_Return, ...]
    near_ir: _Bits
    header_bytes: int = 32
    frame_at: tuple[int, int] = (2, 2)

    @property
    def column_header_bytes(self) -> int:
        """Time, number and, in the first profile, the encoder."""
        return 12 if self.header_bytes else 16

    @property
    def column_footer_bytes(self) -> int:
        """The status in the first profile."""
        return 0 if self.header_bytes else 4


_WORD = _Return(_Bits(0, 15, 8), _Bits(16, 8))
_SECOND_WORD = _Return(_Bits(32, 15, 8), _Bits(48, 8))
_WORD_NEAR_IR = _Bits(24, 8, 16)
PROFILES = {
    "LEGACY": Profile(
        12, (_Return(_Bits(0, 20), _Bits(32, 8), _Bits(48, 16)),), _Bits(64, 16), header_bytes=0, frame_at=(10, 2)
    ),
    "RNG19_RFL8_SIG16_NIR16": Profile(12, (_Return(_Bits(0, 19), _Bits(32, 8), _Bits(48, 16)),), _Bits(64, 16)),
    "RNG19_RFL8_SIG16_NIR16_DUAL": Profile(
        16,
        (
            _Return(_Bits(0, 19), _Bits(24, 8), _Bits(64, 16)),
            _Return(_Bits(32, 19), _Bits(56, 8), _Bits(80, 16)),
        ),
        _Bits(96, 16),
    ),
    "RNG15_RFL8_NIR8": Profile(4, (_WORD,), _WORD_NEAR_IR),
    "RNG15_RFL8_NIR8_DUAL": Profile(8, (_WORD, _SECOND_WORD), _WORD_NEAR_IR),
    "FUSA_RNG15_RFL8_NIR8_DUAL": Profile(8, (_WORD, _SECOND_WORD), _WORD_NEAR_IR, frame_at=(4, 4)),
}
"""Every layout that is read, by the name that metadata gives it."""

_SINGLE_RETURN_ALIASES = {"RNG19_RFL8_SIG16_NIR16_SINGLE": "RNG19_RFL8_SIG16_NIR16"}
_LONGEST_TEXT = 1 << 22
_MOST_COLUMNS, _MOST_ROWS, _MOST_COLUMNS_A_PACKET = 8192, 1024, 256


@dataclass(frozen=True)
class Metadata:
    """One sensor.

    Attributes:
        profile: Name of its profile.
        columns_a_frame: Columns of a whole turn.
        columns_a_packet: Columns of a packet.
        altitudes_deg: Up, one a beam.
        azimuths_deg: Counter-clockwise against the encoder's sense, one a beam.
        origin_mm: Distance of the beams' origin from the axis.
        origin_height_mm: Height of the beams' origin.
        sensor_from_lidar: 4 x 4 by rows, millimetres.
    """

    profile: str
    columns_a_frame: int
    columns_a_packet: int
    altitudes_deg: tuple[float, ...]
    azimuths_deg: tuple[float, ...]
    origin_mm: float
    origin_height_mm: float
    sensor_from_lidar: tuple[float, ...]

    @property
    def layout(self) -> Profile:
        """The layout of its packets."""
        return PROFILES[self.profile]

    @property
    def rows(self) -> int:
        """Pixels of a column."""
        return len(self.altitudes_deg)

    @property
    def column_bytes(self) -> int:
        """Bytes of a column."""
        layout = self.layout
        return layout.column_header_bytes + self.rows * layout.pixel_bytes + layout.column_footer_bytes

    @property
    def packet_bytes(self) -> int:
        """Bytes of a packet."""
        return 2 * self.layout.header_bytes + self.columns_a_packet * self.column_bytes

    def frame_of(self, packet: bytes) -> int:
        """Return the number of the frame that a packet belongs to, modulo 65,536."""
        at, size = self.layout.frame_at
        return int.from_bytes(packet[at : at + size], "little") % (1 << 16)

    def columns(self, packets: bytes) -> NDArray[np.void]:
        """Return the columns of whole packets: ``time_ns``, ``measurement``, ``pixels`` and ``is_good``, shape (n,)."""
        layout, pixels = self.layout, self.rows * self.layout.pixel_bytes
        octets = np.frombuffer(packets, np.uint8).reshape(-1, self.packet_bytes)
        inside = octets[:, layout.header_bytes : self.packet_bytes - layout.header_bytes]
        raw = np.ascontiguousarray(inside.reshape(-1, self.column_bytes))
        kind = np.dtype([("time_ns", "<u8"), ("measurement", "<u2"), ("is_good", "?"), ("pixels", "u1", (pixels,))])
        columns: NDArray[np.void] = np.empty(len(raw), kind)
        columns["time_ns"] = raw[:, 0:8].copy().view("<u8")[:, 0]
        columns["measurement"] = raw[:, 8:10].copy().view("<u2")[:, 0]
        columns["pixels"] = raw[:, layout.column_header_bytes : layout.column_header_bytes + pixels]
        if layout.header_bytes:
            columns["is_good"] = raw[:, 10] & 1 == 1
        else:
            columns["is_good"] = raw[:, -4:].copy().view("<u4")[:, 0] == 0xFFFFFFFF
        columns["is_good"] &= columns["measurement"] < self.columns_a_frame
        return columns

    def returns(self, pixels: NDArray[np.uint8]) -> Iterator[tuple[IntArray, IntArray, IntArray, IntArray]]:
        """Yield range (mm), reflectivity, signal and ambient light of each return, each of shape (columns, rows)."""
        words = pixels.reshape(len(pixels), self.rows, self.layout.pixel_bytes)
        near_ir = _field(words, self.layout.near_ir)
        for seen in self.layout.returns:
            signal = _field(words, seen.signal) if seen.signal else np.zeros_like(near_ir)
            yield _field(words, seen.range_mm), _field(words, seen.reflectivity), signal, near_ir

    def rays(self, measurement: NDArray[np.uint16]) -> tuple[FloatArray, FloatArray]:
        """Return for each pixel of some columns what a millimetre of range adds, and from where, in metres.

        Both of shape (columns, rows, 3), in the sensor's frame.
        """
        direction, origin = self._rays
        return direction[measurement], origin[measurement]

    @cached_property
    def _rays(self) -> tuple[FloatArray, FloatArray]:
        """Directions and origins of all pixels of a turn; the formula of Ouster's manual, "XYZ from range"."""
        encoder = 2.0 * np.pi * (1.0 - np.arange(self.columns_a_frame) / self.columns_a_frame)[:, None]
        azimuth, altitude = -np.radians(self.azimuths_deg), np.radians(self.altitudes_deg)
        turned = encoder + azimuth
        direction = np.stack(
            [
                np.cos(turned) * np.cos(altitude),
                np.sin(turned) * np.cos(altitude),
                np.broadcast_to(np.sin(altitude), turned.shape),
            ],
            axis=-1,
        )
        centre = np.stack([np.cos(encoder), np.sin(encoder), np.zeros_like(encoder)], axis=-1)
        origin = self.origin_mm * (centre - direction) + [0.0, 0.0, self.origin_height_mm]
        pose = np.array(self.sensor_from_lidar).reshape(4, 4)
        rotation, translation = pose[:3, :3], pose[:3, 3]
        return direction @ rotation.T / 1000.0, (origin @ rotation.T + translation) / 1000.0


def _field(words: NDArray[np.uint8], bits: _Bits) -> IntArray:
    """Read a field of every pixel; none passes four bytes."""
    first, last = bits.at // 8, (bits.at + bits.width - 1) // 8
    value = np.zeros(words.shape[:2], np.int64)
    for place in range(first, last + 1):
        value |= words[..., place].astype(np.int64) << 8 * (place - first)
    return ((value >> bits.at % 8) & ((1 << bits.width) - 1)) * bits.factor


def parse_metadata(text: str) -> Metadata:
    """Read metadata, in the old form (all keys side by side) or the new one (in groups).

    Raises:
        DecodeError: It is not metadata of a sensor, contradicts itself, or names a profile that is not read; cause
            ``metadata``.
    """
    if len(text) > _LONGEST_TEXT:
        raise DecodeError(f"the metadata of the Ouster sensor has {len(text)} characters", cause="metadata")
    try:
        return _metadata(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)[:300]
        raise DecodeError(f"the metadata of the Ouster sensor cannot be used: {what}", cause="metadata") from error


def _metadata(content: Mapping[str, Any]) -> Metadata:
    beams = content.get("beam_intrinsics", content)
    lidar = content.get("lidar_intrinsics", content)
    layout = content.get("lidar_data_format", content.get("data_format", {}))
    chosen = layout.get("udp_profile_lidar", content.get("config_params", {}).get("udp_profile_lidar", "LEGACY"))
    profile = _SINGLE_RETURN_ALIASES.get(chosen, chosen)
    if profile not in PROFILES:
        raise ValueError(f"udp_profile_lidar is {str(chosen)[:60]!r}; those that are read: {', '.join(PROFILES)}")
    altitudes, azimuths = _numbers(beams["beam_altitude_angles"]), _numbers(beams["beam_azimuth_angles"])
    columns = layout.get("columns_per_frame") or int(str(content["lidar_mode"]).partition("x")[0])
    a_packet, rows = layout.get("columns_per_packet", 16), layout.get("pixels_per_column", len(altitudes))
    for name, value, most in (
        ("columns_per_frame", columns, _MOST_COLUMNS),
        ("columns_per_packet", a_packet, _MOST_COLUMNS_A_PACKET),
        ("pixels_per_column", rows, _MOST_ROWS),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
            raise ValueError(f"{name} is {str(value)[:40]}, not 1 to {most}")
    if not rows == len(altitudes) == len(azimuths):
        raise ValueError(f"{len(altitudes)} altitudes and {len(azimuths)} azimuths for {rows} beams")
    beam = _numbers(beams.get("beam_to_lidar_transform") or ())
    if beam and len(beam) != 16:
        raise ValueError(f"beam_to_lidar_transform has {len(beam)} numbers")
    origin = float(np.hypot(beam[3], beam[11])) if beam else float(beams.get("lidar_origin_to_beam_origin_mm", 0.0))
    pose = _numbers(lidar["lidar_to_sensor_transform"])
    if len(pose) != 16 or not np.isfinite([origin, *pose, *altitudes, *azimuths]).all():
        raise ValueError("lidar_to_sensor_transform is not 16 finite numbers, or an angle is not finite")
    return Metadata(profile, columns, a_packet, altitudes, azimuths, origin, beam[11] if beam else 0.0, pose)


def _numbers(values: Sequence[Any]) -> tuple[float, ...]:
    """Return numbers; matrices come by rows, flat or nested."""
    if len(values) > 4 * _MOST_ROWS:
        raise ValueError(f"{len(values)} numbers")
    return tuple(float(value) for value in np.asarray(values, np.float64).reshape(-1))
