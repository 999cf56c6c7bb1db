# SPDX-License-Identifier: Apache-2.0
"""Velodyne packets: a recorded VLP-16 beside another decoder's points, and scans whose stamps and clocks misbehave."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.typesys import get_types_from_msg
from serialised import STAMP_NS, STORE, header

from nucleus_bridge.config.settings import LidarConfig
from nucleus_bridge.decode.velodyne import PRODUCTS, VELODYNE_SCAN, VelodyneDecoder
from nucleus_bridge.errors import CloudError, ConfigError, DecodeError, InputError
from nucleus_bridge.model import Message, Sweep
from nucleus_bridge.recordings import open_recording

REAL = Path(os.environ.get("NUCLEUS_BRIDGE_TEST_DATA", "/nowhere"), "inputs", "real")
NEEDS_DATA = pytest.mark.skipif(not REAL.exists(), reason="NUCLEUS_BRIDGE_TEST_DATA is not set")
PACKETS, PACKET_US = 76, 1327
WALL_M = 12.0
DEFINITION = (
    "std_msgs/Header header\nVelodynePacket[] packets\n"
    + "=" * 80
    + "\nMSG: velodyne_msgs/VelodynePacket\nbuiltin_interfaces/Time stamp\nuint8[1206] data\n"
)
STORE.register(get_types_from_msg(DEFINITION, VELODYNE_SCAN))


def scan(
    product: int = 0x22,
    device_us: int = 600_000_000,
    packets: int = PACKETS,
    stamps_ns: Any = None,
    header_ns: int = STAMP_NS,
    little_endian: bool = True,
) -> Message:
    """Make a turn inside a round wall: 12 blocks a packet, 32 rays a block."""
    if stamps_ns is None:
        stamps_ns = [STAMP_NS + n * PACKET_US * 1000 for n in range(packets)]
    rows = []
    for n in range(packets):
        blocks = b"".join(
            b"\xff\xee"
            + (((n * 12 + b) * 36000 // (packets * 12)) % 36000).to_bytes(2, "little")
            + (round(WALL_M / 0.002).to_bytes(2, "little") + b"\x50") * 32
            for b in range(12)
        )
        clock = ((device_us + n * PACKET_US) % 3_600_000_000).to_bytes(4, "little")
        data = np.frombuffer(blocks + clock + bytes([0x37, product]), np.uint8)
        rows.append(STORE.types["velodyne_msgs/msg/VelodynePacket"](stamp=header(stamps_ns[n]).stamp, data=data))
    content = STORE.types[VELODYNE_SCAN](header=header(header_ns, "velodyne"), packets=rows)
    data = STORE.serialize_cdr(content, VELODYNE_SCAN, little_endian=little_endian)
    return Message("/velodyne_packets", VELODYNE_SCAN, STAMP_NS + 110_000_000, bytes(data))


def decode(message: Message, **settings: Any) -> Sweep:
    (sweep,) = VelodyneDecoder(LidarConfig(name="top", topic="/velodyne_packets", **settings)).decode(message)
    assert isinstance(sweep, Sweep)
    return sweep


@NEEDS_DATA
def test_a_recorded_vlp_16_has_the_points_that_nebula_found() -> None:
    decoder = VelodyneDecoder(LidarConfig(name="top", topic="/velodyne_packets"))
    with open_recording(REAL / "nebula_vlp16") as recording:
        sweeps = [sweep for message in recording.messages(["/velodyne_packets"]) for sweep in decoder.decode(message)]
    assert [len(sweep.points) for sweep in sweeps] == [14_885, 14_845, 14_868, 14_816]
    found, truth = _xyz(sweeps[-1].points), _xyz(_pcd(REAL / "nebula_vlp16.pcd"))[::5]
    distance = np.concatenate([_nearest(truth[n : n + 500], found) for n in range(0, len(truth), 500)])
    assert np.median(distance) < 0.006
    assert np.quantile(distance, 0.99) < 0.025
    for sweep in sweeps:  # header.stamp is that of the first packet, and a turn takes 0.1 s
        assert abs(sweep.first_ns - sweep.stamp_ns) < 10_000
        assert 0.099e9 < sweep.last_ns - sweep.first_ns < 0.1005e9


def _xyz(points: np.ndarray) -> np.ndarray:
    return np.stack([points[axis] for axis in "xyz"], axis=1)


def _nearest(some: np.ndarray, all_: np.ndarray) -> np.ndarray:
    return np.sqrt(((some[:, None] - all_[None]) ** 2).sum(axis=-1).min(axis=1))


def _pcd(path: Path) -> np.ndarray:
    raw = path.read_bytes()
    lines = dict(line.split(" ", 1) for line in raw[: raw.index(b"\nDATA")].decode().splitlines() if line[0] != "#")
    kinds = zip(lines["FIELDS"].split(), lines["TYPE"].lower().split(), lines["SIZE"].split(), strict=True)
    dtype = np.dtype([(name, f"<{kind}{size}") for name, kind, size in kinds])
    return np.frombuffer(raw[raw.index(b"DATA binary\n") + 12 :], dtype, int(lines["POINTS"]))


@pytest.mark.parametrize("product", [0x22, 0x28])
@pytest.mark.parametrize("little_endian", [True, False])
def test_a_round_wall_is_round_and_each_point_has_the_time_of_its_firing(product: int, little_endian: bool) -> None:
    sweep = decode(scan(product, little_endian=little_endian))
    points = sweep.points
    scale = 2 if product == 0x28 else 1  # its unit is 4 mm
    distance = np.linalg.norm(_xyz(points), axis=1)
    assert np.abs(distance - scale * WALL_M).max() < 0.1
    assert (points["intensity"] == 0x50).all()
    assert sweep.stamp_ns == STAMP_NS
    turned = -np.unwrap(np.arctan2(points["y"], points["x"]).astype(float)[points["ring"] == points["ring"].max()])
    assert np.polyfit(points["t"][points["ring"] == points["ring"].max()], turned, 1)[0] > 0
    assert 0 <= points["t"].min() < 100_000
    assert abs(points["t"].max() - PACKETS * PACKET_US * 1000) < 1_400_000


def test_stamps_that_come_in_bursts_do_not_move_the_points() -> None:
    even = decode(scan())
    late = [STAMP_NS + n * PACKET_US * 1000 + (n % 4 != 3) * 2_000_000 for n in range(PACKETS)]
    burst = decode(scan(stamps_ns=late))
    assert np.array_equal(burst.points["t"], even.points["t"])


def test_the_devices_hour_may_end_within_a_scan() -> None:
    before, across = decode(scan()), decode(scan(device_us=3_599_950_000))
    assert np.array_equal(before.points["t"], across.points["t"])


def test_a_clock_of_the_device_that_stands_still_leaves_the_stamps() -> None:
    message = scan()
    data = bytearray(message.data)
    at = 4 + 8 + 4 + 12 + 4
    for n in range(PACKETS):
        data[at + n * 1216 + 8 + 1200 : at + n * 1216 + 8 + 1204] = b"\0\0\0\0"
    frozen = decode(Message(message.topic, message.type_name, 0, bytes(data)))
    assert np.abs(frozen.points["t"] - decode(scan()).points["t"]).max() < 1000


@pytest.mark.parametrize(("stamp", "first_ns"), [("start", 0), ("end", -(PACKETS - 1) * PACKET_US * 1000)])
def test_packets_without_stamps_count_from_the_header(stamp: str, first_ns: int) -> None:
    sweep = decode(scan(stamps_ns=[0] * PACKETS), stamp=stamp)
    assert abs(sweep.first_ns - STAMP_NS - first_ns) < 100_000


def test_a_stamp_of_the_last_packet_gives_negative_times() -> None:
    end_ns = STAMP_NS + (PACKETS - 1) * PACKET_US * 1000
    sweep = decode(scan(header_ns=end_ns), stamp="end")
    assert sweep.stamp_ns == end_ns
    assert abs(sweep.first_ns - STAMP_NS) < 100_000


def test_one_decoder_gives_what_a_fresh_one_gives() -> None:
    decoder = VelodyneDecoder(LidarConfig(name="top", topic="/velodyne_packets"))
    messages = [scan(), scan(packets=40), scan(0x28), scan()]
    again = [next(iter(decoder.decode(message))) for message in messages]
    for sweep, message in zip(again, messages, strict=True):
        assert np.array_equal(sweep.points, decode(message).points)


def test_a_model_that_the_packets_do_not_tell_must_be_configured() -> None:
    with pytest.raises(CloudError, match=r"lidars\.top\.model") as caught:
        decode(scan(0x00))
    assert caught.value.cause == "model"
    assert len(decode(scan(0x00), model="VLP-16").points) > 0


def test_a_model_that_contradicts_the_packets_is_refused() -> None:
    with pytest.raises(CloudError, match=r"of a VLP16, and lidars\.top\.model is VLP32C") as caught:
        decode(scan(), model="vlp32c")
    assert caught.value.cause == "model"


def test_settings_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lidars\.top\.model is 'OS1'; use one of .*VLP16"):
        decode(scan(), model="OS1")
    broken = tmp_path / "calibration.yaml"
    broken.write_text("lasers: nonsense", encoding="utf-8")
    for path in (broken, tmp_path / "missing.yaml"):
        with pytest.raises(ConfigError, match=r"lidars\.top\.calibration_file"):
            decode(scan(), calibration_file=str(path))


@pytest.mark.parametrize("product", PRODUCTS)
def test_every_known_product_is_decoded(product: int) -> None:
    assert len(decode(scan(product)).points) > 0


def test_a_scan_without_packets_or_returns_is_empty() -> None:
    message = scan()
    without_returns = message.data.replace(round(WALL_M / 0.002).to_bytes(2, "little") + b"\x50", b"\0\0\0")
    for data in (scan(packets=0).data, without_returns):
        with pytest.raises(CloudError) as caught:
            decode(Message(message.topic, message.type_name, 0, data))
        assert caught.value.cause == "empty_cloud"


def test_a_cut_scan_is_refused() -> None:
    message = scan(packets=3)
    for length in range(0, len(message.data), 7):
        with pytest.raises(DecodeError):
            decode(Message(message.topic, message.type_name, 0, message.data[:length]))


def test_a_missing_library_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "velodyne_decoder", None)
    with pytest.raises(InputError, match=r"pip install 'nucleus-bridge\[packets\]'"):
        decode(scan())
