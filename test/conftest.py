# SPDX-License-Identifier: Apache-2.0
"""What tests of several rooms share: the demo drive, real recordings where they are present, the real client."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from drives import SHORT, Drive, make_drive

from nucleus_bridge.convert import ConversionReport, convert_bag

# A shell starts background jobs with SIGINT ignored, and so would be the programs that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    """Four seconds: standing for one, then accelerating through a curve; two JPEG cameras, mcap."""
    return make_drive(tmp_path_factory.mktemp("drive"), SHORT)


@pytest.fixture(scope="session")
def converted(drive: Drive, tmp_path_factory: pytest.TempPathFactory) -> ConversionReport:
    """The drive, converted with its own configuration."""
    return convert_bag(drive.bag, drive.config, tmp_path_factory.mktemp("converted") / "spool")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real recordings, where it is present."""
    folder = os.environ.get("NUCLEUS_BRIDGE_TEST_DATA", "")
    if not folder:
        pytest.skip("NUCLEUS_BRIDGE_TEST_DATA is not set: no real recordings to test with")
    return Path(folder)


@pytest.fixture(scope="session")
def client_python() -> Path:
    """Interpreter of an environment that has the real scale-nucleus client."""
    python = os.environ.get("NUCLEUS_BRIDGE_CLIENT_PYTHON", "")
    if not python:
        pytest.skip("NUCLEUS_BRIDGE_CLIENT_PYTHON is not set: no real client to test with")
    return Path(python)


@pytest.fixture
def hang_guard() -> Iterator[None]:
    """Fail a test that has not ended after ten minutes, instead of waiting forever."""

    def give_up(_number: int, _frame: FrameType | None) -> None:
        pytest.fail("it hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(600)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
