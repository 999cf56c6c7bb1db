# SPDX-License-Identifier: Apache-2.0
"""A receiver on a folder of objects for each test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))

from upload_scenes import file_receiver

from nucleus_bridge.testing.receiver import Receiver


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "NUCLEUS_ENDPOINT",
        "NUCLEUS_API_KEY",
        "SCALE_ENDPOINT",
        "SCALE_API_KEY",
        "AWS_ENDPOINT_URL",
        "NUCLEUS_BRIDGE_FAILPOINT",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def objects(tmp_path: Path) -> Path:
    """Folder that stands for the object store."""
    return tmp_path / "objects"


@pytest.fixture
def serve(tmp_path: Path, objects: Path) -> Iterator[Callable[..., Receiver]]:
    started: list[Receiver] = []

    def start(**options: Any) -> Receiver:
        if started:
            started[-1].stop()
        started.append(file_receiver(tmp_path / "kept", objects, **options).start())
        return started[-1]

    yield start
    for receiver in started:
        receiver.stop()


@pytest.fixture
def receiver(serve: Callable[..., Receiver]) -> Receiver:
    return serve()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"
