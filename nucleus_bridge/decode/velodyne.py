# SPDX-License-Identifier: Apache-2.0
"""Velodyne packets to sweeps: one a VelodyneScan, as the driver cuts them, with point times from the device's clock."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.config.settings import LidarConfig
from nucleus_bridge.decode.cdr import naming, peek_header
from nucleus_bridge.decode.cdr_reader import CdrReader, load_extra
from nucleus_bridge.decode.cloud_message import message_of_points, with_times_in
from nucleus_bridge.decode.interface import Interface, Reset
from nucleus_bridge.decode.pointcloud2 import decode_sweep
from nucleus_bridge.errors import CloudError, ConfigError
from nucleus_bridge.model import IntArray, Message, Sweep

VELODYNE_SCAN = "velodyne_msgs/msg/VelodyneScan"
TIME_FIELD = "t"
PACKET_BYTES = 1206
PRODUCTS = {0x21: "HDL32E", 0x22: "VLP16", 0x24: "PuckHiRes", 0x28: "VLP32C", 0xA1: "VLS128"}
"""Models by the last byte of a packet; those that are not here have none (HDL-64E), or are not known."""

_PRODUCT_OF = {model: product for product, model in PRODUCTS.items()}
_PACKET = np.dtype([("sec", "i4"), ("nanosec", "u4"), ("data", "u1", (PACKET_BYTES,))])
_MOST_PACKETS = 10_000
_MICROSECONDS, _PRODUCT = slice(1200, 1204), 1205
_HOUR_US = 3_600_000_000
_LONGEST_SCAN_US = 2_000_000
_NS_PER_S, _NS_PER_US = 1_000_000_000, 1_000
_POINT = np.dtype(
    [
        ("x", "<f4"),
        ("y", "<f4"),
        ("z", "<f4"),
        ("intensity", "u1"),
        ("ring", "<u2"),
        ("return_type", "u1"),
        (TIME_FIELD, "<i4"),
    ]
)


class VelodyneDecoder:
    """The scans of one topic, by the library ``velodyne-decoder``; both returns of a dual one.

    Points without a return are left out. A point's time is that of its firing on the device's clock, which is tied to
    the stamps once a scan: by the packet that was the least delayed on its way, since stamps of packets come in bursts.
    """

    def __init__(self, config: LidarConfig) -> None:
        """Set up the library.

        Raises:
            ConfigError: ``model`` is none that is known, or ``calibration_file`` cannot be used.
            InputError: The library is not installed.
        """
        self._lidar = with_times_in(config, TIME_FIELD)
        self._library = load_extra("velodyne_decoder", "packets", "reading Velodyne packets")
        # It complains at length on stderr of whatever a last look for cycles, which the command spares, would free.
        atexit.unregister(gc.freeze)
        self._model = self._model_of(config)
        self._settings = self._configuration(config)
        self._decoders: dict[int, Any] = {}

    def _model_of(self, config: LidarConfig) -> str:
        if not config.model:
            return ""
        models = [name for name in dir(self._library.Model) if name[0].isupper()]
        known = {_plain(name): name for name in models}
        if _plain(config.model) not in known:
            raise ConfigError(f"lidars.{config.name}.model is {config.model!r}; use one of {', '.join(models)}")
        return known[_plain(config.model)]

    def _configuration(self, config: LidarConfig) -> Any:
        chosen = self._library.Config()
        if self._model:
            chosen.model = getattr(self._library.Model, self._model)
        if config.calibration_file:
            try:
                Path(config.calibration_file).read_bytes()
                chosen.calibration = self._library.Calibration.read(config.calibration_file)
            except Exception as error:  # those of the library have no common base
                raise ConfigError(
                    f"lidars.{config.name}.calibration_file: {config.calibration_file}: {str(error)[:200]}"
                ) from error
        return chosen

    def decode(self, message: Message) -> Iterable[Sweep]:
        """Return the scan's sweep; raises what ``as_cloud`` and ``decode_sweep`` raise."""
        return (decode_sweep(self.as_cloud(message), self._lidar),)

    def reset(self, why: Reset) -> Iterable[Sweep]:  # noqa: ARG002 - there is nothing to forget
        """Do nothing: a scan stands for itself."""
        return ()

    def flush(self) -> Iterable[Sweep]:
        """Return nothing: nothing is held back."""
        return ()

    def as_cloud(self, message: Message) -> Message:
        """Turn a VelodyneScan into a PointCloud2 with point times in nanoseconds from ``header.stamp``.

        Raises:
            CloudError: There are no packets or no returns (``empty_cloud``), the model is not known or contradicts the
                configured one (``model``), or the packets are damaged.
            DecodeError: The bytes are not a message of that type.
        """
        with naming(message):
            reader = CdrReader(message)
            stamp_ns, frame_id = reader.header()
            packets = reader.records(_PACKET, alignment=4)
            if not 0 < len(packets) <= _MOST_PACKETS:
                raise CloudError(f"the scan has {len(packets)} packets", cause="empty_cloud")
            data = self._checked(packets["data"])
            times_ns = _packet_times(packets, stamp_ns, is_end=self._lidar.stamp == "end")
            points = self._points(data, times_ns, stamp_ns)
            if not len(points):
                raise CloudError("no ray of the scan came back", cause="empty_cloud")
            return message_of_points(message, stamp_ns, frame_id, points)

    def _checked(self, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Check the model; one that was configured is written into packets that do not name it."""
        product = int(data[0, _PRODUCT])
        told = PRODUCTS.get(product, "")
        if not self._model and not told:
            raise CloudError(
                f"the packets do not say which model they are of (product {product:#04x}); set "
                f"lidars.{self._lidar.name}.model and, where it is an HDL-64E, calibration_file",
                cause="model",
            )
        if self._model and told and self._model != told:
            raise CloudError(
                f"the packets are of a {told}, and lidars.{self._lidar.name}.model is {self._model}", cause="model"
            )
        if not told and self._model in _PRODUCT_OF:
            data = data.copy()
            data[:, _PRODUCT] = _PRODUCT_OF[self._model]
        if (data[:, _PRODUCT] != data[0, _PRODUCT]).any():
            raise CloudError("the packets of a scan are of several models", cause="model")
        return data

    def _points(self, data: NDArray[np.uint8], times_ns: IntArray, stamp_ns: int) -> NDArray[np.void]:
        packet, product = self._library.VelodynePacket, int(data[0, _PRODUCT])
        decoder = self._decoders.get(product)
        if decoder is None:
            decoder = self._decoders[product] = self._library.ScanDecoder(self._settings)
        first_ns = int(times_ns.min())
        # From the first packet: floats of seconds since 1970 resolve no more than 0.2 us, and the hour may end.
        seconds = ((times_ns - first_ns) / _NS_PER_S).tolist()
        data = data.copy()
        data[:, _MICROSECONDS] = ((times_ns - first_ns) // _NS_PER_US).astype("<u4")[:, None].view(np.uint8)
        scan = [packet(second, octets.tobytes()) for second, octets in zip(seconds, data, strict=True)]
        try:
            stamps, found = decoder.decode(scan, as_pcl_structs=True)
        except Exception as error:  # those of the library have no common base
            raise CloudError(f"the packets cannot be decoded: {str(error)[:200]}") from error
        points: NDArray[np.void] = np.zeros(len(found), _POINT)
        for name in ("x", "y", "z", "intensity", "ring", "return_type"):
            points[name] = found[name]
        since_first = np.rint((stamps.host + found["time"].astype(np.float64)) * _NS_PER_S).astype(np.int64)
        since_stamp = since_first + (first_ns - stamp_ns)
        if len(since_stamp) and not -(2**31) <= since_stamp.min() <= since_stamp.max() < 2**31:
            raise CloudError("the packets' stamps are more than two seconds from header.stamp", cause="point_time")
        points[TIME_FIELD] = since_stamp
        return points


def _packet_times(packets: NDArray[np.void], stamp_ns: int, *, is_end: bool) -> IntArray:
    """Return when each packet was sent, shape (n,), ns: spaced by the device's clock, placed by the stamps."""
    host_ns: IntArray = packets["sec"].astype(np.int64) * _NS_PER_S + packets["nanosec"]
    microseconds = np.ascontiguousarray(packets["data"][:, _MICROSECONDS]).view("<u4")[:, 0].astype(np.int64)
    steps = np.diff(microseconds, prepend=microseconds[0])
    steps[steps < -_HOUR_US // 2] += _HOUR_US
    device_ns: IntArray = np.cumsum(steps) * _NS_PER_US
    is_stamped = bool((host_ns > 0).all())
    if bool((steps < 0).any()) or not 0 < device_ns[-1] + (len(steps) == 1) <= _LONGEST_SCAN_US * _NS_PER_US:
        if is_stamped:
            return host_ns  # the device's clock stands still or jumps
        raise CloudError("neither the packets' stamps nor their device times can be used", cause="point_time")
    if is_stamped:
        return device_ns + int((host_ns - device_ns).min())
    return device_ns + stamp_ns - (int(device_ns[-1]) if is_end else 0)


def _plain(name: str) -> str:
    return name.replace("-", "").replace("_", "").replace(" ", "").upper()


def _decoder(config: LidarConfig) -> VelodyneDecoder:
    return VelodyneDecoder(config)


INTERFACES = (Interface(VELODYNE_SCAN, "cloud", _decoder, is_sample=True, depth=50, peek=peek_header, extra="packets"),)
