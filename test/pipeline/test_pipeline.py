# SPDX-License-Identifier: Apache-2.0
"""Messages in, scenes out: splitting, waiting, dropping, and independence of the order of arrival."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pytest
from bags import MS, OPTICAL, START_NS, UNIT, Recording, cloud, compressed, info, recording, transforms
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleus_bridge.config import Config, config_from_values
from nucleus_bridge.model import Frame, Message, Scene
from nucleus_bridge.pipeline import Pipeline
from nucleus_bridge.pipeline.events import Event, FrameReady, SceneEnded, SceneStarted

BASE = {
    "lidar_names": ["top"],
    "lidars.top.topic": "/points",
    "camera_names": ["front"],
    "cameras.front.image_topic": "/image",
    "cameras.front.info_topic": "/info",
}


def config(**changes: object) -> Config:
    return config_from_values({**BASE, **{name.replace("__", "."): value for name, value in changes.items()}})


@dataclass
class Outcome:
    """The events of a run, sorted into scenes."""

    scenes: list[Scene] = field(default_factory=list)
    frames: list[list[Frame]] = field(default_factory=list)
    ends: list[SceneEnded] = field(default_factory=list)
    totals: dict = field(default_factory=dict)
    reasons: dict = field(default_factory=dict)

    def take(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, SceneStarted):
                self.scenes.append(event.scene)
                self.frames.append([])
            elif isinstance(event, FrameReady):
                assert event.index == len(self.frames[-1])
                self.frames[-1].append(event.frame)
            else:
                self.ends.append(event)

    @property
    def stamps_ms(self) -> list[list[int]]:
        return [[(frame.stamp_ns - START_NS) // MS for frame in frames] for frames in self.frames]

    @property
    def reasons_to_end(self) -> list[str]:
        return [end.reason for end in self.ends]


def messages(made: Recording) -> list[Message]:
    return [Message(topic, kind, log, data) for log, topic, kind, data in sorted(made.rows, key=lambda row: row[0])]


def run(made: Recording | list[Message], settings_: Config) -> Outcome:
    pipeline, outcome = Pipeline(settings_), Outcome()
    for message in made if isinstance(made, list) else messages(made):
        outcome.take(pipeline.add(message))
    outcome.take(pipeline.finish())
    outcome.totals, outcome.reasons = pipeline.ledger.totals, pipeline.ledger.reasons
    return outcome


def drive(stamps_ms: Iterable[int], positions: dict[int, float] | None = None, last_ms: int | None = None) -> Recording:
    """Sweeps and images at given stamps; poses every 10 ms, at 1 m/s unless positions by stamp are given."""
    stamps = list(stamps_ms)
    made = Recording()
    mounts = (("base_link", "lidar", 1, (0, 0, 2), UNIT), ("base_link", "camera", 1, (1, 0, 1), OPTICAL))
    made.add("/tf_static", transforms(*mounts), START_NS - 900 * MS)
    made.add("/info", info(START_NS), START_NS - 800 * MS)
    for ms in range(-20, (max(stamps) if last_ms is None else last_ms) + 150, 10):
        x = ms / 1000 if positions is None else np.interp(ms, *np.transpose(sorted(positions.items())))
        made.add(
            "/tf",
            transforms(("map", "base_link", START_NS + ms * MS, (float(x), 0, 0), UNIT)),
            START_NS + (ms + 1) * MS,
        )
    for ms in stamps:
        made.add("/points", cloud(START_NS + ms * MS), START_NS + (ms + 3) * MS)
        made.add("/image", compressed(START_NS + ms * MS), START_NS + (ms + 4) * MS)
    return made


def test_a_hole_between_sweeps_ends_the_scene() -> None:
    outcome = run(drive([0, 100, 200, 1300, 1400]), config())
    assert outcome.stamps_ms == [[0, 100, 200], [1300, 1400]]
    assert outcome.reasons_to_end == ["gap", "end_of_data"]
    assert run(drive([0, 100, 200, 1200]), config()).reasons_to_end == ["end_of_data"]
    assert run(drive([0, 100, 5000]), config(scene__max_gap_s=0.0)).reasons_to_end == ["end_of_data"]


def test_limits_of_items_frames_and_duration_end_the_scene() -> None:
    made = drive(range(0, 1000, 100))
    assert [len(f) for f in run(made, config(scene__max_items=8)).frames] == [4, 4, 2]
    assert [len(f) for f in run(made, config(scene__max_items=7)).frames] == [3, 3, 3, 1]
    assert [len(f) for f in run(made, config(scene__max_frames=3)).frames] == [3, 3, 3, 1]
    outcome = run(made, config(scene__max_duration_s=0.3))
    assert outcome.stamps_ms == [[0, 100, 200, 300], [400, 500, 600, 700], [800, 900]]
    assert set(outcome.reasons_to_end) == {"max_duration", "end_of_data"}


def test_a_scene_file_is_bounded_by_its_length_and_not_by_its_items() -> None:
    made = drive(range(0, 1000, 100))
    assert run(made, config(scene__max_items=7, scene__format="sfs")).reasons_to_end == ["end_of_data"]
    assert [len(f) for f in run(made, config(scene__max_frames=3, scene__format="sfs")).frames] == [3, 3, 3, 1]
    outcome = run(drive(range(0, 610_000, 5_000)), config(scene__max_gap_s=0.0, scene__format="sfs"))
    assert outcome.reasons_to_end == ["max_duration", "end_of_data"]
    assert [len(frames) for frames in outcome.frames] == [121, 1]


def test_a_jump_of_the_pose_ends_the_scene_but_speed_does_not() -> None:
    fast = {ms: 0.03 * ms for ms in range(-20, 1200, 10)}  # 30 m/s
    assert run(drive(range(0, 1000, 100), fast), config()).reasons_to_end == ["end_of_data"]
    jump = {ms: x + (8.0 if ms > 500 else 0.0) for ms, x in fast.items()}
    outcome = run(drive(range(0, 1000, 100), jump), config())
    assert outcome.stamps_ms == [[0, 100, 200, 300, 400, 500], [600, 700, 800, 900]]
    assert outcome.reasons_to_end == ["pose_jump", "end_of_data"]
    assert run(drive(range(0, 1000, 100), jump), config(scene__max_jump_m=9.0)).reasons_to_end == ["end_of_data"]
    assert run(drive(range(0, 1000, 100), jump), config(scene__max_jump_m=0.0)).reasons_to_end == ["end_of_data"]


def test_a_jump_is_seen_also_between_frames_far_apart() -> None:
    jump = {ms: 0.01 * ms + (8.0 if ms > 1234 else 0.0) for ms in range(-20, 3200, 10)}
    outcome = run(drive(range(0, 3000, 100), jump), config(scene__frame_stride=10))
    assert outcome.stamps_ms == [[0, 1000], [2000]]
    assert outcome.reasons_to_end == ["pose_jump", "end_of_data"]


def test_stride_and_distance_keep_fewer_frames_and_count_the_rest() -> None:
    outcome = run(drive(range(0, 1000, 100)), config(scene__frame_stride=3))
    assert outcome.stamps_ms == [[0, 300, 600, 900]]
    assert outcome.totals["/points"] == {"frame_stride": 6}
    outcome = run(drive(range(0, 1000, 100)), config(scene__min_distance_m=0.25))
    assert outcome.stamps_ms == [[0, 300, 600, 900]]
    assert outcome.totals == {"/points": {"min_distance": 6}, "/image": {"min_distance": 6}}


def test_scenes_are_named_after_the_first_stamp_and_count_from_its_pose() -> None:
    outcome = run(drive([0, 100, 1300]), config(scene__prefix="tuesday"))
    assert [scene.reference_id for scene in outcome.scenes] == [
        "tuesday-20231114T221320.000000000Z",
        "tuesday-20231114T221321.300000000Z",
    ]
    assert outcome.scenes[1].world_offset == pytest.approx((1.3, 0.0, 0.0))
    assert run(drive([0]), config(scene__origin="none")).scenes[0].world_offset == (0.0, 0.0, 0.0)


def test_coordinates_too_large_for_32_bit_floats_are_refused_with_the_remedy() -> None:
    far = {ms: 400_000.0 + ms for ms in range(-20, 400, 10)}
    assert run(drive([0, 100], far), config()).reasons_to_end == ["end_of_data"]
    outcome = run(drive([0, 100], far), config(scene__origin="none"))
    assert outcome.scenes == []
    assert outcome.totals["/points"] == {"coordinate_range": 2}
    assert "scene.origin" in outcome.reasons["coordinate_range"]


def test_frames_without_a_pose_are_dropped_with_the_side_they_miss() -> None:
    made = drive([0, 100, 200, 300], last_ms=100)
    outcome = run(made, config())
    assert outcome.stamps_ms == [[0, 100, 200]]
    assert outcome.totals == {"/points": {"after_last_transform": 1}, "/image": {"frame_dropped": 1}}
    early = Recording([row for row in made.rows if row[1] != "/tf" or row[0] > START_NS + 50 * MS])
    assert run(early, config()).totals["/points"] == {"before_first_transform": 1, "after_last_transform": 1}


def test_a_hole_in_the_poses_longer_than_the_gap_ends_the_scene() -> None:
    made = drive(range(0, 5000, 100))
    holed = Recording([r for r in made.rows if r[1] != "/tf" or not 1000 < (r[0] - START_NS) / MS < 4000])
    patient = run(holed, config(sync__wait_s=10.0))  # the vehicle may have been anywhere: nothing is interpolated
    assert patient.reasons_to_end == ["gap", "end_of_data"]
    assert patient.totals["/points"]["tf_gap"] > 10
    wide = run(holed, config(sync__wait_s=10.0, scene__max_gap_s=4.0))
    assert wide.reasons_to_end == ["end_of_data"]
    outcome = run(holed, config(sync__wait_s=0.5))
    assert outcome.reasons_to_end == ["gap", "end_of_data"]
    assert outcome.totals["/points"]["after_last_transform"] > 10


def test_a_calibration_that_changes_holds_from_its_stamp_on() -> None:
    made = drive(range(0, 600, 100)).without("/info")
    for ms in range(0, 600, 100):
        k = np.array([50.0 if ms < 300 else 60.0, 0, 32, 0, 50, 24, 0, 0, 1])
        made.add("/info", info(START_NS + ms * MS, k=k), START_NS + (ms + 90) * MS)  # logged after its image
    outcome = run(made, config())
    assert [frame.images[0].model.fx for frame in outcome.frames[0]] == [50, 50, 50, 60, 60, 60]


def test_the_first_calibration_serves_the_images_before_it() -> None:
    made = drive(range(0, 600, 100)).without("/info")
    made.add("/info", info(START_NS + 350 * MS), START_NS + 360 * MS)
    outcome = run(made, config())
    assert [len(frame.images) for frame in outcome.frames[0]] == [1] * 6


def test_static_transforms_known_ahead_serve_from_the_start() -> None:
    rows = drive([0, 100, 200]).rows
    late = [(START_NS + 5000 * MS, *row[1:]) if row[1] == "/tf_static" else row for row in rows]
    pipeline, outcome = Pipeline(config()), Outcome()
    pipeline.prime([m for m in messages(Recording(late)) if m.topic == "/tf_static"])
    for message in messages(Recording(late)):
        outcome.take(pipeline.add(message))
    outcome.take(pipeline.finish())
    assert outcome.stamps_ms == [[0, 100, 200]]


def test_a_clock_that_jumps_back_closes_the_scene_and_goes_on() -> None:
    made = messages(drive(range(3000, 4000, 100)))
    again = messages(drive(range(0, 1000, 100)))
    outcome = run([*made, *again], config())
    assert outcome.stamps_ms == [list(range(3000, 4000, 100)), list(range(0, 1000, 100))]
    assert outcome.reasons_to_end == ["clock_jump", "end_of_data"]


def test_a_second_lidar_is_matched_posed_and_counted_when_it_is_missing() -> None:
    made = drive(range(0, 500, 100))
    made.add("/tf_static", transforms(("base_link", "side", 1, (0, 1, 1), UNIT)), START_NS - 800 * MS)
    for ms in (30, 130, 330):
        made.add("/side", cloud(START_NS + ms * MS, frame_id="side"), START_NS + (ms + 5) * MS)
    two = {"lidar_names": ["top", "side"], "lidars__side__topic": "/side"}
    outcome = run(made, config(**two))
    assert [[posed.lidar for posed in frame.sweeps] for frame in outcome.frames[0]] == [
        ["top", "side"],
        ["top", "side"],
        ["top"],
        ["top", "side"],
        ["top"],
    ]
    assert outcome.ends[0].missing == {"side": 2}
    assert outcome.ends[0].residuals["side"].mean_ms == 30.0
    required = run(made, config(**two, lidars__side__required=True))
    assert required.stamps_ms == [[0, 100, 300]]
    assert required.totals["/points"] == {"required_missing": 2}


def test_memory_is_bounded_by_the_configured_bytes() -> None:
    made = drive(range(0, 20_000, 100)).without("/tf")
    pipeline = Pipeline(config(sync__max_bytes=1_000_000, sync__wait_s=60.0))
    big = np.ones((2000, 4))
    for ms in range(0, 20_000, 100):
        made.add("/points", cloud(START_NS + ms * MS + 50 * MS, big), START_NS + ms * MS)
    held = 0
    for message in messages(made):
        pipeline.add(message)
        held = max(held, pipeline.bytes_held)
    assert 500_000 < held < 1_100_000


def signature(outcome: Outcome) -> list:
    def pose(transform) -> tuple:
        return (*np.ravel(transform.translation).tolist(), *np.ravel(transform.rotation_xyzw).tolist())

    scenes = [
        [
            (frame.stamp_ns, pose(frame.world_from_device), [(i.image.stamp_ns, i.model.fx) for i in frame.images])
            for frame in frames
        ]
        for frames in outcome.frames
    ]
    return [outcome.scenes, scenes, outcome.ends]


@given(st.integers(0, 2**32), st.integers(0, 300))
@settings(max_examples=40, deadline=None)
def test_topics_may_interleave_in_any_way_within_the_wait(seed: int, delay_ms: int) -> None:
    made = drive([*range(0, 1500, 100), *range(3000, 3500, 100)]).without("/info")
    for ms in range(0, 3600, 100):
        k = np.array([50.0 + (ms > 800), 0, 32, 0, 50, 24, 0, 0, 1])
        made.add("/info", info(START_NS + ms * MS, k=k), START_NS + (ms + 4) * MS)
    made.add_raw("/image", "sensor_msgs/msg/CompressedImage", b"\x00\x01\x00\x00damage", START_NS + 405 * MS)
    straight = run(made, config())
    generator = random.Random(seed)
    late = {topic: generator.uniform(0, delay_ms) * MS for topic in ("/tf", "/points", "/image", "/info")}
    shuffled = [(row.log_ns + late.get(row.topic, 0) + generator.random(), row) for row in messages(made)]
    outcome = run([row for _, row in sorted(shuffled, key=lambda entry: entry[0])], config())
    assert signature(outcome) == signature(straight)


def test_the_helper_recording_is_the_one_that_other_tests_use() -> None:
    assert run(recording(), config()).stamps_ms == [[0, 100, 200, 300, 400]]


@given(
    resumes_ms=st.integers(240, 330).map(lambda tens: 10 * tens),
    late_ms=st.integers(0, 400),
    sensors_late_ms=st.integers(0, 300),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=25, deadline=None)
def test_transforms_that_resume_about_the_longest_wait_count_by_their_stamps(
    resumes_ms: int, late_ms: int, sensors_late_ms: int, seed: int
) -> None:
    """Which frames are kept at the end of a gap does not depend on what arrives first."""
    chance = random.Random(seed)
    made, latest = [], {}
    for message in messages(drive(range(0, 5000, 100))):
        stamp_ms = (message.log_ns - START_NS) // MS - 1
        if message.topic == "/tf" and 500 <= stamp_ms < resumes_ms:
            continue
        late = late_ms if message.topic == "/tf" else sensors_late_ms if message.topic in ("/points", "/image") else 0
        due_ns = max(message.log_ns + chance.randint(0, late) * MS, latest.get(message.topic, 0))
        latest[message.topic] = due_ns
        made.append((due_ns, message))
    outcome = run([message for _, message in sorted(made, key=lambda row: row[0])], config())
    expected = [ms for ms in range(0, 5000, 100) if ms <= 490 or ms >= resumes_ms]
    assert [ms for scene in outcome.stamps_ms for ms in scene] == expected
    longest_wait_ms = 2000 + 50  # sync.wait_s, and the camera's tolerance
    in_vain = sum(490 < ms < resumes_ms - longest_wait_ms for ms in range(0, 5000, 100))
    lost = {"after_last_transform": in_vain, "tf_gap": 50 - len(expected) - in_vain}
    assert outcome.totals.get("/points", {}) == {cause: count for cause, count in lost.items() if count}
