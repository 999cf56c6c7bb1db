# SPDX-License-Identifier: Apache-2.0
"""Parameter files reach ROS 2 without what its parser cannot read."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nucleus_bridge.config.parameter_files import parameter_files, parameters_and_folders, readable_arguments


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


def test_every_value_stays_as_it_was_written(tmp_path: Path) -> None:
    body = "    a: 1_000\n    b: 010\n    c: '010'\n    d: 2026-11-28\n    e: yes\n    f: \"yes\"\n    g: [1e3, .inf]\n"
    given = tmp_path / "drive.yaml"
    given.write_text(f"/**:\n  ros__parameters:\n    empty: {{}}\n{body}    h: !!str 5\n    i: {'x ' * 100}\n")
    with readable_arguments(["--params-file", str(given)]) as [_, copy]:
        written = Path(copy).read_text()
    assert written == f"/**:\n  ros__parameters:\n{body}    h: !!str '5'\n    i: {'x ' * 99}x\n"


@pytest.mark.parametrize(
    "text", ["/**:\n  ros__parameters:\n    a: 1\n", "a: [1", "\x00", "just text", "a: {}\nb: &it {x: 1}\nc: *it\n"]
)
def test_every_other_file_is_handed_on_as_it_is(tmp_path: Path, text: str) -> None:
    given = tmp_path / "drive.yaml"
    given.write_text(text)
    with readable_arguments(
        ["--params-file", str(given), "--params-file", str(tmp_path / "missing.yaml")]
    ) as arguments:
        assert arguments == ["--params-file", str(given), "--params-file", str(tmp_path / "missing.yaml")]


def test_the_last_file_that_gives_a_parameter_says_where_it_counts_from(tmp_path: Path) -> None:
    (tmp_path / "vehicle").mkdir()
    first, second = tmp_path / "base.yaml", tmp_path / "vehicle" / "own.yaml"
    first.write_text("/**:\n  ros__parameters: {a: base, b: base}\n")
    second.write_text(
        "/r1/nucleus_recorder:\n  ros__parameters: {a: z}\n/r2/nucleus_recorder:\n  ros__parameters: {b: z}\n"
    )
    files = parameter_files(["node", "--params-file", str(first), "-p", "a:=1", "--params-file", str(second)])
    found = parameters_and_folders(files, "/r1/nucleus_recorder")
    assert found == {"a": ("z", second.parent), "b": ("base", tmp_path)}


def test_a_file_of_nothing_but_empty_mappings_is_not_handed_on(tmp_path: Path) -> None:
    given = tmp_path / "drive.yaml"
    given.write_text("/**: {ros__parameters: {}}\n")
    with readable_arguments(["node", "--params-file", str(given), "--params-file"]) as arguments:
        assert arguments == ["node", "--params-file"]
