# SPDX-License-Identifier: Apache-2.0
"""Ouster packets to sweeps, by the sensor's metadata: one a frame of the sensor, each column at its own device time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.config.settings import LidarConfig
from nucleus_bridge.decode.cdr import STRING, naming
from nucleus_bridge.decode.cdr_reader import CdrReader
from nucleus_bridge.decode.cloud_message import message_of_points, with_times_in
from nucleus_bridge.decode.interface import Companion, Interface, Reset
from nucleus_bridge.decode.ouster_metadata import Metadata, parse_metadata
from nucleus_bridge.decode.pointcloud2 import decode_sweep
from nucleus_bridge.errors import CloudError, ConfigError, DecodeError
from nucleus_bridge.model import IntArray, Message

PACKET_MSG = tuple(f"{package}/msg/PacketMsg" for package in ("ouster_sensor_msgs", "ouster_ros", "ouster_msgs"))
FRAME_ID = "os_sensor"
"""The driver's name of the frame that the coordinates are in; packets do not say."""

TIME_FIELD = "t"
_FRAMES = 1 << 16
_MOST_PACKETS = 4096
# A device that was not told the time counts from its start. No recording is older than this.
_OLDEST_STAMP_NS = 946_684_800_000_000_000
_POINT = np.dtype(
    [
        ("x", "<f4"),
        ("y", "<f4"),
        ("z", "<f4"),
        ("intensity", "u1"),
        ("return_type", "u1"),
        ("ring", "<u2"),
        ("signal", "<u2"),
        ("near_ir", "<u2"),
        (TIME_FIELD, "<u4"),
    ]
)


class OusterDecoder:
    """The frames of one topic. A frame is complete when a packet of a later one comes, or at the end of data.

    ``intensity`` is the calibrated reflectivity, 0 to 255. Pixels without a return are left out, second returns are
    points of ``return_type`` 1. The sweep's stamp is the time of its first column. A device that counts from its own
    start is placed by the log times: by the packet of the frame that was the least delayed on its way.
    """

    def __init__(self, config: LidarConfig) -> None:
        """Read the metadata file, if there is one.

        Raises:
            ConfigError: It cannot be used.
        """
        self._lidar = with_times_in(config, TIME_FIELD)
        self._metadata: Metadata | None = None
        self._packets: list[tuple[bytes, int]] = []
        self._frame: int | None = None
        self._last: Message | None = None
        if config.metadata_file:
            path, name = Path(config.metadata_file), f"lidars.{config.name}.metadata_file"
            try:
                self._metadata = parse_metadata(path.read_text(encoding="utf-8"))
            except OSError as error:
                raise ConfigError(f"{name}: {path}: {error.strerror or error}") from error
            except (DecodeError, UnicodeDecodeError) as error:
                raise ConfigError(f"{name}: {path}: {error}") from error

    def decode(self, message: Message) -> Iterable[Any]:
        """Return the sweep that a packet completes, which is that before its own; take metadata as well.

        Raises:
            CloudError: ``cause`` is ``no_metadata``, ``damaged`` (also of another size than the metadata tells), or
                ``late`` for a packet of a frame that is over.
            DecodeError: The bytes are not a message of that type, or the metadata cannot be used (``metadata``).
        """
        with naming(message):
            reader = CdrReader(message)
            if message.type_name == STRING:
                return self._take_metadata(reader.text())
            octets = bytes(reader.octets())
            metadata = self._metadata
            if metadata is None:
                raise CloudError(
                    "packets cannot be read without the sensor's metadata: record its topic, or set "
                    f"lidars.{self._lidar.name}.metadata_file",
                    cause="no_metadata",
                )
            if len(octets) != metadata.packet_bytes:
                raise CloudError(f"a packet of {len(octets)} bytes; the metadata says {metadata.packet_bytes}")
            return self._take(message, octets, metadata.frame_of(octets))

    def reset(self, why: Reset) -> Iterable[Any]:  # noqa: ARG002 - a frame never goes on after any of them
        """Give out the frame so far."""
        return self.flush()

    def flush(self) -> Iterable[Any]:
        """Give out the last frame."""
        sweep = self._sweep()
        self._frame = None
        return sweep

    def _take_metadata(self, text: str) -> Iterable[Any]:
        if self._lidar.metadata_file:
            return ()
        metadata = parse_metadata(text)
        sweep: Iterable[Any] = ()
        if metadata != self._metadata:
            sweep = self.flush()
        self._metadata = metadata
        return sweep

    def _take(self, message: Message, octets: bytes, frame: int) -> Iterable[Any]:
        sweep: Iterable[Any] = ()
        if frame != self._frame:
            if self._frame is not None and (self._frame - frame) % _FRAMES < _FRAMES // 2:
                raise CloudError(f"a packet of frame {frame} comes after frame {self._frame} began", cause="late")
            sweep = self._sweep()
            self._frame = frame
        if len(self._packets) >= _MOST_PACKETS:
            raise CloudError(f"frame {frame} has more than {_MOST_PACKETS} packets")
        self._packets.append((octets, message.log_ns))
        self._last = message
        return sweep

    def _sweep(self) -> Iterable[Any]:
        """Make a sweep of the packets so far; a frame without a return is an error in its place."""
        packets, self._packets = self._packets, []
        if not packets or self._metadata is None or self._last is None:
            return ()
        try:
            with naming(self._last):
                return (decode_sweep(self._cloud(packets, self._metadata, self._last), self._lidar),)
        except DecodeError as error:
            return (error,)

    def _cloud(self, packets: list[tuple[bytes, int]], metadata: Metadata, last: Message) -> Message:
        columns = metadata.columns(b"".join(octets for octets, _ in packets))
        columns = columns[columns["is_good"]]
        if not len(columns):
            raise CloudError("no column of the frame is good", cause="empty_cloud")
        times_ns = columns["time_ns"].astype(np.int64)
        start_ns = int(times_ns.min())
        if not 0 <= int(times_ns.max()) - start_ns < 1 << 32:
            raise CloudError("the columns of a frame are more than four seconds apart", cause="point_time")
        shift_ns = 0
        if start_ns < _OLDEST_STAMP_NS:
            shift_ns = _least_delay(packets, metadata)
        points = _points(columns, metadata, times_ns - start_ns)
        if not len(points):
            raise CloudError("no ray of the frame came back", cause="empty_cloud")
        return message_of_points(last, start_ns + shift_ns, FRAME_ID, points)


def _least_delay(packets: list[tuple[bytes, int]], metadata: Metadata) -> int:
    """Return the smallest difference between a packet's log time and the device time of its last column, ns."""
    delays = []
    for octets, log_ns in packets:
        columns = metadata.columns(octets)
        columns = columns[columns["is_good"]]
        if len(columns):
            delays.append(log_ns - int(columns["time_ns"].max()))
    return min(delays, default=0)


def _points(columns: NDArray[np.void], metadata: Metadata, since_ns: IntArray) -> NDArray[np.void]:
    """Return the returns of some columns, column by column."""
    parts = []
    direction, origin = metadata.rays(columns["measurement"])
    for number, (range_mm, reflectivity, signal, near_ir) in enumerate(metadata.returns(columns["pixels"])):
        column, ring = np.nonzero(range_mm)
        points: NDArray[np.void] = np.zeros(len(column), _POINT)
        distance = range_mm[column, ring].astype(np.float64)[:, None]
        xyz = distance * direction[column, ring] + origin[column, ring]
        points["x"], points["y"], points["z"] = xyz.T
        points["intensity"] = reflectivity[column, ring]
        points["return_type"] = number
        points["ring"] = ring
        points["signal"] = signal[column, ring]
        points["near_ir"] = near_ir[column, ring]
        points[TIME_FIELD] = since_ns[column]
        parts.append(points)
    return np.concatenate(parts)


def is_start(message: Message) -> bool:
    """Return whether a packet begins a frame: its first column is number 0."""
    try:
        octets = bytes(CdrReader(message).octets()[:48])
    except DecodeError:
        return False
    begin = 8 if octets[:2] != b"\x01\x00" else 40  # the first profile has no packet header, others say that they do
    return octets[begin : begin + 2] == b"\0\0"


def metadata_topic(lidar: LidarConfig) -> str:
    """Return the topic of the metadata: configured, or ``metadata`` beside the packets; "" where a file replaces it."""
    if lidar.metadata_file:
        return ""
    return lidar.metadata_topic or f"{lidar.topic.rpartition('/')[0]}/metadata"


INTERFACES = tuple(
    Interface(
        name,
        "cloud",
        OusterDecoder,
        is_sample=True,
        depth=2048,
        is_start=is_start,
        peek=None,
        companion=Companion(STRING, metadata_topic, "metadata_topic"),
        other_topics=("imu_packets",),
    )
    for name in PACKET_MSG
)
