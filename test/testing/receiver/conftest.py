# SPDX-License-Identifier: Apache-2.0
"""A receiver for each test, with a folder that stands for the bucket its items are in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))

from receiver_driver import Driver, write_items

from nucleus_bridge.testing.receiver import Receiver, resolvers_from_mappings


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """Folder behind s3://bucket, with a good cloud and good images in it."""
    folder = tmp_path / "bucket"
    folder.mkdir()
    write_items(folder)
    return folder


@pytest.fixture
def serve(tmp_path: Path, bucket: Path) -> Iterator[Callable[..., Driver]]:
    """Start a receiver, always on the same folder; a second call stops the first one."""
    started: list[Receiver] = []

    def start(**options: Any) -> Driver:
        if started:
            started[-1].stop()
        resolvers = resolvers_from_mappings([f"s3://bucket={bucket}"])
        started.append(Receiver(tmp_path / "kept", **{"resolvers": resolvers, **options}).start())
        return Driver(started[-1])

    yield start
    for receiver in started:
        receiver.stop()


@pytest.fixture
def driver(serve: Callable[..., Driver]) -> Driver:
    return serve()
