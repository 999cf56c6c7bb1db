# SPDX-License-Identifier: Apache-2.0
"""Radars through the pipeline: where detections are, how fast over ground, how strong; and what the manifest says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bags import TYPES
from moments import FAST_S, FAST_TURN_S, Moments, record
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg

from nucleus_bridge.config import Config, config_from_values, load_config
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.decode.radar import RADAR_SCAN, RADAR_SCAN_DEFINITION, decode_radar
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.model import Frame, Message, RadarPoints
from nucleus_bridge.pipeline import FrameReady, Pipeline
from nucleus_bridge.testing.demo import DriveOptions

OPTIONS = DriveOptions(seconds=12.0, points=200, cameras=0, standing_s=0.0, radars=1)
TOPIC = "/radar/front/points"
CLOUD = "sensor_msgs/msg/PointCloud2"
NAMES = ("x", "y", "z", "vx", "vy", "vz", "vx_comp", "vy_comp", "vz_comp", "rcs")

TYPES.register(get_types_from_msg(RADAR_SCAN_DEFINITION, RADAR_SCAN))


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Moments:
    return record(tmp_path_factory.mktemp("radar"), OPTIONS, (FAST_TURN_S, FAST_S))


def detections(data: bytes) -> dict[str, np.ndarray]:
    """Read a demo scan's columns straight from its bytes."""
    cloud = TYPES.deserialize_cdr(data, CLOUD)
    rows = cloud.data.reshape(-1, cloud.point_step).copy().view("<f4").astype(float)
    return dict(zip(NAMES, rows.T, strict=True))


def cloud_of(data: bytes, columns: dict[str, np.ndarray]) -> bytes:
    """Put other columns in place of a scan's own."""
    cloud = TYPES.deserialize_cdr(data, CLOUD)
    field = TYPES.types["sensor_msgs/msg/PointField"]
    cloud.fields = [field(name, 4 * number, 7, 1) for number, name in enumerate(columns)]
    cloud.point_step = 4 * len(columns)
    cloud.width, cloud.row_step = len(columns["x" if "x" in columns else "range"]), 0
    cloud.row_step = cloud.width * cloud.point_step
    cloud.data = np.column_stack(list(columns.values())).astype("<f4").reshape(-1).view(np.uint8)
    return bytes(TYPES.serialize_cdr(cloud, CLOUD))


def polar(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    x, y, z = (columns[axis] for axis in "xyz")
    distance = np.sqrt(x**2 + y**2 + z**2)
    rate = (x * columns["vx"] + y * columns["vy"] + z * columns["vz"]) / distance
    elevation = np.arcsin(z / distance)
    return {"range": distance, "azimuth": np.arctan2(y, x), "elevation": elevation, "doppler_velocity": rate}


def relative(data: bytes) -> tuple[str, bytes]:
    columns = detections(data)
    return CLOUD, cloud_of(data, {name: columns[name] for name in ("x", "y", "z", "vx", "vy", "vz", "rcs")})


def over_ground(data: bytes) -> tuple[str, bytes]:
    columns = detections(data)
    kept = ("x", "y", "z", "vx_comp", "vy_comp", "vz_comp", "rcs")
    return CLOUD, cloud_of(data, {name: columns[name] for name in kept})


def radial(data: bytes) -> tuple[str, bytes]:
    columns = detections(data)
    kept = {name: columns[name] for name in ("x", "y", "z", "rcs")}
    return CLOUD, cloud_of(data, {**kept, "range_rate": polar(columns)["doppler_velocity"]})


def ranges(data: bytes) -> tuple[str, bytes]:
    columns = detections(data)
    return CLOUD, cloud_of(data, {**polar(columns), "rcs": columns["rcs"]})


def scan(data: bytes) -> tuple[str, bytes]:
    columns = detections(data)
    rows = np.column_stack([*polar(columns).values(), columns["rcs"]])
    header = TYPES.deserialize_cdr(data, CLOUD).header
    made = TYPES.types["radar_msgs/msg/RadarReturn"]
    message = TYPES.types[RADAR_SCAN](header, [made(*(float(value) for value in row)) for row in rows])
    return RADAR_SCAN, bytes(TYPES.serialize_cdr(message, RADAR_SCAN))


KINDS = {"relative": relative, "over_ground": over_ground, "radial": radial, "ranges": ranges, "scan": scan}


def messages(drive: Moments, rewrite: Any = None) -> list[Message]:
    found = []
    with Reader(drive.bag) as reader:
        for connection, log_ns, data in reader.messages():
            kind, content = connection.msgtype, bytes(data)
            if connection.topic == TOPIC and rewrite is not None:
                kind, content = rewrite(content)
            found.append(Message(connection.topic, kind, log_ns, content))
    return found


def frames_of(given: list[Message], config: Config) -> tuple[list[Frame], Pipeline]:
    pipeline = Pipeline(config)
    events = [event for message in given for event in pipeline.add(message)] + pipeline.finish()
    return [event.frame for event in events if isinstance(event, FrameReady)], pipeline


def truth_at(drive: Moments, stamp_ns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found = next(s for s in drive.truth["radars"]["front"]["scans"] if s["stamp_ns"] == stamp_ns)
    return np.array(found["positions"]), np.array(found["velocities"]), np.array(found["rcs"])


@pytest.mark.parametrize("kind", KINDS)
def test_detections_are_where_they_are_and_as_fast_as_they_are_over_ground(drive: Moments, kind: str) -> None:
    frames, pipeline = frames_of(messages(drive, KINDS[kind]), load_config(drive.config_path))
    assert pipeline.ledger.totals == {}
    assert len(frames) >= 13
    fastest = 0.0
    for frame in frames:
        (seen,) = frame.radars
        positions, velocities, rcs = truth_at(drive, seen.stamp_ns)
        assert abs(seen.stamp_ns - frame.stamp_ns) == 13_100_000
        assert np.abs(seen.position - positions).max() < 0.001
        wanted = velocities
        if kind in ("radial", "ranges", "scan"):
            wanted = along_the_ray(drive, frame, seen, positions, velocities)
        assert seen.direction is not None
        assert seen.size is not None
        assert np.abs(seen.direction - wanted).max() < 0.05
        assert np.allclose(seen.size, (rcs + 20.0) / 60.0, atol=1e-6)
        fastest = max(fastest, float(np.linalg.norm(seen.direction[0])))
    assert fastest > 3.0


def along_the_ray(
    drive: Moments, frame: Frame, seen: RadarPoints, positions: np.ndarray, velocities: np.ndarray
) -> np.ndarray:
    """What a Doppler radar at its true place can know of velocities."""
    from nucleus_bridge.testing.demo.radar import map_from_radar

    eye = map_from_radar(OPTIONS, (seen.stamp_ns - OPTIONS.start_ns) / 1e9).translation
    rays = positions - eye
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    return rays * (rays * velocities).sum(axis=1, keepdims=True)


def test_the_manifest_counts_what_the_clouds_cannot_hold(drive: Moments) -> None:
    report = drive.convert("radar")
    assert report.complete
    for scene in report.scenes:
        record_ = scene.manifest.sensors["front_radar"]
        assert (record_["kind"], record_["topic"], record_["frame_id"]) == ("radar", TOPIC, "radar_front")
        stamps = range(scene.manifest.first_stamp_ns, scene.manifest.last_stamp_ns + 1, 100_000_000)
        expected = sum(len(truth_at(drive, stamp_ns + 13_100_000)[0]) for stamp_ns in stamps)
        assert record_["points"] == expected > 0
        assert scene.manifest.items == scene.manifest.frames
        assert scene.manifest.sync["front_radar"]["max_ms"] == pytest.approx(13.1)
    plain = convert_bag(
        drive.bag, load_config(drive.config_path, ["radar_names=[]"]), drive.folder / "spool_without_radar"
    )
    for one, other in zip(report.scenes, plain.scenes, strict=True):
        assert (one.folder / "scene.json").read_bytes() == (other.folder / "scene.json").read_bytes()


def test_a_bag_of_radar_scans_is_converted(drive: Moments, tmp_path: Path) -> None:
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections: dict[str, Any] = {}
        for message in messages(drive, scan):
            if message.topic not in connections:
                connections[message.topic] = writer.add_connection(message.topic, message.type_name, typestore=TYPES)
            writer.write(connections[message.topic], message.log_ns, message.data)
    report = convert_bag(tmp_path / "bag", load_config(drive.config_path), tmp_path / "spool")
    assert report.complete
    assert all(scene.manifest.sensors["front_radar"]["points"] > 0 for scene in report.scenes)


def test_tolerance_offset_and_need_of_a_radar_are_those_of_a_camera(drive: Moments) -> None:
    def with_(*overrides: str) -> tuple[list[Frame], Pipeline]:
        return frames_of(messages(drive), load_config(drive.config_path, overrides))

    frames, pipeline = with_("radars.front_radar.tolerance_ms=10.0")
    assert all(frame.radars == () for frame in frames)
    assert set(pipeline.ledger.totals[TOPIC]) == {"no_frame"}
    frames, _ = with_("radars.front_radar.tolerance_ms=1.0", "radars.front_radar.offset_ms=13.1")
    assert all(len(frame.radars) == 1 for frame in frames)
    frames, pipeline = with_("radars.front_radar.tolerance_ms=10.0", "radars.front_radar.required=true")
    assert frames == []
    assert "required_missing" in pipeline.ledger.totals["/lidar/top/points"]


def test_a_scan_without_detections_is_no_loss(drive: Moments) -> None:
    def nothing(data: bytes) -> tuple[str, bytes]:
        return CLOUD, cloud_of(data, {name: column[:0] for name, column in detections(data).items()})

    frames, pipeline = frames_of(messages(drive, nothing), load_config(drive.config_path))
    assert pipeline.ledger.totals == {}
    assert all(len(frame.radars[0].position) == 0 for frame in frames)


def test_a_radar_without_places_is_refused_by_name() -> None:
    columns = {"range": np.ones(3), "power": np.ones(3)}
    field = TYPES.types["sensor_msgs/msg/PointField"]
    time = TYPES.types["builtin_interfaces/msg/Time"](sec=5, nanosec=0)
    cloud = TYPES.types[CLOUD](
        TYPES.types["std_msgs/msg/Header"](stamp=time, frame_id="radar"),
        1,
        3,
        [field(name, 4 * number, 7, 1) for number, name in enumerate(columns)],
        False,
        8,
        24,
        np.column_stack(list(columns.values())).astype("<f4").reshape(-1).view(np.uint8),
        True,
    )
    with pytest.raises(DecodeError, match="range, power") as caught:
        decode_radar(Message("/radar", CLOUD, 0, bytes(TYPES.serialize_cdr(cloud, CLOUD))))
    assert caught.value.cause == "missing_field"


def test_strengths_that_make_no_scale_are_refused() -> None:
    values = {"lidar_names": ["top"], "lidars.top.topic": "/points", "radar_names": ["r"], "radars.r.topic": "/r"}
    with pytest.raises(Exception, match="strength_min"):
        config_from_values({**values, "radars.r.strength_min": 50.0})
