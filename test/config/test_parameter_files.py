# SPDX-License-Identifier: Apache-2.0
"""Parameter files reach ROS 2 without what its parser cannot read."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nucleus_bridge.config.parameter_files import readable_arguments


def test_empty_mappings_are_left_out_of_a_copy_that_is_gone_afterwards(tmp_path: Path) -> None:
    given = tmp_path / "drive.yaml"
    given.write_text(
        "/**:\n  ros__parameters:\n    radars: {}\n    gps: {topic: '', lever: {}}\n    max: .inf\n    n: '1'\n"
    )
    before = given.read_bytes()
    with readable_arguments(["node", "--ros-args", "--params-file", str(given), "-p", "a:=b"]) as arguments:
        assert arguments[:3] + arguments[4:] == ["node", "--ros-args", "--params-file", "-p", "a:=b"]
        copy = Path(arguments[3])
        parameters = yaml.safe_load(copy.read_text())["/**"]["ros__parameters"]
        assert parameters == {"gps": {"topic": ""}, "max": float("inf"), "n": "1"}
    assert not copy.exists()
    assert given.read_bytes() == before


def test_an_alias_is_written_out(tmp_path: Path) -> None:
    given = tmp_path / "drive.yaml"
    given.write_text("/**:\n  ros__parameters:\n    a: &it {x: 1}\n    b: *it\n    c: {}\n")
    with readable_arguments(["--params-file", str(given)]) as [_, copy]:
        assert "&" not in Path(copy).read_text()
        assert yaml.safe_load(Path(copy).read_text())["/**"]["ros__parameters"] == {"a": {"x": 1}, "b": {"x": 1}}


@pytest.mark.parametrize("text", ["/**:\n  ros__parameters:\n    a: 1\n", "a: [1", "\x00", "just text"])
def test_every_other_file_is_handed_on_as_it_is(tmp_path: Path, text: str) -> None:
    given = tmp_path / "drive.yaml"
    given.write_text(text)
    with readable_arguments(
        ["--params-file", str(given), "--params-file", str(tmp_path / "missing.yaml")]
    ) as arguments:
        assert arguments == ["--params-file", str(given), "--params-file", str(tmp_path / "missing.yaml")]


def test_a_file_of_nothing_but_empty_mappings_is_not_handed_on(tmp_path: Path) -> None:
    given = tmp_path / "drive.yaml"
    given.write_text("/**: {ros__parameters: {}}\n")
    with readable_arguments(["node", "--params-file", str(given), "--params-file"]) as arguments:
        assert arguments == ["node", "--params-file"]
