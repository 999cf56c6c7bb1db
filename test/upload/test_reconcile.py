# SPDX-License-Identifier: Apache-2.0
"""Reconcile finds every difference between spool, object store and service, and repairs what it can."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import requests
from upload_scenes import KEY, assert_whole, command, finish, held_scenes, seal_scene, seal_scenes, settings, states

from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.state import SceneState, StateBook
from nucleus_bridge.testing.receiver import Receiver
from nucleus_bridge.upload.nucleus.client import NucleusClient
from nucleus_bridge.upload.nucleus.holdings import DatasetHoldings
from nucleus_bridge.upload.reconcile import Finding, reconcile
from nucleus_bridge.upload.store.objects import open_store
from nucleus_bridge.upload.uploader import Uploader


@pytest.fixture
def uploaded(spool: Path, objects: Path, receiver: Receiver) -> list[str]:
    names = seal_scenes(spool, 4)
    assert Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY).run().complete
    return names


def compare(spool: Path, objects: Path, receiver: Receiver, *, repair: bool = False) -> list[Finding]:
    client = NucleusClient(receiver.url, KEY)
    dataset_id = client.find_dataset("drives")
    assert dataset_id is not None
    return reconcile(spool, open_store(f"file://{objects}"), DatasetHoldings(client, dataset_id), repair=repair)


def kinds(findings: list[Finding]) -> set[tuple[str, str, bool]]:
    return {(finding.kind, finding.reference_id, finding.repaired) for finding in findings}


def set_state(spool: Path, name: str, **changes: object) -> None:
    path = spool / "state" / f"{name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def delete_scene(receiver: Receiver, name: str) -> None:
    client = NucleusClient(receiver.url, KEY)
    client.delete_scene(str(client.find_dataset("drives")), name)


def test_what_agrees_gives_no_finding(spool: Path, objects: Path, receiver: Receiver, uploaded: list[str]) -> None:
    assert compare(spool, objects, receiver) == []
    assert compare(spool, objects, receiver, repair=True) == []


def test_missing_objects_and_scenes_are_found_and_mended(
    spool: Path, objects: Path, receiver: Receiver, uploaded: list[str]
) -> None:
    (objects / uploaded[0] / "lidar" / "000000.json").unlink()
    (objects / uploaded[1] / "manifest.json").unlink()
    delete_scene(receiver, uploaded[2])
    expected = {
        ("missing object", uploaded[0]),
        ("missing object", uploaded[1]),
        ("missing scene", uploaded[2]),
    }
    assert kinds(compare(spool, objects, receiver)) == {(*pair, False) for pair in expected}
    assert states(spool) == dict.fromkeys(uploaded, "done")
    assert kinds(compare(spool, objects, receiver, repair=True)) == {(*pair, True) for pair in expected}
    assert Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY).run().complete
    assert compare(spool, objects, receiver) == []
    assert_whole(spool, objects, uploaded)
    assert len(held_scenes(receiver)) == 4


def test_a_different_object_is_named_and_left_alone(
    spool: Path, objects: Path, receiver: Receiver, uploaded: list[str]
) -> None:
    path = objects / uploaded[0] / "front" / "000001.jpg"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"!")
    (finding,) = compare(spool, objects, receiver, repair=True)
    assert (finding.kind, finding.repaired) == ("different object", False)
    assert str(path) in finding.text
    assert path.read_bytes().endswith(b"!")
    path.unlink()
    assert kinds(compare(spool, objects, receiver, repair=True)) == {("missing object", uploaded[0], True)}
    assert Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY).run().complete
    assert path.read_bytes() == content


def test_a_job_that_was_lost_before_its_note_is_found(
    spool: Path, objects: Path, receiver: Receiver, uploaded: list[str]
) -> None:
    set_state(spool, uploaded[0], state="stored", job_id="")  # submitted and taken in, not noted
    set_state(spool, uploaded[1], state="submitted", job_id="job_gone")
    delete_scene(receiver, uploaded[1])
    found = compare(spool, objects, receiver, repair=True)
    assert kinds(found) == {("unnoted scene", uploaded[0], True), ("lost job", uploaded[1], True)}
    assert states(spool)[uploaded[0]] == "done"
    assert states(spool)[uploaded[1]] == "stored"
    assert Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY).run().complete
    assert compare(spool, objects, receiver) == []


def test_orphans_are_told_and_kept(spool: Path, objects: Path, receiver: Receiver, uploaded: list[str]) -> None:
    shutil.copytree(objects / uploaded[0], objects / "drive-of-another-spool")
    (objects / uploaded[0] / "extra.json").write_text("{}")
    assert kinds(compare(spool, objects, receiver, repair=True)) == {
        ("orphaned scene", "drive-of-another-spool", False),
        ("orphaned object", uploaded[0], False),
    }
    assert (objects / uploaded[0] / "extra.json").exists()
    assert states(spool) == dict.fromkeys(uploaded, "done")


def test_another_scene_of_the_same_id_at_the_service_is_found(
    spool: Path, objects: Path, receiver: Receiver, uploaded: list[str]
) -> None:
    delete_scene(receiver, uploaded[0])
    route = f"{receiver.url}/dataset/details"
    dataset_id = requests.get(route, auth=("k", ""), timeout=60).json()[0]["id"]
    scene = next(dict(scene) for scene in held_scenes(receiver) if scene["reference_id"] == uploaded[1])
    other = json.loads(json.dumps(scene).replace(uploaded[1], uploaded[0]).replace("lidar-0000", "lidar-0009"))
    other = json.loads(json.dumps(other).replace(f"{uploaded[0]}/", f"{uploaded[1]}/"))
    client = NucleusClient(receiver.url, KEY)
    job = client.start_job(dataset_id, client.put_scenes(dataset_id, (json.dumps(other) + "\n").encode()), update=False)
    while not client.job_status(job).ended:
        pass
    assert kinds(compare(spool, objects, receiver)) == {("different scene", uploaded[0], False)}


def test_scenes_deleted_after_their_upload_are_compared_by_the_stored_manifest(
    spool: Path, objects: Path, receiver: Receiver
) -> None:
    name = seal_scene(spool, 1)
    assert Uploader(spool, settings(receiver, f"file://{objects}", delete_after=True), key=KEY).run().complete
    assert compare(spool, objects, receiver) == []
    (objects / name / "lidar" / "000000.json").unlink()
    assert kinds(compare(spool, objects, receiver, repair=True)) == {("missing object", name, False)}
    assert StateBook(Spool(spool)).get(name).state is SceneState.DONE


def test_the_command_says_what_differs_and_its_status_tells(
    spool: Path, objects: Path, receiver: Receiver, uploaded: list[str]
) -> None:
    arguments = ["reconcile", spool, "--store", f"file://{objects}", "--dataset", "drives"]
    environment = {"NUCLEUS_ENDPOINT": receiver.url}
    assert finish(command(*arguments, environment=environment))[:2] == (0, "0 differences, 0 set right\n")
    delete_scene(receiver, uploaded[2])
    status, out, _ = finish(command(*arguments, environment=environment))
    assert status == 1
    assert out.startswith(f"{uploaded[2]}  missing scene")
    status, out, _ = finish(command(*arguments, "--repair", environment=environment))
    assert status == 0
    assert "1 set right; run upload" in out
