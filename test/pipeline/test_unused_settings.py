# SPDX-License-Identifier: Apache-2.0
"""What is accepted and does nothing is said, never passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
from bags import recording, write_config

from nucleus_bridge.config import load_config
from nucleus_bridge.convert import convert_bag


@pytest.mark.parametrize(
    ("setting", "parameter"),
    [
        ("ros.heal=true", "ros.heal"),
    ],
)
def test_a_parameter_without_an_effect_is_named(tmp_path: Path, setting: str, parameter: str) -> None:
    bag = recording().write(tmp_path / "bag")
    config = write_config(tmp_path)
    report = convert_bag(bag, load_config(config, [setting]), tmp_path / "spool")
    assert [(one.code.value, one.name) for one in report.findings] == [("setting_unused", parameter)]
    assert convert_bag(bag, load_config(config), tmp_path / "plain").findings == ()
