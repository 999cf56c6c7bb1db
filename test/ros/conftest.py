# SPDX-License-Identifier: Apache-2.0
"""The drive that live tests play: four seconds as elsewhere, but of small clouds and images."""

from __future__ import annotations

from dataclasses import replace

import pytest
from drives import SHORT, Drive, make_drive

SMALL = replace(SHORT, points=2000, image_width=320, image_height=200)


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    return make_drive(tmp_path_factory.mktemp("small"), SMALL)
