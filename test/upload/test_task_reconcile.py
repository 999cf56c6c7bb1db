# SPDX-License-Identifier: Apache-2.0
"""Reconcile finds each difference between spool, object store and annotation tasks, and repairs what it can."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from task_scenes import (
    TASK_KEY,
    assert_tasks_whole,
    seal_fusion_scene,
    seal_fusion_scenes,
    task_endpoint,
    task_settings,
    template_file,
)
from upload_scenes import records, seal_scene, states

from nucleus_bridge.cli.main import main
from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.state import SceneState, StateBook
from nucleus_bridge.testing.receiver import Receiver
from nucleus_bridge.upload.reconcile import Finding, reconcile
from nucleus_bridge.upload.store.objects import open_store
from nucleus_bridge.upload.tasks.client import TaskClient
from nucleus_bridge.upload.tasks.holdings import TaskHoldings
from nucleus_bridge.upload.uploader import Uploader

Kind = tuple[str, str, bool]


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return template_file(tmp_path)


@pytest.fixture
def uploaded(spool: Path, objects: Path, receiver: Receiver, template: Path) -> list[str]:
    names = seal_fusion_scenes(spool, 3)
    upload(spool, objects, receiver, template)
    return names


def upload(spool: Path, objects: Path, receiver: Receiver, template: Path, **changes: Any) -> None:
    chosen = task_settings(receiver, f"file://{objects}", template, **changes)
    assert Uploader(spool, chosen, key=TASK_KEY).run().complete


def compare(spool: Path, objects: Path, receiver: Receiver, *, repair: bool = False) -> set[Kind]:
    holdings = TaskHoldings(TaskClient(task_endpoint(receiver), TASK_KEY))
    found: list[Finding] = reconcile(spool, open_store(f"file://{objects}"), holdings, repair=repair)
    return {(finding.kind, finding.reference_id, finding.repaired) for finding in found}


def set_state(spool: Path, name: str, **changes: object) -> None:
    path = spool / "state" / f"{name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_tasks(kept: Path, name: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """Change or remove the task of a scene in the folder of a receiver that is to be started again."""
    for path in (kept / "tasks").iterdir():
        task = json.loads(path.read_text())
        if task["unique_id"] == name:
            changed = change(task)
            path.unlink() if changed is None else path.write_text(json.dumps(changed))


def test_what_agrees_gives_no_finding_also_beside_scenes_for_a_dataset(
    spool: Path, objects: Path, receiver: Receiver, uploaded: list[str]
) -> None:
    seal_scene(spool, 8)
    assert compare(spool, objects, receiver) == set()
    assert compare(spool, objects, receiver, repair=True) == set()


def test_missing_frames_images_and_tasks_are_found_and_mended(
    spool: Path, objects: Path, serve: Callable[..., Receiver], uploaded: list[str], template: Path, tmp_path: Path
) -> None:
    next((objects / uploaded[0] / "frames").iterdir()).unlink()
    (objects / uploaded[1] / "front" / "000001.jpg").unlink()
    change_tasks(tmp_path / "kept", uploaded[2], lambda _: None)
    receiver = serve()
    expected = {("missing object", uploaded[0]), ("missing object", uploaded[1]), ("missing task", uploaded[2])}
    assert compare(spool, objects, receiver) == {(*pair, False) for pair in expected}
    assert states(spool) == dict.fromkeys(uploaded, "done")
    assert compare(spool, objects, receiver, repair=True) == {(*pair, True) for pair in expected}
    upload(spool, objects, receiver, template)
    assert compare(spool, objects, receiver) == set()
    assert_tasks_whole(spool, objects, receiver, uploaded)


def test_a_frame_that_is_not_what_its_name_says_is_named_and_left_alone(
    spool: Path, objects: Path, receiver: Receiver, uploaded: list[str]
) -> None:
    path = next((objects / uploaded[0] / "frames").iterdir())
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    assert compare(spool, objects, receiver, repair=True) == {("different object", uploaded[0], False)}
    assert path.read_bytes().endswith(b" ")


def test_a_task_that_was_not_noted_and_one_that_was_lost_are_found(
    spool: Path, objects: Path, serve: Callable[..., Receiver], uploaded: list[str], template: Path, tmp_path: Path
) -> None:
    task_ids = {name: record.task_id for name, record in records(spool).items()}
    set_state(spool, uploaded[0], state="stored", task_id="")
    set_state(spool, uploaded[1], state="submitted")
    change_tasks(tmp_path / "kept", uploaded[1], lambda _: None)
    receiver = serve()
    found = compare(spool, objects, receiver, repair=True)
    assert found == {("unnoted task", uploaded[0], True), ("lost task", uploaded[1], True)}
    assert (records(spool)[uploaded[0]].state.value, records(spool)[uploaded[0]].task_id) == (
        "done",
        task_ids[uploaded[0]],
    )
    upload(spool, objects, receiver, template)
    assert compare(spool, objects, receiver) == set()


def test_tasks_of_another_scene_and_tasks_that_ended_are_told(
    spool: Path, objects: Path, serve: Callable[..., Receiver], uploaded: list[str], tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    change_tasks(kept, uploaded[0], lambda task: {**task, "metadata": {"scene_content": "another"}})
    change_tasks(kept, uploaded[1], lambda task: {**task, "status": "error"})
    no_metadata = {"metadata": {}, "status": "canceled"}
    change_tasks(kept, uploaded[2], lambda task: {**task, **no_metadata})
    assert compare(spool, objects, serve(), repair=True) == {
        ("different task", uploaded[0], False),
        ("ended task", uploaded[1], False),
        ("ended task", uploaded[2], False),
    }
    assert states(spool) == {uploaded[0]: "conflict", uploaded[1]: "failed", uploaded[2]: "failed"}

    def with_other_frames(task: dict[str, Any]) -> dict[str, Any]:
        attachments = list(reversed(task["params"]["attachments"]))
        return {**task, "params": {**task["params"], "attachments": attachments}, "status": "pending"}

    change_tasks(kept, uploaded[2], with_other_frames)
    assert ("different task", uploaded[2], False) in compare(spool, objects, serve())


def test_orphans_are_told_and_kept(spool: Path, objects: Path, receiver: Receiver, uploaded: list[str]) -> None:
    shutil.copytree(objects / uploaded[0], objects / "drive-of-another-spool")
    (objects / uploaded[0] / "extra.json").write_text("{}")
    assert compare(spool, objects, receiver, repair=True) == {
        ("orphaned scene", "drive-of-another-spool", False),
        ("orphaned object", uploaded[0], False),
    }


def test_scenes_deleted_after_their_upload_are_compared_by_the_stored_manifest(
    spool: Path, objects: Path, receiver: Receiver, template: Path
) -> None:
    name = seal_fusion_scene(spool, 1)
    upload(spool, objects, receiver, template, delete_after=True)
    assert compare(spool, objects, receiver) == set()
    next((objects / name / "frames").iterdir()).unlink()
    assert compare(spool, objects, receiver, repair=True) == {("missing object", name, False)}
    assert StateBook(Spool(spool)).get(name).state is SceneState.DONE


def test_the_command_says_what_differs_and_its_status_tells(
    spool: Path,
    objects: Path,
    receiver: Receiver,
    uploaded: list[str],
    template: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SCALE_API_KEY", TASK_KEY)
    monkeypatch.setenv("SCALE_ENDPOINT", task_endpoint(receiver))
    arguments = ["reconcile", str(spool), "--store", f"file://{objects}", "--task", str(template)]
    assert main(arguments) == 0
    assert capsys.readouterr().out == "0 differences, 0 set right\n"
    (objects / uploaded[2] / "front" / "000000.jpg").unlink()
    assert main(arguments) == 1
    assert capsys.readouterr().out.startswith(f"{uploaded[2]}  missing object")
