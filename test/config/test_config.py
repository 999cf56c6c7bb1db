# SPDX-License-Identifier: Apache-2.0
"""Parameter files: what is accepted, and what each mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from nucleus_bridge.config import Config, config_from_values, load_config
from nucleus_bridge.config.docs import page
from nucleus_bridge.errors import ConfigError

GOOD = """
/**:
  ros__parameters:
    use_sim_time: true
    world_frame: map
    lidar_names: [top]
    lidars:
      top: {topic: /lidar/points, max_range_m: .inf, min_range_m: 1e-1}
    camera_names: [front]
    cameras:
      front: {image_topic: /front/image, info_topic: front/camera_info, tolerance_ms: 50}
    radars: {}
    metadata: {driver: Ann, "weather": rain}
    qos_overrides: {/lidar/points: {subscription: {depth: 5}}}
"""


def load(tmp_path: Path, text: str = GOOD, overrides: tuple[str, ...] = ()) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load_config(path, overrides)


def test_reads_a_ros_parameter_file(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.lidars[0].topic == "/lidar/points"
    assert config.lidars[0].min_range_m == 0.1
    assert config.lidars[0].max_range_m == float("inf")
    assert config.cameras[0].tolerance_ms == 50.0
    assert config.cameras[0].info_topic == "/front/camera_info"
    assert config.metadata == (("driver", "Ann"), ("weather", "rain"))
    assert config.cloud_sensor == "top"


def test_the_later_section_wins_and_other_nodes_are_left_alone(tmp_path: Path) -> None:
    own = "nucleus_recorder:\n  ros__parameters: {scene.prefix: mine}\n"
    wild = GOOD.replace("world_frame: map", "scene: {prefix: wild}")
    other = "other_node:\n  ros__parameters: {nonsense: [1, x], twice: 1, twice: 2, anchored: &it 1, alias: *it}\n"
    assert load(tmp_path, wild + own + other).scene.prefix == "mine"
    assert load(tmp_path, other + own + wild).scene.prefix == "wild"


def test_overrides_win_and_are_yaml(tmp_path: Path) -> None:
    config = load(tmp_path, overrides=("scene.max_gap_s=2", "point_fields=[intensity, time]", "deskew=false"))
    assert (config.scene.max_gap_s, config.point_fields, config.deskew) == (2.0, ("intensity", "time"), False)


def test_a_name_list_given_as_override_leaves_the_other_sections_out(tmp_path: Path) -> None:
    assert load(tmp_path, overrides=("camera_names=[]",)).cameras == ()


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("scene.prefx=a", "scene.prefx: no such parameter; the nearest name is 'scene.prefix'"),
        ("scene.max_items=301", "scene.max_items: must be an integer from 1 to 300, not 301"),
        ("scene.max_items=1", "cannot hold one frame of a cloud and 1 images"),
        ("scene.max_items=2.5", "scene.max_items: must be an integer from 1 to 300, not 2.5"),
        ("scene.max_items=true", "not True"),
        ("scene.max_gap_s=-1", "scene.max_gap_s: must be a number of at least 0, not -1.0"),
        ("scene.max_gap_s=.nan", "not nan"),
        ("scene.prefix=a/b", "scene.prefix: 'a/b'"),
        ("scene.prefix=../up", "scene.prefix: '../up'"),
        ("deskew=7", "deskew: must be true or false, not 7"),
        ("world_frame=''", "world_frame: must name a frame"),
        ("lidars.top.stamp=centre", "lidars.top.stamp: must be one of start, middle, end, not 'centre'"),
        ("lidars.top.min_range_m=1e9", None),
        ("lidars.roof.topic=/x", "'roof' is not in lidar_names (top)"),
        ("lidar_names=[]", "lidar_names: name at least one lidar"),
        ("lidar_names=[a/b]", "lidar_names: 'a/b' must be letters"),
        ("lidar_names=[top, top]", "names an entry twice"),
        ("lidar_names=top", "lidar_names: must be a list of text, not 'top'"),
        ("lidar_names=[front]", "lidars.front.topic: must be set"),
        ("point_fields=[colour]", "entries must be of intensity, device, time, is_ground, not 'colour'"),
        ("point_fields=[is_ground]", "needs lidars.top.ground_field"),
        ("cameras.front.info_topic=''", "cameras.front.info_topic: set it, or cameras.front.calibration_file"),
        ("cameras.front.calibration_file=missing.yaml", "missing.yaml cannot be read"),
        ("metadata.run=[7]", "metadata.run: must be text, a finite number, or true or false, not [7]"),
        ("nonsense", "expected key=value"),
        ("scene.prefix=[", "not valid YAML"),
        ("spool.when_full=panic", "must be one of block, drop_oldest, drop_newest"),
    ],
)
def test_each_mistake_names_the_parameter_the_value_and_what_is_allowed(
    tmp_path: Path, override: str, told: str | None
) -> None:
    if told is None:
        assert load(tmp_path, overrides=(override,)).lidars[0].min_range_m == 1e9
        return
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, overrides=(override,))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected a ROS 2 parameter file"),
        ("[1, 2]", "expected a ROS 2 parameter file"),
        ("/**: {parameters: {}}", "must hold 'ros__parameters:'"),
        ("/**: {ros__parameters: [1]}", "must be a mapping"),
        ("/**: {ros__parameters: {a: 1, a: 2}}", "'a' is given twice"),
        ("/**: {ros__parameters: {? [1] : 2}}", "a key must be plain text"),
        ("/**: {ros__parameters: !!python/object:os.system {}}", "not valid YAML"),
        ("a: [", "not valid YAML at line 1"),
        ("a: " + "[" * 5000, "not valid YAML"),
        ("a: \x00", "not valid YAML"),
    ],
)
def test_files_that_are_no_parameter_file_are_refused_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml") as caught:
        load(tmp_path, text)
    assert told in str(caught.value)


def test_a_missing_file_and_a_binary_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml: cannot be read"):
        load_config(tmp_path / "nothing.yaml")
    (tmp_path / "binary.yaml").write_bytes(bytes(range(256)))
    with pytest.raises(ConfigError, match=r"binary\.yaml: cannot be read"):
        load_config(tmp_path / "binary.yaml")


def test_the_digest_follows_what_shapes_the_output_and_nothing_else(tmp_path: Path) -> None:
    base = load(tmp_path).digest
    assert (
        load(tmp_path, overrides=("spool.path=/somewhere", "upload.store=s3://bucket", "autostart=true")).digest == base
    )
    assert load(tmp_path, overrides=("scene.prefix=other",)).digest != base
    (tmp_path / "calibration.yaml").write_text("one")
    fixed = ("cameras.front.calibration_file=calibration.yaml",)
    one = load(tmp_path, overrides=fixed).digest
    (tmp_path / "calibration.yaml").write_text("two")
    assert load(tmp_path, overrides=fixed).digest != one


def test_ros_cannot_write_an_empty_list_so_a_single_empty_text_stands_for_it() -> None:
    config = config_from_values({"lidar_names": ["top"], "lidars.top.topic": "/p", "camera_names": [""]})
    assert config.cameras == ()


def test_the_parameter_page_is_the_table() -> None:
    committed = Path(__file__).parents[2] / "docs" / "parameters.md"
    assert committed.read_text() == page(), "run: python -m nucleus_bridge.config.docs > docs/parameters.md"
