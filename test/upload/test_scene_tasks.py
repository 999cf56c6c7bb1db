# SPDX-License-Identifier: Apache-2.0
"""Tasks of .sfs scenes: one attachment each, once through kills and faults, against the local receiver."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from task_scenes import (
    TASK_KEY,
    held_tasks,
    seal_fusion_scene,
    task_command,
    task_endpoint,
    task_settings,
    template_file,
)
from upload_scenes import finish, manifest_of, records, scene_name, states

from nucleus_bridge.errors import ConfigError
from nucleus_bridge.formats.sfs.container import write_tree
from nucleus_bridge.spool import Spool
from nucleus_bridge.testing.receiver import Receiver
from nucleus_bridge.upload.board import Summary
from nucleus_bridge.upload.reconcile import reconcile
from nucleus_bridge.upload.store.objects import open_store
from nucleus_bridge.upload.tasks.client import TaskClient
from nucleus_bridge.upload.tasks.holdings import TaskHoldings
from nucleus_bridge.upload.uploader import Uploader

SENSORFUSION = """type: sensorfusion
project: streets
instruction: mark every car
callback_url: https://example.org/done
is_frameless: true
annotation_definition: [{type: cuboid, label: car}]
"""
TEMPLATES = {"sensorfusion": SENSORFUSION, "multistage": "type: multistage\nproject: streets\n"}


def seal_scene_file(spool_path: Path, number: int) -> str:
    spool = Spool(spool_path)
    spool.create()
    name = scene_name(number)
    scene = spool.open_scene(name)
    record = scene.write("scene.sfs", write_tree({"version": "1.0", "sensors": [], "metadata": {"number": number}}))
    spool.seal(scene, manifest_of(name, "sfs", 3, 0, [record]), replace_existing=False)
    return name


def upload(spool: Path, objects: Path, receiver: Receiver, template: Path, **changes: Any) -> Summary:
    return Uploader(spool, task_settings(receiver, f"file://{objects}", template, **changes), key=TASK_KEY).run()


def posts(receiver: Receiver, kind: str) -> list[int]:
    return [record.status for record in receiver.requests if record.path == f"/v1/task/{kind}"]


def assert_tasks_whole(spool: Path, objects: Path, receiver: Receiver, names: list[str], kind: str) -> None:
    tasks = {task["unique_id"]: task for task in held_tasks(receiver)}
    assert sorted(tasks) == sorted(names)
    for name, task in tasks.items():
        stored = objects / name / "scene.sfs"
        assert stored.read_bytes() == (spool / "scenes" / name / "scene.sfs").read_bytes()
        assert (objects / name / "manifest.sfs.json").is_file()
        assert task["type"] == kind
        assert task["params"]["attachments"] == [f"file://{stored}"]
        assert task["params"]["scene_format"] == "sensor_fusion"
        assert "attachment_type" not in task["params"]


@pytest.mark.parametrize("kind", TEMPLATES)
def test_every_scene_becomes_one_task_of_its_file(
    spool: Path, objects: Path, receiver: Receiver, tmp_path: Path, kind: str
) -> None:
    template = template_file(tmp_path, TEMPLATES[kind])
    names = [seal_scene_file(spool, number) for number in range(3)]
    assert upload(spool, objects, receiver, template).complete
    assert states(spool) == dict.fromkeys(names, "done")
    assert_tasks_whole(spool, objects, receiver, names, kind)
    assert posts(receiver, kind) == [200] * 3
    assert upload(spool, objects, receiver, template).complete
    assert posts(receiver, kind) == [200] * 3  # and none again
    for name, record in records(spool).items():
        (task,) = [task for task in held_tasks(receiver) if task["unique_id"] == name]
        assert task["metadata"] == {"scene_reference_id": name, "scene_content": record.content}


@pytest.mark.parametrize("step", ["claimed", "file_sent", "after_stored", "task_made", "task_seen", "before_done"])
def test_killed_at_a_named_step_it_makes_each_task_once(
    spool: Path, objects: Path, receiver: Receiver, tmp_path: Path, step: str
) -> None:
    template = template_file(tmp_path, SENSORFUSION)
    names = [seal_scene_file(spool, number) for number in range(4)]
    store, environment = f"file://{objects}", {"NUCLEUS_BRIDGE_FAILPOINT": f"{step}:2"}
    status, out, err = finish(task_command(spool, store, template, receiver, environment=environment))
    assert status == -signal.SIGKILL, (out, err)
    status, out, err = finish(task_command(spool, store, template, receiver))
    assert status == 0, (out, err)
    assert states(spool) == dict.fromkeys(names, "done")
    assert_tasks_whole(spool, objects, receiver, names, "sensorfusion")
    assert posts(receiver, "sensorfusion").count(200) == len(names)


def test_scenes_and_templates_must_fit(spool: Path, objects: Path, receiver: Receiver, tmp_path: Path) -> None:
    name = seal_scene_file(spool, 1)
    with pytest.raises(ConfigError, match=f"{name}: is a scene of format sfs, which no task is made of"):
        upload(spool, objects, receiver, template_file(tmp_path))
    frames = tmp_path / "frames"
    seal_fusion_scene(frames, 2)
    with pytest.raises(ConfigError, match="convert the recording with --format sfs"):
        upload(frames, objects, receiver, template_file(tmp_path, SENSORFUSION))
    assert held_tasks(receiver) == []


def test_reconcile_finds_tasks_and_what_is_missing(
    spool: Path, objects: Path, receiver: Receiver, tmp_path: Path
) -> None:
    names = [seal_scene_file(spool, number) for number in range(2)]
    assert upload(spool, objects, receiver, template_file(tmp_path, SENSORFUSION)).complete
    holdings = TaskHoldings(TaskClient(task_endpoint(receiver), TASK_KEY), "scene_task")
    store = open_store(f"file://{objects}")
    assert reconcile(spool, store, holdings, repair=False) == []
    (objects / names[0] / "scene.sfs").unlink()
    assert {finding.reference_id for finding in reconcile(spool, store, holdings, repair=False)} == {names[0]}


def test_a_dry_run_shows_the_request(spool: Path, objects: Path, receiver: Receiver, tmp_path: Path) -> None:
    name = seal_scene_file(spool, 1)
    template = template_file(tmp_path, SENSORFUSION)
    status, out, err = finish(task_command(spool, f"file://{objects}", template, receiver, "--dry-run"))
    assert (status, err) == (0, "")
    assert held_tasks(receiver) == []
    assert not (objects / name).exists()
    lines = out.splitlines()
    assert lines[1] == f"POST {task_endpoint(receiver)}/task/sensorfusion"
    shown = json.loads("\n".join(lines[2:-1]))
    assert shown["attachments"] == [f"file://{objects}/{name}/scene.sfs"]
    assert upload(spool, objects, receiver, template).complete
    (task,) = held_tasks(receiver)
    assert shown == {**task["params"], "unique_id": name, "metadata": task["metadata"]}


def test_a_task_of_another_type_is_not_taken_for_the_one_that_was_asked_for(
    spool: Path, objects: Path, receiver: Receiver, tmp_path: Path
) -> None:
    name = seal_scene_file(spool, 0)
    assert upload(spool, objects, receiver, template_file(tmp_path, SENSORFUSION)).complete
    (tmp_path / "other").mkdir()
    other = template_file(tmp_path / "other", TEMPLATES["multistage"])
    assert not upload(spool, objects, receiver, other).complete
    assert states(spool) == {name: "conflict"}
    assert "was made of it as sensorfusion, not multistage" in records(spool)[name].error
    assert [task["type"] for task in held_tasks(receiver)] == ["sensorfusion"]
    client = TaskClient(task_endpoint(receiver), TASK_KEY, task_type="multistage")
    (found,) = reconcile(spool, open_store(f"file://{objects}"), TaskHoldings(client, "scene_task"), repair=False)
    assert "as sensorfusion, not multistage" in found.text
