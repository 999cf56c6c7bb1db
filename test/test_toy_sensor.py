# SPDX-License-Identifier: Apache-2.0
"""The seam for sensors: a message type that this test alone knows, whose decoder keeps state, becomes images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from bags import MS, START_NS, Recording, write_config
from toy_camera import INTERFACE, TYPE, expected_grey, frames, toy_recording

from nucleus_bridge.archive.chunks import STORED, Chunk, chunks_of, whole_events
from nucleus_bridge.archive.plain import from_json, to_json
from nucleus_bridge.config import Config, load_config
from nucleus_bridge.convert import ConversionReport, convert_bag, primed_pipeline
from nucleus_bridge.decode import registry
from nucleus_bridge.errors import InputError
from nucleus_bridge.recordings import open_recording
from nucleus_bridge.render import SceneRecorder
from nucleus_bridge.render.workers import InlineExecutor
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


def test_a_topic_of_another_type_is_an_error_that_names_this_one_too(tmp_path: Path, config: Config) -> None:
    made = toy_recording(2)
    made.rows = [
        (log, topic, "std_msgs/msg/Header" if topic == "/image" else kind, data) for log, topic, kind, data in made.rows
    ]
    with pytest.raises(InputError, match=f"not sensor_msgs/msg/Image or .* or {TYPE}; topics"):
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
