# SPDX-License-Identifier: Apache-2.0
"""Every word for a loss or for the end of a scene has its row where users look it up."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from nucleus_bridge import causes

PAGE = (Path(__file__).parents[1] / "docs" / "troubleshooting.md").read_text()


@pytest.mark.parametrize("word", sorted({*get_args(causes.Cause), *get_args(causes.EndReason)}))
def test_every_cause_and_every_end_of_a_scene_is_explained(word: str) -> None:
    assert f"`{word}`" in PAGE
