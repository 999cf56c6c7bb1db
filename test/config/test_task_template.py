# SPDX-License-Identifier: Apache-2.0
"""Task templates: what they may hold, and that what they may not hold is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nucleus_bridge.config.task_template import load_task_template
from nucleus_bridge.errors import ConfigError

FULL: dict[str, Any] = {
    "labels": ["car", {"choice": "vehicle", "subchoices": ["bus", "truck"]}],
    "project": "streets",
    "batch": "week 3",
    "instruction": "Draw a box around *each* object.",
    "callback_url": "https://example.org/done?drive=7",
    "max_distance_meters": 80,
    "meters_per_unit": 1.0,
    "annotation_attributes": {"parked": {"type": "category", "choices": ["yes", "no"]}},
    "metadata": {"vehicle": "v1"},
    "dependents": {"defs": [{"type": "lidarlinking"}], "require_audit": True},
    "tags": ["night"],
    "priority": 3,
    "clear_unique_id_on_error": True,
    "extra": {"a_new_field": [1, 2]},
}


def written(folder: Path, text: str, name: str = "task.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["task.yaml", "task.json"])
def test_every_field_is_sent_with_what_the_scene_gives(tmp_path: Path, name: str) -> None:
    template = load_task_template(written(tmp_path, json.dumps(FULL, indent="\t" if "json" in name else 1), name))
    request = template.request("drive-1", ["s3://b/0.json", "s3://b/1.json"], {"attachment_type": "json"}, "c0ffee")
    assert request == {
        **{key: value for key, value in FULL.items() if key != "extra"},
        "a_new_field": [1, 2],
        "unique_id": "drive-1",
        "attachments": ["s3://b/0.json", "s3://b/1.json"],
        "attachment_type": "json",
        "metadata": {"vehicle": "v1", "scene_reference_id": "drive-1", "scene_content": "c0ffee"},
    }


def test_labels_alone_are_enough(tmp_path: Path) -> None:
    template = load_task_template(written(tmp_path, "labels: [car]\n"))
    assert sorted(template.request("d", ["s3://b/0.pb"], {"attachment_type": "protobuf"}, "c")) == [
        "attachment_type",
        "attachments",
        "labels",
        "metadata",
        "unique_id",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must hold keys and values"),
        ("[car]", "must hold keys and values"),
        ("labels: [car", "not valid YAML at line"),
        ("project: p", "labels is missing"),
        ("labels: []", "labels must be a list of texts"),
        ("labels: car", "labels must be a list of texts"),
        ("labels: [car]\nlabel: [car]", "label: no such key; the nearest is 'labels'"),
        ("labels: [car]\nproject: p\nproject: q", "'project' is given twice"),
        ("labels: [car]\nunique_id: mine", "unique_id is made from each scene"),
        ("labels: [car]\nextra: {attachments: [a]}", "attachments is made from each scene"),
        ("labels: [car]\nextra: {project: p}", "extra.project: set it as project"),
        ("labels: [car]\nextra: 5", "extra must hold keys"),
        ("labels: [car]\nproject: 7", "project must be a text, not 7"),
        ("labels: [car]\ncallback_url: example.org/x", "callback_url must be a http"),
        ("labels: [car]\ncallback_url: 'https://me:word@example.org'", "callback_url must be a http"),
        ("labels: [car]\nmax_distance_meters: 0", "max_distance_meters must be a number above 0"),
        ("labels: [car]\nmax_distance_meters: .nan", "cannot be sent as JSON"),
        ("labels: [car]\nmetadata: {day: 2026-01-02}", "cannot be sent as JSON"),
        ("labels: &a [*a]", "line 1: aliases (*a) cannot be used"),
        ("labels: [car]\nmetadata: {scene_content: x}", "metadata.scene_content is made from each scene"),
        ("labels: [car]\npriority: true", "priority must be a whole number"),
        ("labels: [car]\nextra: {scale_api_key: x}", "extra.scale_api_key looks like a secret"),
        ("labels: [car]\nmetadata: {note: [live_0123456789abcdef0]}", "metadata.note[0] looks like a secret"),
    ],
)
def test_what_a_template_may_not_hold_is_named_with_the_file(tmp_path: Path, text: str, reason: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_task_template(path)
    assert str(caught.value).startswith(f"task template {path}: ")
    assert reason in str(caught.value)
    assert "live_0123456789abcdef0" not in str(caught.value)


def test_a_key_twice_in_json_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'labels' is given twice"):
        load_task_template(written(tmp_path, '{"labels": ["a"], "labels": ["b"]}', "t.json"))
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load_task_template(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="has more than 1000000 bytes"):
        load_task_template(written(tmp_path, "labels: [car]\n" + "#" * 1_000_001))


SENSORFUSION = """type: sensorfusion
project: streets
instruction: mark every car
callback_url: https://example.org/done
is_frameless: true
annotation_definition: [{type: cuboid, label: car}]
"""


def test_tasks_of_scenes_have_one_attachment_and_its_format(tmp_path: Path) -> None:
    template = load_task_template(written(tmp_path, SENSORFUSION))
    assert (template.type, template.kind) == ("sensorfusion", "scene_task")
    request = template.request("drive-1", ["s3://b/scene.sfs"], {"scene_format": "sensor_fusion"}, "c0ffee")
    assert request == {
        "project": "streets",
        "instruction": "mark every car",
        "callback_url": "https://example.org/done",
        "is_frameless": True,
        "annotation_definition": [{"type": "cuboid", "label": "car"}],
        "unique_id": "drive-1",
        "scene_format": "sensor_fusion",
        "attachments": ["s3://b/scene.sfs"],
        "metadata": {"scene_reference_id": "drive-1", "scene_content": "c0ffee"},
    }


@pytest.mark.parametrize("key", ["project", "instruction", "callback_url", "is_frameless", "annotation_definition"])
def test_what_a_sensorfusion_task_needs_is_asked_for(tmp_path: Path, key: str) -> None:
    text = "".join(line for line in SENSORFUSION.splitlines(keepends=True) if not line.startswith(key))
    with pytest.raises(ConfigError, match=f"{key} is missing"):
        load_task_template(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("type: multistage\n", "needs a project, or a batch"),
        ("type: cuboids\nproject: p\n", "one of lidarannotation, sensorfusion, multistage"),
        ("type: [multistage]\nproject: p\n", "one of lidarannotation"),
        ("type: multistage\nproject: p\nscene_format: sensor_fusion\n", "made from each scene"),
    ],
)
def test_templates_of_scenes_are_checked(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_task_template(written(tmp_path, text))


def test_tasks_of_another_type_are_another_destination(tmp_path: Path) -> None:
    one = load_task_template(written(tmp_path, "type: multistage\nproject: p\n", "one.yaml"))
    other = load_task_template(written(tmp_path, "labels: [car]\nproject: p\n", "other.yaml"))
    assert one.digest != other.digest


@pytest.mark.parametrize("kind", ["sensorfusion", "multistage"])
def test_the_templates_that_come_with_the_package_can_be_used(kind: str) -> None:
    path = Path(__file__).parent.parent.parent / "config/tasks" / f"{kind}.yaml"
    assert load_task_template(path).type == kind
