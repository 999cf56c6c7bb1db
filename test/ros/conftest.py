# SPDX-License-Identifier: Apache-2.0
"""The drive that live tests play: four seconds as elsewhere, but of small clouds and images; and those of faults."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from drives import SHORT, Drive, make_drive

sys.path.append(str(Path(__file__).parent.parent / "inspect"))  # for small_drive

SMALL = replace(SHORT, points=2000, image_width=320, image_height=200)


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    return make_drive(tmp_path_factory.mktemp("small"), SMALL)
