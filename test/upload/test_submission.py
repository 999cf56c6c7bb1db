# SPDX-License-Identifier: Apache-2.0
"""How submissions are followed when a job ends badly, is lost, or a scene in a batch is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from upload_scenes import KEY, held_scenes, records, scene_name, seal_scene, seal_scenes, settings, states

from nucleus_bridge.errors import RejectedError
from nucleus_bridge.testing.receiver import Receiver
from nucleus_bridge.upload.nucleus.client import JobStatus, NucleusClient
from nucleus_bridge.upload.uploader import Uploader


def posts(receiver: Receiver) -> int:
    return sum(record.path.endswith("/upload_scenes") for record in receiver.requests)


def prove(spool: Path, objects: Path, receiver: Receiver) -> None:
    """Have the destination take one scene, so that the next ones go in a batch."""
    seal_scene(spool, 99)
    assert Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY).run().complete


@pytest.mark.parametrize("status", ["Errored_Server", "Errored_Hanging", "Errored"])
def test_a_scene_whose_job_keeps_failing_is_tried_three_times_and_then_stated(
    spool: Path, objects: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    (name,) = seal_scenes(spool, 1)
    monkeypatch.setattr(NucleusClient, "job_status", lambda _, job_id: JobStatus(job_id, status, "no luck"))
    monkeypatch.setattr(NucleusClient, "scene_references", lambda _, dataset_id: set())
    summary = Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY).run()
    assert not summary.complete
    assert states(spool) == {name: "failed"}
    assert f"ended as {status}: no luck" in records(spool)[name].error
    assert posts(receiver) == 3


def test_a_job_that_is_lost_is_started_again_for_the_scenes_that_are_not_there(
    spool: Path, objects: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    prove(spool, objects, receiver)
    names = [*seal_scenes(spool, 2), scene_name(99)]
    real_start, real_status, real_put = NucleusClient.start_job, NucleusClient.job_status, NucleusClient.put_scenes
    started: list[str] = []
    sent: list[bytes] = []

    def start(client: NucleusClient, dataset_id: str, request_id: str, *, update: bool) -> str:
        started.append(request_id)
        if len(started) == 1:
            return "job_lost"
        return real_start(client, dataset_id, request_id, update=update)

    def put(client: NucleusClient, dataset_id: str, body: bytes) -> str:
        sent.append(body)
        return real_put(client, dataset_id, body)

    monkeypatch.setattr(NucleusClient, "start_job", start)
    monkeypatch.setattr(NucleusClient, "put_scenes", put)
    monkeypatch.setattr(NucleusClient, "job_status", real_status)
    assert Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY).run().complete
    assert states(spool) == dict.fromkeys(names, "done")
    lost = sent[0].splitlines()  # on a slow machine not both scenes
    lines = [line for body in sent for line in body.splitlines()]
    assert lost
    assert len(started) == len(sent)
    assert all(lines.count(line) == (2 if line in lost else 1) for line in lines)
    assert len(held_scenes(receiver)) == 3


def test_of_a_batch_only_the_refused_scene_is_set_aside(
    spool: Path, objects: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = seal_scenes(spool, 7)
    real_put = NucleusClient.put_scenes

    def put(client: NucleusClient, dataset_id: str, body: bytes) -> str:
        if names[4].encode() in body:
            raise RejectedError("PUT: HTTP 400: a scene is wrong", status=400)
        return real_put(client, dataset_id, body)

    monkeypatch.setattr(NucleusClient, "put_scenes", put)
    assert not Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY).run().complete
    assert states(spool) == {**dict.fromkeys(names, "done"), names[4]: "quarantined"}
    assert "a scene is wrong" in (spool / "quarantine" / names[4] / "reason.txt").read_text()


def test_scenes_that_show_a_little_late_are_waited_for(
    spool: Path, objects: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal_scenes(spool, 1)
    real = NucleusClient.scene_references
    looks: list[int] = []

    def late(client: NucleusClient, dataset_id: str) -> set[str]:
        looks.append(1)
        return real(client, dataset_id) if len(looks) > 3 else set()

    monkeypatch.setattr(NucleusClient, "scene_references", late)
    assert Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY).run().complete
    assert posts(receiver) == 1
