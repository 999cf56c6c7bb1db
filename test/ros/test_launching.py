# SPDX-License-Identifier: Apache-2.0
"""What a launch refuses before it starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from bags import write_config

from nucleus_bridge.errors import ConfigError, InputError
from nucleus_bridge.ros.launching import check_launch, respawn_arguments


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NUCLEUS_API_KEY", "SCALE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_an_upload_without_a_key_is_refused_and_without_upload_none_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = str(write_config(tmp_path))
    with pytest.raises(ConfigError, match="NUCLEUS_API_KEY"):
        check_launch(config, "", uploads=True)
    check_launch(config, "", uploads=False)
    monkeypatch.setenv("NUCLEUS_API_KEY", "key")
    check_launch(config, "", uploads=True)


def test_a_file_for_several_robots_counts_for_the_namespace_that_is_launched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = write_config(tmp_path).read_text()
    config = tmp_path / "robots.yaml"
    both = text.replace("/**:", "/one/nucleus_uploader:") + text.replace("/**:", "/two/nucleus_uploader:")
    config.write_text(both)
    monkeypatch.setenv("NUCLEUS_API_KEY", "key")
    check_launch(str(config), "one", uploads=True)
    check_launch(str(config), "/two", uploads=True)


def test_a_parameter_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config:=.*nowhere\.yaml: there is no such file"):
        check_launch(str(tmp_path / "nowhere.yaml"), "", uploads=False)


@pytest.mark.parametrize(("delay", "most"), [("soon", "1"), ("-1", "1"), ("nan", "1"), ("1.0", "2.5"), ("1.0", "-2")])
def test_limits_that_are_none_are_refused(delay: str, most: str) -> None:
    with pytest.raises(InputError, match=f"respawn_delay:={delay} respawn_max_retries:={most}: must be"):
        respawn_arguments(delay, most, can_limit=True)


def test_the_limit_is_passed_on_where_launch_has_one() -> None:
    always = {"respawn": True, "respawn_delay": 2.0}
    assert respawn_arguments("2.0", "3", can_limit=True) == {**always, "respawn_max_retries": 3}
    assert respawn_arguments("2.0", "-1", can_limit=False) == always
    with pytest.raises(InputError, match="this ROS 2 cannot limit it"):
        respawn_arguments("2.0", "3", can_limit=False)
