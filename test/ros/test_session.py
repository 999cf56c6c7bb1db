# SPDX-License-Identifier: Apache-2.0
"""The queue between callbacks and processing, and the thread behind it, without ROS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bags import MS, START_NS, UNIT, cloud, recording, transforms, write_config

from nucleus_bridge.config import Config, load_config
from nucleus_bridge.model import Message
from nucleus_bridge.pipeline.topics import Stream
from nucleus_bridge.recordings import open_recording
from nucleus_bridge.render.workers import InlineExecutor
from nucleus_bridge.ros.inbox import SMALL_RESERVE, Answer
from nucleus_bridge.ros.session import Session
from nucleus_bridge.spool import SealedScene, Spool

LIMIT_S = 60.0
FRAMES = 5


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(write_config(tmp_path), ["spool.min_free_bytes=0"])


@pytest.fixture
def messages(tmp_path: Path) -> list[Message]:
    path = recording(frames=FRAMES).write(tmp_path / "bag")
    with open_recording(path) as bag:
        return list(bag.messages([topic.name for topic in bag.topics]))


class Run:
    """A recording into a spool, with what it sealed."""

    def __init__(self, config: Config, spool: Path) -> None:
        self.scenes: list[SealedScene] = []
        place = Spool(spool)
        place.create()
        self.recording = Session(config, place, InlineExecutor(), self.scenes.append)

    def offer(self, messages: list[Message]) -> None:
        samples = {topic.name for topic in self.recording.wanted if topic.is_sample}
        for message in messages:
            self.recording.inbox.offer(message, is_sample=message.topic in samples)

    def finish(self) -> None:
        self.recording.start()
        assert self.recording.stop(LIMIT_S)
        assert not self.recording.failure


def test_everything_that_was_handed_over_reaches_the_scene(
    config: Config, messages: list[Message], tmp_path: Path
) -> None:
    run = Run(config, tmp_path / "spool")
    run.offer(messages)
    assert run.recording.inbox.queued_bytes == sum(len(message.data) for message in messages)
    run.finish()
    assert run.recording.inbox.queued_bytes == 0
    assert [scene.manifest.frames for scene in run.scenes] == [FRAMES]
    assert run.recording.progress.frames == FRAMES
    assert run.recording.progress.scenes == 1
    assert not run.recording.progress.losses


def test_a_full_queue_drops_what_comes_and_counts_it(config: Config, messages: list[Message], tmp_path: Path) -> None:
    run = Run(config, tmp_path / "spool")
    run.recording.inbox.max_bytes = 1_000_000
    big = Message("/points", "sensor_msgs/msg/PointCloud2", START_NS, messages[0].data + bytes(400_000))
    run.offer([big] * 5)
    assert run.recording.inbox.queued_bytes <= 1_000_000
    run.finish()
    assert run.recording.progress.losses["/points"]["queue_full"] == 3


def test_small_messages_have_room_beyond_the_limit_and_no_more(
    config: Config, messages: list[Message], tmp_path: Path
) -> None:
    run = Run(config, tmp_path / "spool")
    run.recording.inbox.max_bytes = 1_000_000
    small = Message("/tf", "tf2_msgs/msg/TFMessage", START_NS, bytes(50_000))
    run.offer([small] * 1000)
    assert 1_000_000 < run.recording.inbox.queued_bytes <= 1_000_000 + SMALL_RESERVE
    run.finish()
    lost = run.recording.progress.losses["/tf"]["queue_full"]
    assert lost == 1000 - (1_000_000 + SMALL_RESERVE) // 50_000


def test_samples_have_no_room_beyond_the_limit_however_small_they_are(config: Config, tmp_path: Path) -> None:
    run = Run(config, tmp_path / "spool")
    run.recording.inbox.max_bytes = 1_000_000
    small = Message("/image", "sensor_msgs/msg/CompressedImage", START_NS, bytes(30_000))
    run.offer([small] * 100)
    assert run.recording.inbox.queued_bytes <= 1_000_000
    assert run.recording.inbox.losses == {"/image": {"queue_full": 100 - 1_000_000 // 30_000}}


def test_losses_go_to_the_scene_of_their_stamp(config: Config, messages: list[Message], tmp_path: Path) -> None:
    run = Run(config, tmp_path / "spool")
    image = next(message for message in messages if message.topic == "/image")
    run.offer([message for message in messages if message is not image])
    run.recording.inbox.lose("/image", "paused", image.data)
    run.finish()
    assert run.scenes[0].manifest.losses["/image"] == {"paused": 1}


def test_scenes_are_cut_at_the_last_decided_frame_and_nothing_is_lost(
    config: Config, messages: list[Message], tmp_path: Path
) -> None:
    """Each sweep's image comes after it: at each cut the newest sweep is undecided, and is the next scene's first."""
    whole = Run(config, tmp_path / "whole")
    whole.offer(messages)
    whole.finish()
    run = Run(config, tmp_path / "spool")
    answers: list[Answer] = []
    sweeps = 0
    for message in messages:
        run.offer([message])
        sweeps += message.topic == "/points"
        if message.topic == "/points" and sweeps in (3, 5):
            run.recording.finish_scene(answers.append)
    run.recording.finish_scene(answers.append)
    run.recording.finish_scene(answers.append)
    run.finish()
    frames = [scene.manifest.frames for scene in run.scenes]
    assert sum(frames) == whole.scenes[0].manifest.frames == FRAMES
    assert len(frames) >= 3
    assert not run.recording.progress.losses
    assert all(answer.success for answer in answers)
    told = [f"{scene.manifest.reference_id} is sealed" for scene in run.scenes if is_requested(scene)]
    assert [answer.text.partition(":")[0] for answer in answers if "sealed" in answer.text] == told
    assert answers[-1].text == "no open scene"


def wait_for(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def is_requested(scene: SealedScene) -> bool:
    return scene.manifest.end_reason == "requested"


def test_without_room_a_request_is_answered_at_once_and_ends_nothing(
    config: Config, messages: list[Message], tmp_path: Path
) -> None:
    run = Run(with_spool(config, min_free_bytes=2**62, when_full="block"), tmp_path / "spool")
    run.offer(messages)
    run.recording.start()
    wait_for(lambda: run.recording.progress.spool_full)
    answers: list[Answer] = []
    run.recording.finish_scene(answers.append)
    [answer] = answers
    assert not answer.success
    assert run.recording.progress.spool_full in answer.text
    run.recording.apply(with_spool(config, min_free_bytes=0))
    wait_for(lambda: run.recording.progress.frames)
    assert run.recording.stop(LIMIT_S)
    assert [scene.manifest.frames for scene in run.scenes] == [FRAMES]


def test_a_request_after_the_end_is_answered(config: Config, tmp_path: Path) -> None:
    run = Run(config, tmp_path / "spool")
    answers: list[Answer] = []
    run.recording.start()
    assert run.recording.stop(LIMIT_S)
    run.recording.finish_scene(answers.append)
    assert answers == [Answer(success=False, text="the recording has ended")]


def test_stamps_that_come_a_second_time_leave_the_first_scene_as_it_is(
    config: Config, messages: list[Message], tmp_path: Path
) -> None:
    first = Run(config, tmp_path / "spool")
    first.offer(messages)
    first.finish()
    manifest = (first.scenes[0].folder / "manifest.json").read_bytes()
    other = replace(config, digest="another")
    second = Run(other, tmp_path / "spool")
    second.offer(messages)
    second.finish()
    assert not second.scenes
    assert second.recording.progress.losses["/points"] == {"scene_exists": 1}
    assert (first.scenes[0].folder / "manifest.json").read_bytes() == manifest
    assert not list((tmp_path / "spool" / "open").iterdir())


def test_a_step_back_of_the_clock_ends_the_scene_once(config: Config, messages: list[Message], tmp_path: Path) -> None:
    run = Run(config, tmp_path / "spool")
    run.offer(messages)
    run.recording.clock_jumped(START_NS - 10**10, 10**10)
    run.recording.clock_jumped(START_NS - 10**10, 10**10)
    run.finish()
    assert [scene.manifest.end_reason for scene in run.scenes] == ["clock_jump"]


def with_spool(config: Config, **changes: object) -> Config:
    return replace(config, spool=replace(config.spool, **changes))


def test_a_scene_without_room_is_left_out_and_counted(config: Config, messages: list[Message], tmp_path: Path) -> None:
    run = Run(with_spool(config, max_bytes=1, when_full="drop_newest"), tmp_path / "spool")
    (tmp_path / "spool" / "scenes" / "earlier").mkdir()
    (tmp_path / "spool" / "scenes" / "earlier" / "manifest.json").write_text("something")
    run.offer(messages)
    run.finish()
    assert not run.scenes
    assert run.recording.progress.losses == {"/points": {"spool_full": 5}, "/image": {"spool_full": 5}}
    assert "spool.max_bytes 1" in run.recording.progress.reasons["spool_full"]


def test_every_kind_of_sensor_is_counted_when_there_is_no_room(tmp_path: Path) -> None:
    made = recording(frames=FRAMES)
    made.add("/tf_static", transforms(("base_link", "radar", 1, (2, 0, 0), UNIT)), START_NS - 400 * MS)
    for number in range(FRAMES):
        stamp_ns = START_NS + 100 * number * MS
        made.add("/radar", cloud(stamp_ns, frame_id="radar"), stamp_ns + 2 * MS)
    radar = ["radar_names=[front_radar]", "radars.front_radar.topic=/radar"]
    full = ["spool.min_free_bytes=4611686018427387904", "spool.when_full=drop_newest"]
    config = load_config(write_config(tmp_path), [*radar, *full])
    run = Run(config, tmp_path / "spool")
    with open_recording(made.write(tmp_path / "bag")) as bag:
        run.offer(list(bag.messages([topic.name for topic in bag.topics])))
    run.finish()
    counted = {sensor.topic: {"spool_full": FRAMES} for sensor in config.sensors}
    assert run.recording.progress.losses == counted
    assert len(counted) == 3


def test_a_blocked_recording_goes_on_when_there_is_room(
    config: Config, messages: list[Message], tmp_path: Path
) -> None:
    blocked = with_spool(config, min_free_bytes=2**62, when_full="block")
    run = Run(blocked, tmp_path / "spool")
    run.offer(messages)
    run.recording.start()
    wait_for(lambda: run.recording.progress.spool_full)
    run.recording.apply(with_spool(config, min_free_bytes=0))
    wait_for(lambda: run.recording.progress.frames)
    assert run.recording.stop(LIMIT_S)
    assert [scene.manifest.frames for scene in run.scenes] == [FRAMES]
    assert not run.recording.progress.losses


def test_a_blocked_recording_ends_when_it_is_told_to(config: Config, messages: list[Message], tmp_path: Path) -> None:
    run = Run(with_spool(config, min_free_bytes=2**62), tmp_path / "spool")
    run.offer(messages)
    run.finish()
    assert not run.scenes
    assert run.recording.progress.losses["/points"] == {"spool_full": 5}


def test_a_disk_that_fails_is_a_failure_with_its_reason(
    config: Config, messages: list[Message], tmp_path: Path
) -> None:
    run = Run(config, tmp_path / "spool")
    (tmp_path / "spool" / "open").rmdir()
    run.offer(messages)
    run.recording.start()
    assert run.recording.stop(LIMIT_S)
    assert str(tmp_path / "spool" / "open") in run.recording.failure


def test_a_long_queue_is_thinned_by_whole_frames_and_counted(config: Config, tmp_path: Path) -> None:
    path = recording(frames=20).write(tmp_path / "many")
    with open_recording(path) as bag:
        messages = list(bag.messages([topic.name for topic in bag.topics]))
    size = sum(len(message.data) for message in messages)
    run = Run(config, tmp_path / "spool")
    run.offer(messages)
    run.recording.inbox.max_bytes = size  # full at first, and less and less so
    run.finish()
    [scene] = run.scenes
    losses = scene.manifest.losses["/points"]
    assert set(losses) == {"overload"}
    assert 20 - scene.manifest.frames == losses["overload"]
    assert losses["overload"] > 5
    assert "/image" not in scene.manifest.missing
    stamps = [item.path for item in scene.manifest.files if item.path.endswith(".jpg")]
    assert len(stamps) == scene.manifest.frames


def test_thinning_can_be_switched_off(config: Config, messages: list[Message], tmp_path: Path) -> None:
    run = Run(replace(config, queue=replace(config.queue, thin_at=1.0)), tmp_path / "spool")
    run.offer(messages)
    run.recording.inbox.max_bytes = run.recording.inbox.queued_bytes
    run.finish()
    assert run.scenes[0].manifest.frames == FRAMES
    assert not run.scenes[0].manifest.losses


def test_a_topic_whose_decoder_fails_as_nobody_expected_fails_alone(
    config: Config, messages: list[Message], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third sweep is lost, and counted; all others, and the other topics, are recorded."""
    sweeps = [message for message in messages if message.topic == config.lidars[0].topic]
    seen: list[dict[str, str]] = []
    take = Stream.take

    def fails(stream: Stream, message: Message) -> Iterator[Any]:
        if message is sweeps[2]:
            raise ValueError("as the test\nwants")
        yield from take(stream, message)

    monkeypatch.setattr(Stream, "take", fails)
    run = Run(config, tmp_path / "spool")
    on_unexpected = run.recording._pipeline.on_unexpected

    def noted(message: Message, error: Exception) -> None:
        on_unexpected(message, error)
        run.recording._report()
        seen.append(dict(run.recording.progress.broken))

    run.recording._pipeline.on_unexpected = noted
    run.offer(messages)
    run.finish()
    text = "a message cannot be used, the other topics are recorded: ValueError: as the test wants"
    assert seen == [{config.lidars[0].topic: text}]
    assert not run.recording.progress.broken
    assert run.recording.progress.frames == FRAMES - 1
    assert run.recording.progress.losses[config.lidars[0].topic] == {"damaged": 1}
