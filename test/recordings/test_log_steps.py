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
