# SPDX-License-Identifier: Apache-2.0
"""What is said of a slip: what was meant, each thing once, and what to do next."""

from __future__ import annotations

from pathlib import Path

import pytest
from bags import CONFIG, MS, START_NS, Recording, cloud, recording, write_config

from nucleus_bridge.cli.main import main
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.errors import ExtrapolationError, InputError
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.geometry import TransformTree
from nucleus_bridge.labels.compare import labels_of_file
from nucleus_bridge.preview.labels import LabelFile


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err


def test_a_topic_that_is_misspelt_is_answered_with_the_one_that_was_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = recording().write(tmp_path / "bag")
    config = write_config(tmp_path, CONFIG.replace("/points", "/pionts"))
    text = said(capsys, "convert", bag, "--config", config, "--output", tmp_path / "spool")
    assert "/pionts is not in" in text
    assert "did you mean /points? Clouds here: /points" in text
    assert "sensor_msgs" not in text
    assert "image" not in text.lower().partition("clouds here")[2].partition(";")[0]


def test_images_that_may_hold_depth_are_offered_where_nothing_else_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = recording().without("/points").write(tmp_path / "bag")
    text = said(capsys, "convert", bag, "--config", write_config(tmp_path), "--output", tmp_path / "spool")
    assert "Clouds here: " in text
    assert "did you mean" not in text


def test_a_topic_of_another_type_is_named_with_its_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = recording().write(tmp_path / "bag")
    config = write_config(tmp_path, CONFIG.replace("/points", "/tf_static"))
    text = said(capsys, "convert", bag, "--config", config, "--output", tmp_path / "spool")
    assert "/tf_static in" in text
    assert "is tf2_msgs/msg/TFMessage, not a type that is read here. Clouds here: /points" in text


def test_a_configuration_that_is_missing_is_answered_with_the_command_that_writes_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = recording().write(tmp_path / "bag")
    text = said(capsys, "convert", bag, "--config", tmp_path / "none.yaml", "--output", tmp_path / "spool")
    assert "`nucleus-bridge init BAG -o drive.yaml` writes one" in text


def test_a_folder_that_is_no_scene_may_be_a_spool_for_preview(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "give a spool, or a folder below SPOOL/scenes" in said(capsys, "preview", tmp_path)


@pytest.mark.parametrize("read", [lambda path: list(labels_of_file(path)), LabelFile])
def test_a_file_that_is_missing_is_named_once(tmp_path: Path, read: object) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path / "labels.jsonl")  # type: ignore[operator]
    assert str(caught.value).count("labels.jsonl") == 1
    assert str(caught.value).endswith("cannot be read: No such file or directory")


def test_one_warning_is_not_one_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Recording()
    for number in range(4):
        made.add("/points", cloud(START_NS + 100 * number * MS), START_NS + 100 * number * MS)
    assert main(["inspect", str(made.write(tmp_path / "bag"))]) == 0
    assert "1 warning, which may mean errors of metres" in capsys.readouterr().out


def test_nothing_newer_is_waited_for_in_what_is_over() -> None:
    tree = TransformTree()
    for number in range(3):
        tree.add("map", "base", 10**9 + number, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    with pytest.raises(ExtrapolationError, match=r"which ends 500 ns too early$"):
        tree.lookup("map", "base", 10**9 + 502)


def test_a_scene_is_opened_by_text_and_iterated_over(tmp_path: Path) -> None:
    bag = recording(frames=3).write(tmp_path / "bag")
    folder = convert_bag(bag, str(write_config(tmp_path)), tmp_path / "spool").scenes[0].folder
    for scene in (open_scene(str(folder)), open_scene(folder)):
        stamps = [frame.timestamp_ns for frame in scene]
        assert stamps == [scene.frame(number).timestamp_ns for number in range(len(scene))]
        assert len(stamps) == len(scene) > 1
