# SPDX-License-Identifier: Apache-2.0
"""The recorder, whose decoder of the rear camera fails as nobody expects, at every message."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from nucleus_bridge.model import Message
from nucleus_bridge.pipeline.topics import Stream
from nucleus_bridge.ros.recorder import RecorderNode
from nucleus_bridge.ros.running import run

TAKE = Stream.take


def fails(stream: Stream, message: Message) -> Iterator[Any]:
    if message.topic == "/camera/rear/image_raw/compressed":
        raise ValueError("as the test wants")
    yield from TAKE(stream, message)


if __name__ == "__main__":
    Stream.take = fails
    sys.exit(run(RecorderNode, "for a test"))
