# SPDX-License-Identifier: Apache-2.0
"""Which sections of a parameter file are the recorder's where no node tells its namespace."""

from __future__ import annotations

from pathlib import Path

import pytest

from nucleus_bridge.config import load_config
from nucleus_bridge.config.sections import fits
from nucleus_bridge.errors import ConfigError

SENSORS = "  ros__parameters: {lidar_names: [top], lidars: {top: {topic: /points}}}\n"


def section(name: str, text: str = "") -> str:
    return f"{name}:\n  ros__parameters: {{{text}}}\n" if text else f"{name}:\n{SENSORS}"


def prefix(tmp_path: Path, *sections: str) -> str:
    path = tmp_path / "config.yaml"
    path.write_text("".join(sections))
    return load_config(path).scene.prefix


def wild(name: str) -> str:
    return section(name, f"scene: {{prefix: {name.strip('/').replace('/', '-').replace('*', 'x')}}}")


@pytest.mark.parametrize(
    "name", ["/**", "/*", "/nucleus_recorder", "nucleus_recorder", "/**/nucleus_recorder", "/*/**"]
)
def test_without_another_name_the_node_is_at_the_root(tmp_path: Path, name: str) -> None:
    assert prefix(tmp_path, section(name), wild("/robot1/*"), wild("/*/nucleus_recorder")) == "drive"


@pytest.mark.parametrize(
    "name",
    ["/robot1/nucleus_recorder", "robot1/nucleus_recorder", "/robot1/nucleus_uploader"],
)
def test_the_only_namespace_that_a_file_tells_is_the_nodes_own(tmp_path: Path, name: str) -> None:
    assert prefix(tmp_path, section(name), wild("/**/nucleus_recorder"), wild("/robot2/other")) == "xx-nucleus_recorder"


@pytest.mark.parametrize("name", ["/robot1/*", "/robot1/**", "/*/nucleus_recorder", "/robot1/*/nucleus_recorder"])
def test_where_nothing_is_for_a_node_at_the_root_a_wildcard_below_tells_the_namespace(
    tmp_path: Path, name: str
) -> None:
    assert prefix(tmp_path, section(name), section("/robot2/other", "deskew: 5")) == "drive"


def test_namespaces_may_be_nested(tmp_path: Path) -> None:
    nested = "robot1:\n  sensing:\n    nucleus_recorder:\n    " + SENSORS.replace("\n", "\n    ").rstrip(" ")
    other = "robot2:\n  ouster_driver:\n    ros__parameters: {hostname: os-1, deskew: 5}\n"
    assert prefix(tmp_path, nested, other, wild("/robot1/**"), wild("/robot1/*")) == "robot1-xx"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("/robot1/nucleus_recorder", "/robot2/nucleus_recorder"),
        ("robot1/nucleus_recorder", "/robot2/nucleus_uploader"),
        ("/nucleus_recorder", "/robot2/nucleus_recorder"),
        ("/robot1/*", "/robot2/**"),
        ("/fleet/robot1/**", "/fleet/robot2/**"),
    ],
)
def test_two_robots_in_one_file_are_refused_by_name(tmp_path: Path, first: str, second: str) -> None:
    with pytest.raises(ConfigError) as caught:
        prefix(tmp_path, section(first), section(second))
    for name in (first, second):
        assert name.lstrip("/").partition("/*")[0].partition("/**")[0] in str(caught.value)


def test_a_recorder_and_an_uploader_of_one_robot_are_read_together(tmp_path: Path) -> None:
    assert prefix(tmp_path, section("/r/nucleus_recorder"), section("/r/nucleus_uploader", "scene: {prefix: x}")) == "x"


@pytest.mark.parametrize(
    "held",
    [
        "{ros__parameters: {a: [1, x], b: [[1], 2], c: &it 5, d: *it, e: 1, e: 2, f: , g: {}}}",
        "{ros__parameters: [1, 2]}",
        "{ros__parameters: }",
        "{no_marker: 5}",
        "{deeper: {ros__parameters: {scene: {prefix: theirs}}}}",
        "!odd {ros__parameters: !odd {scene.prefix: theirs}}",
        "5",
    ],
)
@pytest.mark.parametrize(
    "name", ["ouster_driver", "/**/ouster_driver", "/*/ouster_driver", "/robot1/camera", "/robot1"]
)
def test_sections_of_other_nodes_are_skipped_whatever_they_hold(tmp_path: Path, name: str, held: str) -> None:
    assert prefix(tmp_path, f"{name}: {held}\n", section("/**")) == "drive"
    assert prefix(tmp_path, section("/**"), f"{name}: {held}\n") == "drive"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (section("/ouster"), "no section is for /nucleus_recorder or /nucleus_uploader"),
        (section("/ouster"), "the file has '/ouster'"),
        ("/**: {lidar_names: [top]}", "section '/**' must hold 'ros__parameters:'"),
        ("/**: {ros__parameters: }", "section '/**': ros__parameters must be a mapping"),
        ("/**: {ros__parameters: {}}\n/**: {ros__parameters: {}}", "line 2: key '/**' is given twice"),
        ("/**: {ros__parameters: {a.b: 1,\n a: {b: 2}}}", "line 2: parameter 'a.b' of '/**' is given twice"),
        ("/**: {ros__parameters: {gps: }}", "gps: has no value; leave it out, or write ''"),
        (
            "/**: {ros__parameters: {a: [1, 2.5]}}",
            "a: ROS 2 reads no list of whole and decimal numbers; write [1.0, 2.5]",
        ),
        ("/**: {ros__parameters: {a: [1, x]}}", "a: ROS 2 reads no list of different types"),
        ("/**: {ros__parameters: {a: [[1]]}}", "a: ROS 2 reads no list or mapping within a list"),
        ("/**: {ros__parameters: {a: &x 1, b: *x}}", "line 1: aliases (*x) cannot be used"),
        ("/**: {ros__parameters: {scene: {prefix: 010}}}", "scene.prefix: must be text, not 8; put text in quotes"),
    ],
)
def test_what_is_wrong_in_the_own_section_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        prefix(tmp_path, text)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_mapping_or_list_sets_nothing(tmp_path: Path) -> None:
    assert (
        prefix(tmp_path, section("/**"), section("/*", "radars: {}, metadata: {}, camera_names: [], gps: {}"))
        == "drive"
    )


def test_overrides_are_read_like_the_file_and_take_mixed_numbers(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(section("/**"))
    given = ("metadata.day=2026-11-28", "metadata.wet=yes", "lidars.top.crop_box=[-1, -1, 0, 1.5, 1, 2]")
    config = load_config(path, given)
    assert config.metadata == (("day", "2026-11-28"), ("wet", True))
    assert config.lidars[0].crop_box == (-1.0, -1.0, 0.0, 1.5, 1.0, 2.0)
    with pytest.raises(ConfigError, match="--set lidars: holds keys and values; set them one by one"):
        load_config(path, ("lidars={top: 1}",))
    with pytest.raises(ConfigError, match=r"--set scene\.prefix: has no value"):
        load_config(path, ("scene.prefix=",))


def test_wildcards_stand_for_parts_of_a_name() -> None:
    assert fits("/**", "/a/b/c")
    assert fits("/*/c", "/a/c")
    assert not fits("/*/c", "/a/b/c")
    assert not fits("/a", "/ab")
    assert not fits("/.", "/a")
