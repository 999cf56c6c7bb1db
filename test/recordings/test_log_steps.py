# SPDX-License-Identifier: Apache-2.0
"""A recorder whose clock was set back loses nothing and moves nothing: the order of the file counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from recordings import CLOUDS, MS, START_NS, STORAGES, TF, Logged, cdr, write_bag
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from nucleus_bridge.recordings import open_recording


@pytest.mark.parametrize(("storage", "mode"), STORAGES)
@pytest.mark.parametrize("back_ms", [90, 700, 4000])
def test_messages_come_in_the_order_in_which_they_were_written(
    tmp_path: Path, storage: StoragePlugin, mode: CompressionMode, back_ms: int
) -> None:
    logged = []
    for number in range(100):
        log_ms = 40 * number - (back_ms if number >= 55 else 0)
        for topic, delay_ms in ((CLOUDS, 3), (TF, 1)):
            stamp_ns = START_NS + (40 * number + delay_ms) * MS
            logged.append(Logged(topic, START_NS + (log_ms + delay_ms) * MS, cdr(stamp_ns, b"%04d" % number)))
    path = write_bag(tmp_path / "bag", logged, storage, mode)
    with open_recording(path) as recording:
        for topic in (CLOUDS, TF):
            read = [message.data for message in recording.messages({topic})]
            assert read == [one.data for one in logged if one.topic == topic]
        assert len(list(recording.messages({CLOUDS, TF}))) == len(logged)
        assert recording.damage == []


@pytest.mark.parametrize(("storage", "suffix"), [(StoragePlugin.MCAP, "mcap"), (StoragePlugin.SQLITE3, "db3")])
@pytest.mark.parametrize("back_ms", [350, 1700, 90_000])
@pytest.mark.parametrize("cut", [40, 55])
def test_a_clock_set_back_between_two_files_of_a_recording_moves_nothing(
    tmp_path: Path, storage: StoragePlugin, suffix: str, back_ms: int, cut: int
) -> None:
    logged = []
    for number in range(80):
        log_ms = 30 * number - (back_ms if number >= 55 else 0)
        for topic, delay_ms in ((CLOUDS, 4), (TF, 2)):
            stamp_ns = START_NS + (30 * number + delay_ms) * MS
            logged.append(Logged(topic, START_NS + (log_ms + delay_ms) * MS, cdr(stamp_ns, b"%04d" % number)))
    folder = tmp_path / "bag"
    folder.mkdir()
    for part, rows in enumerate((logged[: 2 * cut], logged[2 * cut :])):
        written = write_bag(tmp_path / f"part{part}", rows, storage, CompressionMode.NONE)
        next(written.glob(f"*.{suffix}")).rename(folder / f"bag_{part}.{suffix}")
    with open_recording(folder) as recording:
        for topic in (CLOUDS, TF):
            read = [message.data for message in recording.messages({topic})]
            assert read == [one.data for one in logged if one.topic == topic]
        assert len(list(recording.messages({CLOUDS, TF}))) == len(logged)
