# SPDX-License-Identifier: Apache-2.0
"""The seam for sensors: a message type that this test alone knows, whose decoder keeps state, becomes images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from bags import MS, START_NS, TYPES, Recording, cloud, recording, write_config
from toy_camera import INTERFACE, TYPE, Greys, expected_grey, frames, toy_recording

from nucleus_bridge.archive.chunks import STORED, Chunk, NotDivisibleError, chunks_of, whole_events
from nucleus_bridge.archive.plain import from_json, to_json
from nucleus_bridge.config import CameraConfig, Config, LidarConfig, load_config
from nucleus_bridge.convert import ConversionReport, convert_bag
from nucleus_bridge.decode import registry
from nucleus_bridge.decode.cdr import deserialise
from nucleus_bridge.decode.interface import Companion, Interface, Reset
from nucleus_bridge.decode.pointcloud2 import POINTCLOUD2, decode_sweep
from nucleus_bridge.decode.pose import STRING
from nucleus_bridge.errors import DecodeError, InputError
from nucleus_bridge.model import Image, Message, Sweep
from nucleus_bridge.recordings import open_recording
from nucleus_bridge.render import SceneRecorder
from nucleus_bridge.render.workers import InlineExecutor
from nucleus_bridge.replay import primed_pipeline
from nucleus_bridge.spool import Spool


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    with registry.added(INTERFACE):
        yield


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(write_config(tmp_path), ["scene.max_frames=3", "image.format=png", "spool.min_free_bytes=0"])


def greys(spool: Path) -> list[int]:
    """Return the grey of every image of every scene, in order."""
    pictures = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted(spool.glob("scenes/*/front/*.png"))]
    assert all(int(picture.min()) == int(picture.max()) for picture in pictures)
    return [int(picture.flat[0]) for picture in pictures]


def contents(spool: Path) -> dict[str, bytes]:
    return {str(path.relative_to(spool)): path.read_bytes() for path in sorted(spool.glob("scenes/*/**/*.*"))}


def convert(made: Recording, config: Config, folder: Path, storage: str = "mcap", workers: int = 1) -> ConversionReport:
    return convert_bag(made.write(folder / "bag", storage), config, folder / "spool", workers=workers)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_keys_and_deltas_become_images(tmp_path: Path, config: Config, storage: str) -> None:
    report = convert(toy_recording(10), config, tmp_path, storage)
    assert report.losses == {}
    assert greys(tmp_path / "spool") == [expected_grey(number) for number in range(10)]


def test_the_number_of_workers_changes_nothing(tmp_path: Path, config: Config) -> None:
    bag = toy_recording(10).write(tmp_path / "bag")
    for workers in (1, 3):
        convert_bag(bag, config, tmp_path / f"spool{workers}", workers=workers)
    assert contents(tmp_path / "spool1") == contents(tmp_path / "spool3")


def test_a_message_may_hold_several_images_or_none(tmp_path: Path, config: Config) -> None:
    made = toy_recording(6).without("/image")
    made.add("/image", frames(START_NS, [7], key=True), START_NS)
    made.add("/image", frames(START_NS + 50 * MS, [], key=False), START_NS + 55 * MS)
    burst = START_NS + 500 * MS
    made.add("/image", frames(burst, [1] * 41, key=False), burst + MS)  # 41 pictures, 10 ms apart, all before it
    report = convert(made, config, tmp_path)
    assert greys(tmp_path / "spool") == [7, 8, 18, 28, 38, 48]
    assert report.losses == {"/image": {"surplus": 36}}


def test_a_damaged_delta_loses_the_images_up_to_the_next_key(tmp_path: Path, config: Config) -> None:
    made = toy_recording(10)
    rows = [row for row in made.rows if row[1] == "/image"]
    hurt = next(row for row in rows if row[0] == rows[5][0])
    made.rows[made.rows.index(hurt)] = (*hurt[:3], hurt[3][:12])
    report = convert(made, config, tmp_path)
    assert report.losses == {"/image": {"broken_gop": 2, "damaged": 1}}
    assert greys(tmp_path / "spool") == [expected_grey(number) for number in (0, 1, 2, 3, 4, 8, 9)]
    assert in_chunks(tmp_path / "bag", config, tmp_path / "parts") == 4
    assert contents(tmp_path / "parts") == contents(tmp_path / "spool")


def write_in_small_chunks(made: Recording, path: Path) -> Path:
    """Write an mcap file of a chunk a message, each with its checksum."""
    mcap = pytest.importorskip("mcap.writer", reason="the mcap package is not installed")
    with path.open("wb") as file:
        writer = mcap.Writer(file, chunk_size=1, compression=mcap.CompressionType.NONE)
        writer.start(profile="ros2")
        channels: dict[str, int] = {}
        for log_ns, topic, kind, data in sorted(made.rows):
            if topic not in channels:
                text = TYPES.generate_msgdef(kind, ros_version=2)[0]
                schema = writer.register_schema(kind, "ros2msg", text.encode())
                channels[topic] = writer.register_channel(topic, "cdr", schema)
            writer.add_message(channels[topic], log_ns, data, log_ns)
        writer.finish()
    return path


def test_a_part_of_the_recording_that_is_lost_takes_what_builds_on_it_along(tmp_path: Path, config: Config) -> None:
    made = toy_recording(10)
    bag = write_in_small_chunks(made, tmp_path / "drive.mcap")
    sixth = [data for _, topic, _, data in sorted(made.rows) if topic == "/image"][5]
    content = bytearray(bag.read_bytes())
    content[content.index(sixth) + len(sixth) - 1] ^= 0xFF
    bag.write_bytes(content)
    report = convert_bag(bag, config, tmp_path / "spool")
    assert [damage.loses_messages for damage in report.damage] == [True]
    assert report.losses == {"/image": {"broken_gop": 2}}
    assert greys(tmp_path / "spool") == [expected_grey(number) for number in (0, 1, 2, 3, 4, 8, 9)]
    assert in_chunks(bag, config, tmp_path / "parts") == 4
    assert contents(tmp_path / "parts") == contents(tmp_path / "spool")


def test_a_topic_of_another_type_is_an_error_that_names_this_one_too(tmp_path: Path, config: Config) -> None:
    made = toy_recording(2)
    made.rows = [
        (log, topic, "std_msgs/msg/Header" if topic == "/image" else kind, data) for log, topic, kind, data in made.rows
    ]
    made.rows += [(log, "/toy", TYPE, data) for log, topic, _, data in made.rows if topic == "/image"]
    with pytest.raises(InputError, match=r"is std_msgs/msg/Header, not a type that is read here\. Images here: /toy"):
        convert(made, config, tmp_path)


def in_chunks(bag: Path, config: Config, spool: Path) -> int:
    """Cut a recording, keep each chunk as text, and render each by itself; return how many there were."""
    with open_recording(bag) as recording:
        kept = [to_json(chunk) for chunk in chunks_of(recording, primed_pipeline(recording, config), 1)]
    Spool(spool).create()
    for text in kept:
        chunk: Chunk = from_json(text, STORED)
        recorder = SceneRecorder(config, Spool(spool), InlineExecutor(), in_flight=0)
        with open_recording(bag) as recording:
            for event in whole_events(chunk, recording, config):
                recorder.handle([event])
        recorder.finish()
    return len(kept)


@pytest.mark.parametrize("key_every", [1, 4, 100])
def test_chunks_make_the_same_bytes(tmp_path: Path, config: Config, key_every: int) -> None:
    bag = toy_recording(20, key_every).write(tmp_path / "bag")
    convert_bag(bag, config, tmp_path / "whole")
    assert in_chunks(bag, config, tmp_path / "parts") == 7
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert greys(tmp_path / "parts") == [expected_grey(number, key_every) for number in range(20)]


class Halves:
    """Two clouds within a tenth of a second are one sweep; it is given when the next one begins."""

    def __init__(self, lidar: LidarConfig) -> None:
        self._lidar = lidar
        self._held: Sweep | None = None

    def decode(self, message: Message) -> Iterator[Sweep]:
        sweep = decode_sweep(message, self._lidar)
        if self._held is not None and self._held.stamp_ns // (100 * MS) == sweep.stamp_ns // (100 * MS):
            self._held = replace(self._held, points=np.concatenate([self._held.points, sweep.points]))
            return
        yield from self.flush()
        self._held = sweep

    def reset(self, why: Reset) -> Iterator[Sweep]:
        del why
        return self.flush()

    def flush(self) -> Iterator[Sweep]:
        held, self._held = self._held, None
        if held is not None:
            yield held


def points_of(spool: Path) -> list[int]:
    return [len(json.loads(path.read_text())["points"]) for path in sorted(spool.glob("scenes/*/top/*.json"))]


def test_what_a_decoder_holds_back_comes_at_the_end_and_survives_chunks(tmp_path: Path, config: Config) -> None:
    made = recording(frames=10)
    for number in range(9):  # the tenth sweep has its first half alone
        stamp_ns = START_NS + (100 * number + 50) * MS
        made.add("/points", cloud(stamp_ns), stamp_ns + MS)
    bag = made.write(tmp_path / "bag")
    with registry.added(Interface(POINTCLOUD2, "cloud", Halves, is_sample=True)):
        report = convert_bag(bag, config, tmp_path / "spool")
        assert in_chunks(bag, config, tmp_path / "parts") == 4
    assert report.losses == {}
    assert points_of(tmp_path / "spool") == [4] * 9 + [2]
    assert contents(tmp_path / "parts") == contents(tmp_path / "spool")


class Tinted(Greys):
    """Pictures that are brighter by what a text on a further topic says."""

    def __init__(self, camera: CameraConfig) -> None:
        super().__init__(camera)
        self._brighter: int | None = None

    def decode(self, message: Message) -> Iterator[Image]:
        if message.type_name == STRING:
            self._brighter = int(deserialise(message).data)
            return
        if self._brighter is None:
            raise DecodeError("nothing says how bright", cause="no_setup")
        for image in super().decode(message):
            yield replace(image, data=image.data + np.uint8(self._brighter))


SETUP = Companion(STRING, lambda camera: f"{camera.topic}/setup", "setup_topic")


def test_a_decoder_is_given_what_a_further_topic_says(tmp_path: Path, config: Config) -> None:
    made = toy_recording(8)
    made.add("/image/setup", TYPES.types[STRING]("50"), START_NS + 700 * MS)
    bag = made.write(tmp_path / "bag")
    lacking = toy_recording(2).write(tmp_path / "lacking")
    with registry.added(replace(INTERFACE, decoder=Tinted, companion=SETUP)):
        report = convert_bag(bag, config, tmp_path / "spool")
        assert in_chunks(bag, config, tmp_path / "parts") == 3
        without = convert_bag(lacking, config, tmp_path / "without")
    assert report.losses == {}
    assert greys(tmp_path / "spool") == [expected_grey(number) + 50 for number in range(8)]
    assert contents(tmp_path / "parts") == contents(tmp_path / "spool")
    assert without.losses == {"/image": {"no_setup": 2}}


def late_image(place: Path, late_ms: int) -> Path:
    """A recording whose fourth image was logged later than the order of stamps is restored."""
    made = toy_recording(10, key_every=100)
    rows = [row for row in made.rows if row[1] == "/image"]
    made.rows[made.rows.index(rows[3])] = (rows[3][0] + late_ms * MS, *rows[3][1:])
    return made.write(place)


def test_messages_that_build_on_each_other_out_of_order_keep_a_recording_in_one_piece(
    tmp_path: Path, config: Config
) -> None:
    bag = late_image(tmp_path / "bag", 800)
    with pytest.raises(NotDivisibleError):
        in_chunks(bag, config, tmp_path / "parts")
    assert len(convert_bag(bag, config, tmp_path / "spool").scenes) == 4


def test_one_that_came_too_late_for_its_frame_stays_out_of_the_pieces_too(tmp_path: Path, config: Config) -> None:
    bag = late_image(tmp_path / "bag", 1200)
    whole = convert_bag(bag, config, tmp_path / "whole")
    assert whole.losses == {"/image": {"no_frame": 1}}
    in_chunks(bag, config, tmp_path / "parts")
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
