# SPDX-License-Identifier: Apache-2.0
"""What an upload of annotation tasks does with whole spools, against the local receiver and a folder of objects."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from task_scenes import (
    TASK_KEY,
    assert_tasks_whole,
    held_tasks,
    posts,
    seal_fusion_scene,
    seal_fusion_scenes,
    task_settings,
    template_file,
)
from upload_scenes import KEY, held_scenes, records, seal_scene, settings, states

from nucleus_bridge.errors import ConfigError
from nucleus_bridge.testing.receiver import Receiver
from nucleus_bridge.upload.board import Summary
from nucleus_bridge.upload.nucleus.client import NucleusClient
from nucleus_bridge.upload.nucleus.holdings import DatasetHoldings
from nucleus_bridge.upload.reconcile import reconcile
from nucleus_bridge.upload.store.objects import open_store
from nucleus_bridge.upload.tasks.client import TaskClient
from nucleus_bridge.upload.tasks.holdings import TaskHoldings
from nucleus_bridge.upload.uploader import Uploader


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return template_file(tmp_path)


def upload(spool: Path, objects: Path, receiver: Receiver, template: Path, **changes: Any) -> Summary:
    return Uploader(spool, task_settings(receiver, f"file://{objects}", template, **changes), key=TASK_KEY).run()


def test_every_scene_becomes_one_task_of_its_frames(
    spool: Path, objects: Path, receiver: Receiver, template: Path
) -> None:
    names = seal_fusion_scenes(spool, 5)
    summary = upload(spool, objects, receiver, template)
    assert summary.complete
    assert states(spool) == dict.fromkeys(names, "done")
    assert_tasks_whole(spool, objects, receiver, names)
    tasks = {task["unique_id"]: task for task in held_tasks(receiver)}
    for name, record in records(spool).items():
        task = tasks[name]
        assert (record.task_id, record.dataset_id) == (task["task_id"], "")
        assert task["metadata"] == {"scene_reference_id": name, "scene_content": record.content}
        assert task["params"]["labels"] == ["car", "pedestrian"]
        assert (task["params"]["project"], task["params"]["attachment_type"]) == ("streets", "json")
    assert posts(receiver) == [200] * 5


def test_protobuf_frames_are_sent_with_their_images_urls(
    spool: Path, objects: Path, receiver: Receiver, template: Path
) -> None:
    name = seal_fusion_scene(spool, 1, kind="protobuf")
    assert upload(spool, objects, receiver, template).complete
    (task,) = held_tasks(receiver)
    assert task["params"]["attachment_type"] == "protobuf"
    assert_tasks_whole(spool, objects, receiver, [name])
    sealed = sorted((spool / "scenes" / name / "frames").iterdir())
    for number, url in enumerate(task["params"]["attachments"]):
        content = Path(url.removeprefix("file://")).read_bytes()
        wanted = f"file://{objects}/{name}/front/{number:06d}.jpg".encode()
        assert content.count(wanted) == 1
        points = sealed[number].read_bytes().partition(b"\x22")[2].partition(b"\x32")[0]
        assert points in content


def test_a_second_run_and_one_without_states_send_nothing_and_make_no_task(
    spool: Path, objects: Path, receiver: Receiver, template: Path
) -> None:
    names = seal_fusion_scenes(spool, 3)
    upload(spool, objects, receiver, template)
    assert upload(spool, objects, receiver, template).complete
    assert posts(receiver) == [200] * 3
    for path in (spool / "state").iterdir():
        path.unlink()
    inodes = {path: path.stat().st_ino for path in objects.rglob("*")}
    summary = upload(spool, objects, receiver, template)
    assert (summary.complete, summary.sent) == (True, 0)
    assert states(spool) == dict.fromkeys(names, "done")
    assert Counter(posts(receiver)) == {200: 3, 409: 3}
    assert {path: path.stat().st_ino for path in objects.rglob("*")} == inodes
    assert sorted(record.task_id for record in records(spool).values()) == sorted(
        task["task_id"] for task in held_tasks(receiver)
    )


def test_frames_with_other_urls_are_other_objects_and_no_conflict(
    spool: Path, objects: Path, receiver: Receiver, template: Path
) -> None:
    name = seal_fusion_scene(spool, 1)
    upload(spool, objects, receiver, template)
    before = set((objects / name / "frames").iterdir())
    (spool / "state" / f"{name}.json").unlink()
    assert upload(spool, objects, receiver, template, url="public", public_base_url="https://cdn.example.org").complete
    assert len(set((objects / name / "frames").iterdir()) - before) == len(before) == 2
    assert Counter(posts(receiver)) == {200: 1, 409: 1}
    assert states(spool) == {name: "done"}


def test_other_content_under_the_same_id_is_a_conflict(
    spool: Path, objects: Path, receiver: Receiver, template: Path, tmp_path: Path
) -> None:
    name = seal_fusion_scene(spool, 1)
    upload(spool, objects, receiver, template)
    for number, store in enumerate([objects, tmp_path / "other_objects"]):
        other = tmp_path / f"other{number}"
        seal_fusion_scene(other, 1, salt=7)
        assert not upload(other, store, receiver, template).complete
        assert states(other) == {name: "conflict"}
        reason = records(other)[name].error
        assert ("was made of another scene" if number else "never overwritten") in reason
    assert len(held_tasks(receiver)) == 1
    assert_tasks_whole(spool, objects, receiver, [name])


def test_scenes_of_the_other_format_alone_are_refused_before_anything_is_sent(
    spool: Path, objects: Path, receiver: Receiver, template: Path, tmp_path: Path
) -> None:
    plain = seal_scene(spool, 1)
    with pytest.raises(ConfigError, match=rf"{plain}: .*format nucleus.* nucleus-bridge export"):
        upload(spool, objects, receiver, template)
    fusion = tmp_path / "fusion"
    name = seal_fusion_scene(fusion, 2)
    with pytest.raises(ConfigError, match=rf"{name}: .*format sensor_fusion_json.* --task"):
        Uploader(fusion, settings(receiver, f"file://{objects}"), key=KEY).run()
    assert not any(objects.rglob("*.*"))
    assert states(spool) == {plain: "sealed"}
    assert states(fusion) == {name: "sealed"}
    assert not (fusion / "quarantine").exists()
    assert receiver.requests == []


def test_in_a_mixed_spool_each_upload_takes_its_own(
    spool: Path, objects: Path, receiver: Receiver, template: Path
) -> None:
    plain, fusion = seal_scene(spool, 1), seal_fusion_scene(spool, 2)
    summary = upload(spool, objects, receiver, template)
    assert (summary.complete, summary.foreign) == (True, 1)
    assert states(spool) == {plain: "sealed", fusion: "done"}
    summary = Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY).run()
    assert (summary.complete, summary.foreign) == (True, 0)
    assert states(spool) == {plain: "done", fusion: "done"}
    assert [scene["reference_id"] for scene in held_scenes(receiver)] == [plain]
    assert [task["unique_id"] for task in held_tasks(receiver)] == [fusion]


def test_a_scene_may_be_in_one_store_in_every_format_and_its_images_once(
    spool: Path, objects: Path, receiver: Receiver, template: Path, tmp_path: Path
) -> None:
    name = seal_scene(spool, 1)
    Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY).run()
    images = {path: path.stat().st_ino for path in (objects / name / "front").iterdir()}
    fusion, protobuf = tmp_path / "fusion", tmp_path / "protobuf"
    assert seal_fusion_scene(fusion, 1) == seal_fusion_scene(protobuf, 1, kind="protobuf") == name
    assert upload(fusion, objects, receiver, template).complete
    assert {path: path.stat().st_ino for path in (objects / name / "front").iterdir()} == images
    (task,) = held_tasks(receiver)
    assert [Path(url.removeprefix("file://")).parent for url in task["params"]["attachments"]] == [
        objects / name / "frames"
    ] * 2
    upload(protobuf, objects, receiver, template)
    assert "was made of another scene" in records(protobuf)[name].error
    plain = NucleusClient(receiver.url, KEY)
    in_dataset = DatasetHoldings(plain, str(plain.find_dataset("drives")))
    in_tasks = TaskHoldings(TaskClient(f"{receiver.origin}/v1", TASK_KEY))
    store = open_store(f"file://{objects}")
    assert reconcile(spool, store, in_dataset) == reconcile(fusion, store, in_tasks) == []


def test_an_image_that_differs_between_formats_is_a_conflict(
    spool: Path, objects: Path, receiver: Receiver, template: Path, tmp_path: Path
) -> None:
    name = seal_scene(spool, 1, image_bytes=5)
    Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY).run()
    fusion = tmp_path / "fusion"
    seal_fusion_scene(fusion, 1)
    assert not upload(fusion, objects, receiver, template).complete
    assert states(fusion) == {name: "conflict"}
    reason = records(fusion)[name].error
    assert "front/00000" in reason
    assert "never overwritten" in reason
    assert posts(receiver) == []


def test_deleting_after_upload_leaves_the_state_and_nothing_else(
    spool: Path, objects: Path, receiver: Receiver, template: Path
) -> None:
    names = seal_fusion_scenes(spool, 3)
    assert upload(spool, objects, receiver, template, delete_after=True).complete
    assert list((spool / "scenes").iterdir()) == []
    assert states(spool) == dict.fromkeys(names, "done")


def test_a_frame_that_left_the_store_is_sent_again_before_its_scene_is_deleted(
    spool: Path, objects: Path, receiver: Receiver, template: Path
) -> None:
    names = seal_fusion_scenes(spool, 2)
    upload(spool, objects, receiver, template)
    frame = next((objects / names[0] / "frames").iterdir())
    content = frame.read_bytes()
    frame.unlink()
    upload(spool, objects, receiver, template, delete_after=True)
    assert frame.read_bytes() == content
    assert list((spool / "scenes").iterdir()) == []
    assert posts(receiver) == [200, 200, 409]


def test_watching_takes_up_scenes_that_appear(spool: Path, objects: Path, receiver: Receiver, template: Path) -> None:
    seal_fusion_scene(spool, 0)
    uploader = Uploader(spool, task_settings(receiver, f"file://{objects}", template), key=TASK_KEY)
    thread = threading.Thread(target=lambda: uploader.run(watch=True))
    thread.start()
    seal_fusion_scene(spool, 5)
    for _ in range(1200):
        if list(states(spool).values()).count("done") == 2:
            break
        threading.Event().wait(0.05)
    uploader.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert set(states(spool).values()) == {"done"}


def test_a_frame_larger_than_a_part_is_sent_whole(
    spool: Path, objects: Path, receiver: Receiver, template: Path
) -> None:
    name = seal_fusion_scene(spool, 1, padding=9 << 20)
    assert upload(spool, objects, receiver, template).complete
    assert_tasks_whole(spool, objects, receiver, [name])
    assert all(json.loads(path.read_bytes())["images"] for path in (objects / name / "frames").iterdir())
