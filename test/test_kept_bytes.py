# SPDX-License-Identifier: Apache-2.0
"""What is written stays what it was, bit for bit, however the code behind it changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kept_drives import CASES, KEPT, digests


@pytest.mark.parametrize("name", CASES)
def test_the_files_are_the_bytes_they_always_were(name: str, tmp_path: Path) -> None:
    assert digests(tmp_path, name) == json.loads(KEPT.read_text())[name]


def test_every_kept_digest_is_of_a_case() -> None:
    assert json.loads(KEPT.read_text()).keys() == CASES.keys()
