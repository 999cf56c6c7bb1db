# SPDX-License-Identifier: Apache-2.0
"""The seam for poses: sources that these tests alone know move the device, and which source wins for a frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from bags import MS, OPTICAL, START_NS, TYPES, UNIT, Recording, header, recording, transforms, write_config

from nucleus_bridge import poses
from nucleus_bridge.archive.chunks import chunks_of, whole_events
from nucleus_bridge.config import Config, load_config
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.decode.cdr import deserialise, to_ns
from nucleus_bridge.decode.interface import Reset
from nucleus_bridge.errors import InputError
from nucleus_bridge.model import Frame, Message
from nucleus_bridge.pipeline import FrameReady, Pipeline
from nucleus_bridge.poses.source import Edge, PoseTopic, Rank
from nucleus_bridge.recordings import open_recording
from nucleus_bridge.replay import primed_pipeline

TWIST = "geometry_msgs/msg/TwistStamped"
S = 1000 * MS


@dataclass
class Toy:
    """A source of any rank: fixed edges, edges of a file, and a topic of speeds that it adds up along x."""

    name: str = "toy"
    rank: Rank = "transform"
    fixed: tuple[Edge, ...] = ()
    file: tuple[Edge, ...] = ()
    topic: str = ""
    asked_ns: list[int] = field(default_factory=list)
    resets: list[Reset] = field(default_factory=list)
    _given: int = 0

    @property
    def topics(self) -> Mapping[str, PoseTopic]:
        wanted = PoseTopic(self.topic, "toy.topic", "pose", is_needed=True, types=(TWIST,))
        return {self.topic: wanted} if self.topic else {}

    def initial(self) -> Iterable[Edge]:
        return self.fixed

    def edges(self, message: Message) -> Iterable[Edge]:
        twist = deserialise(message, TWIST)
        stamp_ns = to_ns(twist.header.stamp)
        yield moved(stamp_ns, twist.twist.linear.x * (stamp_ns - START_NS) / S)

    def until(self, stamp_ns: int) -> Iterable[Edge]:
        self.asked_ns.append(stamp_ns)
        while self._given < len(self.file):
            edge = self.file[self._given]
            self._given += 1
            yield edge
            if edge.stamp_ns >= stamp_ns:
                return

    def reset(self, why: Reset) -> None:
        self.resets.append(why)
        self._given = 0


def moved(stamp_ns: int, x: float) -> Edge:
    return Edge("map", "base_link", stamp_ns, (x, 0.0, 0.0), UNIT, static=False)


def fixed(parent: str, child: str, xyz: tuple[float, float, float], rotation: tuple[float, ...] = UNIT) -> Edge:
    return Edge(parent, child, 0, xyz, rotation, static=True)


CAMERA = fixed("base_link", "camera", (1.0, 0.0, 1.0), OPTICAL)
LIDAR = fixed("base_link", "lidar", (0.0, 0.0, 2.0))


def line(seconds: float, speed: float, step_ms: int = 50, start_ns: int = START_NS) -> tuple[Edge, ...]:
    return tuple(
        moved(start_ns + ms * MS, speed * ms / 1000) for ms in range(-200, round(1000 * seconds) + step_ms, step_ms)
    )


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(write_config(tmp_path), ["scene.max_frames=3"])


def frames(made: Recording, config: Config, folder: Path) -> list[Frame]:
    with open_recording(made.write(folder / "bag")) as bag:
        return frames_of(primed_pipeline(bag, config), bag.messages([topic.name for topic in bag.topics]))


def frames_of(pipeline: Pipeline, messages: Iterable[Message]) -> list[Frame]:
    events = [event for message in messages for event in pipeline.add(message)]
    return [event.frame for event in [*events, *pipeline.finish()] if isinstance(event, FrameReady)]


def as_messages(rows: Iterable[tuple[int, str, str, bytes]]) -> list[Message]:
    return [Message(topic, kind, log_ns, data) for log_ns, topic, kind, data in rows]


def device_x(found: list[Frame]) -> list[float]:
    return [round(float(frame.world_from_device.translation[0]), 9) for frame in found]


def with_speeds(made: Recording, seconds: float, speed: float) -> Recording:
    twist, stamped = TYPES.types["geometry_msgs/msg/Twist"], TYPES.types[TWIST]
    vector = TYPES.types["geometry_msgs/msg/Vector3"]
    for ms in range(-200, round(1000 * seconds) + 200, 20):
        stamp_ns = START_NS + ms * MS
        content = stamped(header(stamp_ns, "base_link"), twist(vector(speed, 0.0, 0.0), vector(0.0, 0.0, 0.0)))
        made.add("/speed", content, stamp_ns + MS)
    return made


def test_a_topic_of_a_source_moves_the_device(tmp_path: Path, config: Config) -> None:
    made = with_speeds(recording(frames=5).without("/tf"), 0.6, speed=4.0)
    with poses.added(lambda _: [Toy(topic="/speed")]):
        assert device_x(frames(made, config, tmp_path)) == pytest.approx([0.0, 0.4, 0.8, 1.2, 1.6])


def test_a_topic_that_the_recording_lacks_is_named_with_its_parameter(tmp_path: Path, config: Config) -> None:
    with (
        poses.added(lambda _: [Toy(topic="/speed")]),
        pytest.raises(InputError, match=rf"toy\.topic: /speed is not in .*{TWIST}"),
    ):
        frames(recording(frames=2), config, tmp_path)


def test_what_a_source_cannot_give_is_counted_under_its_topic_or_name(tmp_path: Path, config: Config) -> None:
    made = with_speeds(recording(frames=3), 0.5, speed=np.nan)
    made.add_raw("/speed", TWIST, b"\x00\x01\x00\x00damage", START_NS + 60 * MS)
    nowhere = fixed("map", "map", (0.0, 0.0, 0.0))
    with poses.added(lambda _: [Toy(topic="/speed", fixed=(nowhere,))]):
        report = convert_bag(made.write(tmp_path / "bag"), config, tmp_path / "spool")
    assert report.losses == {"/speed": {"bad_transform": 45, "damaged": 1}, "toy": {"bad_transform": 1}}


def test_a_file_of_hours_moves_the_device_and_is_read_as_far_as_needed(tmp_path: Path, config: Config) -> None:
    before = tuple(moved(START_NS - ms * MS, 9.0) for ms in range(3_600_000, 1000, -1000))
    source = Toy(file=(*before, *line(600.0, speed=2.0)))
    with poses.added(lambda _: [source]):
        found = frames(recording(frames=30).without("/tf"), config, tmp_path)
    assert device_x(found) == pytest.approx([0.2 * number for number in range(30)])
    assert source._given < len(before) + 20 * 20


def test_how_topics_interleave_does_not_matter_to_a_file(config: Config) -> None:
    made = recording(frames=40).without("/tf")
    rows = sorted(made.rows)
    orders = [rows, sorted(rows, key=lambda row: row[0] + (1.5 * S if row[1] == "/image" else 0))]
    found = []
    for order in orders:
        with poses.added(lambda _: [Toy(file=line(5.0, speed=3.0, step_ms=170))]):
            made_of = frames_of(Pipeline(config), as_messages(order))
            found.append([(frame.stamp_ns, frame.world_from_device.translation.tobytes()) for frame in made_of])
    assert found[0] == found[1]
    assert len(found[0]) == 40


def test_a_file_gives_no_pose_outside_of_what_it_holds(tmp_path: Path, config: Config) -> None:
    short = tuple(edge for edge in line(2.0, speed=1.0) if START_NS + 100 * MS <= edge.stamp_ns <= START_NS + 250 * MS)
    with poses.added(lambda _: [Toy(file=short)]):
        found = frames(recording(frames=6).without("/tf"), config, tmp_path)
    assert [(frame.stamp_ns - START_NS) // MS for frame in found] == [100, 200]


def test_after_a_step_of_the_clock_a_file_is_read_again(config: Config) -> None:
    source = Toy(file=line(8.0, speed=1.0))
    first = sorted(recording(frames=5, start_ns=START_NS + 6 * S).without("/tf").rows)
    again = sorted(recording(frames=5).without("/tf").rows)
    with poses.added(lambda _: [source]):
        pipeline = Pipeline(config)
        events = [
            e for log, topic, kind, data in [*first, *again] for e in pipeline.add(Message(topic, kind, log, data))
        ]
        found = [event.frame for event in [*events, *pipeline.finish()] if isinstance(event, FrameReady)]
    assert device_x(found) == pytest.approx([6.0, 6.1, 6.2, 6.3, 6.4, 0.0, 0.1, 0.2, 0.3, 0.4])
    assert source.resets == ["clock_step"]


def test_a_mount_wins_over_transforms_of_its_child(tmp_path: Path, config: Config) -> None:
    higher = fixed("base_link", "lidar", (0.0, 0.0, 5.0))
    with poses.added(lambda _: [Toy(rank="mount", fixed=(higher,))]):
        found = frames(recording(frames=3), config, tmp_path)
    assert {float(frame.sweeps[0].world_from_lidar.translation[2]) for frame in found} == {5.0}
    assert {float(frame.images[0].world_from_camera.translation[2]) for frame in found} == {1.0}


def test_a_description_fills_what_no_transform_says(tmp_path: Path, config: Config) -> None:
    wrong = fixed("base_link", "lidar", (0.0, 0.0, 9.0))
    made = recording(frames=3).without("/tf_static")
    made.add("/tf_static", transforms(("base_link", "lidar", 0, (0, 0, 2), UNIT)), START_NS - 500 * MS)
    with poses.added(lambda _: [Toy(rank="description", fixed=(wrong, CAMERA))]):
        found = frames(made, config, tmp_path)
    assert [len(frame.images) for frame in found] == [1, 1, 1]
    assert {float(frame.sweeps[0].world_from_lidar.translation[2]) for frame in found} == {2.0}


def test_a_static_transform_that_comes_late_wins_over_the_description(tmp_path: Path, config: Config) -> None:
    """As live, where nothing is known ahead: frames wait until a transform can come no more."""
    wrong = fixed("base_link", "lidar", (0.0, 0.0, 9.0))
    rows = sorted(recording(frames=30).without("/tf_static").rows)
    late = Recording()
    late.add("/tf_static", transforms(("base_link", "lidar", 0, (0, 0, 2), UNIT)), START_NS + 1500 * MS)
    with poses.added(lambda _: [Toy(rank="description", fixed=(wrong, CAMERA))]):
        found = frames_of(Pipeline(config), as_messages(sorted([*rows, *late.rows])))
    assert len(found) == 30
    assert {float(frame.sweeps[0].world_from_lidar.translation[2]) for frame in found} == {2.0}


def test_chunks_know_the_poses_of_every_source(tmp_path: Path, config: Config) -> None:
    bag = recording(frames=12).without("/tf").write(tmp_path / "bag")
    with poses.added(lambda _: [Toy(file=line(2.0, speed=5.0))]), open_recording(bag) as opened:
        chunks = list(chunks_of(opened, primed_pipeline(opened, config), 1))
        events = [event for chunk in chunks for event in whole_events(chunk, opened, config)]
    found = [event.frame for event in events if isinstance(event, FrameReady)]
    assert len(chunks) == 4
    assert device_x(found) == pytest.approx([0.5 * number for number in range(12)])


def test_transforms_of_other_topics_count_when_they_are_configured(tmp_path: Path) -> None:
    made = Recording(
        [
            (log, {"/tf": "/robot1/tf", "/tf_static": "/robot1/tf_static"}.get(topic, topic), kind, data)
            for log, topic, kind, data in recording(frames=4).rows
        ]
    )
    given = ["transforms.topics=[/robot1/tf]", "transforms.static_topics=[/robot1/tf_static]"]
    config = load_config(write_config(tmp_path), given)
    assert device_x(frames(made, config, tmp_path)) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    gone = load_config(write_config(tmp_path), ["transforms.topics=[/robot2/tf]"])
    with pytest.raises(InputError, match=r"transforms\.topics: /robot2/tf is not in"):
        convert_bag(tmp_path / "bag", gone, tmp_path / "spool")


def test_transforms_of_a_clock_apart_are_moved(tmp_path: Path) -> None:
    made = recording(frames=4).without("/tf")
    for number in range(-1, 42):
        stamp_ns = START_NS + 10 * number * MS
        made.add("/tf", transforms(("map", "base_link", stamp_ns - 5 * S, (0.1 * number, 0, 0), UNIT)), stamp_ns)
    config = load_config(write_config(tmp_path), ["transforms.clock_offset_ms=5000.0"])
    assert device_x(frames(made, config, tmp_path)) == pytest.approx([0.0, 1.0, 2.0, 3.0])
