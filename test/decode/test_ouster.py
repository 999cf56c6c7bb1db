# SPDX-License-Identifier: Apache-2.0
"""Ouster packets beside the values that Ouster's own library computed, and packets of every layout made by hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.typesys import get_types_from_msg
from serialised import STORE

from nucleus_bridge.config.settings import LidarConfig
from nucleus_bridge.decode.ouster import INTERFACES, PACKET_MSG, STRING, OusterDecoder, is_start, metadata_topic
from nucleus_bridge.decode.ouster_metadata import PROFILES, parse_metadata
from nucleus_bridge.errors import ConfigError, DecodeError
from nucleus_bridge.model import Message, Sweep
from nucleus_bridge.recordings import open_recording

OUSTER = Path(os.environ.get("NUCLEUS_BRIDGE_TEST_DATA", "/nowhere"), "inputs", "real", "ouster")
NEEDS_DATA = pytest.mark.skipif(not OUSTER.exists(), reason="NUCLEUS_BRIDGE_TEST_DATA is not set")
LIDAR = LidarConfig(name="top", topic="/ouster/lidar_packets")
LOG_NS, START_NS = 1_700_000_000_200_000_000, 1_700_000_000_100_000_000
COLUMNS, A_PACKET, ROWS, STEP_NS = 32, 8, 4, 3_125_000
for _name in PACKET_MSG:
    STORE.register(get_types_from_msg("uint8[] buf\n", _name))


def metadata_text(profile: str, **changes: Any) -> str:
    return json.dumps(
        {
            "beam_intrinsics": {
                "beam_altitude_angles": [15.0, 5.0, -5.0, -15.0],
                "beam_azimuth_angles": [4.0, 1.0, -1.0, -4.0],
                "beam_to_lidar_transform": [1, 0, 0, 27.67, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1],
            },
            "lidar_data_format": {
                "columns_per_frame": COLUMNS,
                "columns_per_packet": A_PACKET,
                "pixels_per_column": ROWS,
                "udp_profile_lidar": profile,
            },
            "lidar_intrinsics": {"lidar_to_sensor_transform": [-1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1, 36, 0, 0, 0, 1]},
            **changes,
        }
    )


def metadata_message(text: str) -> Message:
    content = STORE.types[STRING](data=text)
    return Message("/ouster/metadata", STRING, LOG_NS, bytes(STORE.serialize_cdr(content, STRING)))


def packet_message(octets: bytes, log_ns: int = LOG_NS, type_name: str = PACKET_MSG[0]) -> Message:
    content = STORE.types[type_name](buf=np.frombuffer(octets, np.uint8))
    return Message("/ouster/lidar_packets", type_name, log_ns, bytes(STORE.serialize_cdr(content, type_name)))


def pixel(profile: str, column: int, row: int) -> bytes:
    """Write the bits of a pixel: ranges of 8 (column + row + 1) mm times 100, reflectivity 10 row."""
    layout = PROFILES[profile]
    word = 0
    for number, seen in enumerate(layout.returns):
        distance = 800 * (column + row + 1) * (number + 1)
        word |= (distance // seen.range_mm.factor) << seen.range_mm.at
        word |= (10 * row + number) << seen.reflectivity.at
        if seen.signal:
            word |= (1000 + row) << seen.signal.at
    word |= (column // layout.near_ir.factor) << layout.near_ir.at
    return word.to_bytes(layout.pixel_bytes, "little")


def packets(profile: str, frame: int = 7, start_ns: int = START_NS) -> list[bytes]:
    """Return the packets of one whole frame."""
    layout, made = PROFILES[profile], []
    for first in range(0, COLUMNS, A_PACKET):
        out = bytearray()
        if layout.header_bytes:
            at, size = layout.frame_at
            header = bytearray(layout.header_bytes)
            header[0:2] = b"\x01\x00"
            header[at : at + size] = frame.to_bytes(size, "little")
            out += header
        for column in range(first, first + A_PACKET):
            out += (start_ns + column * STEP_NS).to_bytes(8, "little") + column.to_bytes(2, "little")
            out += (frame % 65536).to_bytes(2, "little") + bytes(4) if not layout.header_bytes else b"\x01\x00"
            out += b"".join(pixel(profile, column, row) for row in range(ROWS))
            out += b"" if layout.header_bytes else b"\xff\xff\xff\xff"
        made.append(bytes(out) + bytes(layout.header_bytes))
    return made


def decode(messages: list[Message], lidar: LidarConfig = LIDAR) -> list[Any]:
    decoder = OusterDecoder(lidar)
    return [sample for message in messages for sample in decoder.decode(message)] + list(decoder.flush())


def frame_messages(profile: str, frame: int = 7, start_ns: int = START_NS) -> list[Message]:
    return [packet_message(octets) for octets in packets(profile, frame, start_ns)]


@NEEDS_DATA
@pytest.mark.parametrize(
    ("name", "namespace", "returns"), [("legacy_os2_32", "/ouster", 28_541), ("lowband_os0_128", "/os_node", 97_299)]
)
def test_recorded_packets_give_the_points_of_ousters_own_library(name: str, namespace: str, returns: int) -> None:
    expected = np.load(OUSTER / f"{name}.expected.npz")
    (sweep,) = _sweeps(OUSTER / name, namespace)
    points = sweep.points
    assert len(points) == returns
    since_ns = expected["column_time_ns"].astype(np.int64) - int(expected["column_time_ns"].min())
    number, ring = np.nonzero(expected["range_mm"].T)
    wanted = since_ns[expected["columns"][number]] * 256 + ring
    mine = points["t"].astype(np.int64) * 256 + points["ring"]
    order = np.argsort(mine)
    found = order[np.searchsorted(mine, wanted, sorter=order)]
    assert np.array_equal(mine[found], wanted)
    assert np.isin(points["t"], since_ns[expected["columns"]]).sum() == len(wanted)
    xyz = np.stack([points[axis][found] for axis in "xyz"], axis=1)
    # Both are rounded to 32 bits, which resolve 4 um at 64 m.
    assert np.abs(xyz - expected["xyz_m"][ring, number]).max() < 1e-6 + 2**-24 * np.abs(expected["xyz_m"]).max()
    assert np.array_equal(points["intensity"][found], expected["reflectivity"][ring, number])


@NEEDS_DATA
def test_a_recorded_sensor_without_a_clock_is_placed_by_the_log_times() -> None:
    (sweep,) = _sweeps(OUSTER / "lowband_os0_128", "/os_node")
    assert sweep.stamp_ns < 1_650_408_694_000_000_000
    assert sweep.last_ns - sweep.first_ns == pytest.approx(99_865_050, abs=1000)


def _sweeps(folder: Path, namespace: str) -> list[Sweep]:
    with open_recording(folder) as recording:
        metadata = list(recording.messages([f"{namespace}/metadata"]))
        return decode([*metadata, *recording.messages([f"{namespace}/lidar_packets"])])


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_gives_ranges_reflectivity_times_and_rings(profile: str) -> None:
    (sweep,) = decode([metadata_message(metadata_text(profile)), *frame_messages(profile)])
    points, returns = sweep.points, len(PROFILES[profile].returns)
    assert len(points) == returns * COLUMNS * ROWS
    assert (sweep.stamp_ns, sweep.frame_id) == (START_NS, "os_sensor")
    assert sweep.last_ns - START_NS == 31 * STEP_NS
    column, ring, number = points["t"] // STEP_NS, points["ring"].astype(int), points["return_type"].astype(int)
    distance = np.sqrt(points["x"] ** 2 + points["y"] ** 2 + (points["z"] - 0.036) ** 2)
    assert np.abs(distance - 0.8 * (column + ring + 1) * (number + 1)).max() < 0.03
    assert (points["intensity"] == 10 * ring + number).all()
    assert (points["near_ir"] == column // PROFILES[profile].near_ir.factor * PROFILES[profile].near_ir.factor).all()


def test_the_first_column_looks_against_x_of_the_sensor_and_turns_clockwise() -> None:
    (sweep,) = decode([metadata_message(metadata_text("RNG15_RFL8_NIR8")), *frame_messages("RNG15_RFL8_NIR8")])
    bearing = np.degrees(np.arctan2(sweep.points["y"], sweep.points["x"]))
    first = bearing[(sweep.points["t"] == 0) & (sweep.points["ring"] == 1)]
    quarter = bearing[(sweep.points["t"] == 8 * STEP_NS) & (sweep.points["ring"] == 1)]
    assert abs(abs(first[0]) - 180.0) < 3.0
    assert abs(quarter[0] - 90.0) < 3.0


@pytest.mark.parametrize("type_name", PACKET_MSG)
def test_frames_are_cut_where_the_sensor_cuts_them_across_the_wrap_of_their_number(type_name: str) -> None:
    profile = "RNG19_RFL8_SIG16_NIR16"
    octets = [o for n, frame in enumerate((65534, 65535, 0, 1)) for o in packets(profile, frame, START_NS + n * 10**8)]
    messages = [packet_message(packet, type_name=type_name) for packet in octets[2:]]
    sweeps = decode([metadata_message(metadata_text(profile)), *messages])
    assert [len(sweep.points) for sweep in sweeps] == [64, 128, 128, 128]
    assert [is_start(message) for message in messages] == [n % 4 == 2 for n in range(14)]
    assert next(entry for entry in INTERFACES if entry.type_name == type_name).peek is None


def test_a_lost_packet_leaves_a_gap_in_its_frame_and_a_late_one_is_counted() -> None:
    profile = "LEGACY"
    first, second = frame_messages(profile, 7), frame_messages(profile, 8, START_NS + 10**8)
    decoder = OusterDecoder(LIDAR)
    samples = [
        sample
        for message in (metadata_message(metadata_text(profile)), *first[:2], first[3], *second[:2])
        for sample in decoder.decode(message)
    ]
    with pytest.raises(DecodeError) as caught:
        list(decoder.decode(first[2]))
    assert caught.value.cause == "late"
    samples += decoder.flush()
    assert [len(sample.points) for sample in samples] == [96, 64]


def test_packets_without_metadata_say_what_is_missing() -> None:
    with pytest.raises(DecodeError, match=r"lidars\.top\.metadata_file") as caught:
        decode(frame_messages("LEGACY"))
    assert caught.value.cause == "no_metadata"


def test_metadata_of_another_sensor_is_refused_packet_by_packet() -> None:
    with pytest.raises(DecodeError, match="the metadata says"):
        decode([metadata_message(metadata_text("RNG15_RFL8_NIR8_DUAL")), *frame_messages("LEGACY")])


def test_metadata_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "metadata.json"
    file.write_text(metadata_text("LEGACY"), encoding="utf-8")
    lidar = LidarConfig(name="top", topic="/ouster/lidar_packets", metadata_file=str(file))
    (sweep,) = decode(frame_messages("LEGACY"), lidar)
    assert len(sweep.points) == 128
    assert metadata_topic(lidar) == ""
    assert metadata_topic(LIDAR) == "/ouster/metadata"


@pytest.mark.parametrize("text", ["", "{}", "[1]", metadata_text("RNG19_NEW_FIELDS"), metadata_text("LEGACY")[:-40]])
def test_metadata_that_cannot_be_used_is_named(text: str, tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="metadata of the Ouster sensor") as caught:
        parse_metadata(text)
    assert caught.value.cause == "metadata"
    file = tmp_path / "metadata.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"lidars\.top\.metadata_file"):
        OusterDecoder(LidarConfig(name="top", topic="", metadata_file=str(file)))


def test_a_sensor_that_counts_from_its_start_is_placed_by_the_packet_that_was_least_delayed() -> None:
    octets = packets("LEGACY", start_ns=291_000_000_000)
    ready = [LOG_NS + (8 * n + 7) * STEP_NS for n in range(4)]
    delays = [9_000_000, 4_000_000, 6_000_000, 12_000_000]
    messages = [packet_message(o, at + late) for o, at, late in zip(octets, ready, delays, strict=True)]
    (sweep,) = decode([metadata_message(metadata_text("LEGACY")), *messages])
    assert sweep.stamp_ns == LOG_NS + 4_000_000
    assert sweep.last_ns - sweep.stamp_ns == 31 * STEP_NS
