# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around annotation tasks ends in a stated state, and makes no task twice."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from task_scenes import (
    TASK_KEY,
    assert_tasks_whole,
    held_tasks,
    json_frame,
    posts,
    seal_fusion_scene,
    seal_fusion_scenes,
    task_command,
    task_settings,
    template_file,
)
from upload_scenes import finish, records, states

from nucleus_bridge.errors import AuthError, ConfigError
from nucleus_bridge.spool.state import StateRecord
from nucleus_bridge.testing.receiver import Fault, Receiver
from nucleus_bridge.upload.board import Summary
from nucleus_bridge.upload.observer import UploadObserver
from nucleus_bridge.upload.retry import Retry
from nucleus_bridge.upload.tasks.client import TaskClient
from nucleus_bridge.upload.uploader import Uploader


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return template_file(tmp_path)


def upload(spool: Path, objects: Path, receiver: Receiver, template: Path, **changes: Any) -> Summary:
    return Uploader(spool, task_settings(receiver, f"file://{objects}", template, **changes), key=TASK_KEY).run()


def seal_with_frame(spool: Path, number: int, frame: bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    """Seal a scene whose frames are all the same."""
    with monkeypatch.context() as patch:
        patch.setattr("task_scenes.json_frame", lambda *_: frame)
        return seal_fusion_scene(spool, number)


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(1200):
        if holds():
            return
        threading.Event().wait(0.05)
    raise AssertionError("it did not happen")


@pytest.mark.parametrize("how", ["frame changed", "frame missing", "image changed", "manifest"])
def test_a_file_changed_or_missing_after_sealing_sets_its_scene_aside_and_the_rest_goes_on(
    spool: Path, objects: Path, receiver: Receiver, template: Path, how: str
) -> None:
    names = seal_fusion_scenes(spool, 3)
    folder = spool / "scenes" / names[1]
    path = folder / {"image changed": "front/000001.jpg", "manifest": "manifest.json"}.get(how, "frames/000001.json")
    if how == "frame missing":
        path.unlink()
    else:
        path.write_bytes(b"{}" if how == "manifest" else path.read_bytes()[:-1] + b" ")
    assert not upload(spool, objects, receiver, template).complete
    assert states(spool) == {names[0]: "done", names[1]: "quarantined", names[2]: "done"}
    assert path.name in (spool / "quarantine" / names[1] / "reason.txt").read_text()
    assert sorted(task["unique_id"] for task in held_tasks(receiver)) == [names[0], names[2]]


def test_a_frame_that_names_an_image_the_scene_has_not_is_set_aside(
    spool: Path, objects: Path, receiver: Receiver, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = seal_with_frame(spool, 1, json_frame(1, "../../etc/passwd"), monkeypatch)
    upload(spool, objects, receiver, template)
    reason = (spool / "quarantine" / name / "reason.txt").read_text()
    assert "frames/000000.json" in reason
    assert "../../etc/passwd" in reason
    assert posts(receiver) == []


def test_a_task_that_is_refused_sets_its_scene_aside_and_the_others_go_on(
    spool: Path, objects: Path, receiver: Receiver, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad_frame = json_frame(1, "front/000000.jpg").replace(b'"device_position"', b'"position_of_device"')
    bad = seal_with_frame(spool, 0, bad_frame, monkeypatch)
    assert not upload(spool, objects, receiver, template).complete
    assert states(spool) == {bad: "quarantined"}  # alone, too
    worse = seal_with_frame(spool, 1, bad_frame, monkeypatch)
    names = [seal_fusion_scene(spool, number) for number in (2, 3, 4)]
    assert not upload(spool, objects, receiver, template).complete
    assert states(spool) == {bad: "quarantined", worse: "quarantined", **dict.fromkeys(names, "done")}
    for name in (bad, worse):
        assert "attachment 0: device_position" in (spool / "quarantine" / name / "reason.txt").read_text()


def test_while_watching_a_refused_scene_waits_for_one_that_is_taken(
    spool: Path, objects: Path, receiver: Receiver, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad_frame = json_frame(1, "front/000000.jpg").replace(b'"device_position"', b'"position_of_device"')
    bad = seal_with_frame(spool, 0, bad_frame, monkeypatch)
    uploader = Uploader(spool, task_settings(receiver, f"file://{objects}", template), key=TASK_KEY)
    thread = threading.Thread(target=lambda: uploader.run(watch=True))
    thread.start()
    wait_until(lambda: posts(receiver) == [400])
    good = seal_fusion_scene(spool, 1)
    wait_until(lambda: states(spool) == {bad: "quarantined", good: "done"})
    uploader.stop()
    thread.join(10)
    assert not thread.is_alive()


def test_when_the_first_scenes_are_all_refused_it_is_the_template_and_no_scene_suffers(
    spool: Path, objects: Path, receiver: Receiver, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad_frame = json_frame(1, "front/000000.jpg").replace(b'"device_position"', b'"position_of_device"')
    names = [seal_with_frame(spool, number, bad_frame, monkeypatch) for number in range(5)]
    with pytest.raises(ConfigError, match=r"cuboids\.yaml: the first 3 scenes were all refused .*device_position"):
        upload(spool, objects, receiver, template)
    assert posts(receiver) == [400] * 3
    assert set(states(spool)) == set(names)
    assert set(states(spool).values()) <= {"sealed", "storing", "stored"}


def test_a_service_without_tasks_is_named(spool: Path, objects: Path, receiver: Receiver, template: Path) -> None:
    seal_fusion_scene(spool, 1)
    with pytest.raises(ConfigError, match=r"/v1/nucleus: takes no annotation tasks"):
        upload(spool, objects, receiver, template, task_endpoint=receiver.url)
    assert set(states(spool).values()) == {"stored"}


def test_a_key_revoked_in_mid_upload_stops_everything_and_a_new_key_goes_on(
    spool: Path, objects: Path, receiver: Receiver, template: Path
) -> None:
    names = seal_fusion_scenes(spool, 4)

    class Revoke(UploadObserver):
        def changed(self, record: StateRecord) -> None:
            if record.state.value == "stored":
                receiver.revoke(TASK_KEY)

    chosen = task_settings(receiver, f"file://{objects}", template)
    with pytest.raises(AuthError, match="SCALE_API_KEY") as caught:
        Uploader(spool, chosen, key=TASK_KEY, observer=Revoke()).run()
    assert TASK_KEY not in str(caught.value)
    assert set(states(spool).values()) <= {"sealed", "storing", "stored"}
    assert Uploader(spool, chosen, key="another_key").run().complete
    assert_tasks_whole(spool, objects, receiver, names)


def test_a_refused_key_sends_nothing(
    spool: Path, objects: Path, serve: Callable[..., Receiver], template: Path
) -> None:
    receiver = serve(api_keys=[TASK_KEY], task_api_keys=["good"])
    seal_fusion_scene(spool, 1)
    with pytest.raises(AuthError):
        upload(spool, objects, receiver, template)
    assert not any(objects.rglob("*.*"))


@pytest.mark.parametrize("fault", ["error_after_commit", "wrong_json", "cut_body"])
def test_a_lost_answer_makes_no_second_task(
    spool: Path, objects: Path, serve: Callable[..., Receiver], template: Path, fault: str
) -> None:
    receiver = serve(faults=[Fault(fault, 1.0, times=1, match="lidarannotation")])
    names = seal_fusion_scenes(spool, 2)
    assert upload(spool, objects, receiver, template).complete
    assert receiver.fault_counts == {fault: 1}
    assert len(posts(receiver)) == 3
    assert_tasks_whole(spool, objects, receiver, names)
    assert {record.task_id for record in records(spool).values()} == {task["task_id"] for task in held_tasks(receiver)}


def test_a_task_that_is_said_to_be_there_and_cannot_be_looked_at_counts_as_done(
    spool: Path, objects: Path, receiver: Receiver, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = seal_fusion_scene(spool, 1)
    upload(spool, objects, receiver, template)
    (spool / "state" / f"{name}.json").unlink()
    monkeypatch.setattr(TaskClient, "find", lambda *_: None)
    assert upload(spool, objects, receiver, template).complete
    assert posts(receiver) == [200, 409]
    assert states(spool) == {name: "done"}


def test_what_one_is_asked_to_wait_for_all_wait_for(
    spool: Path, objects: Path, serve: Callable[..., Receiver], template: Path
) -> None:
    receiver = serve(faults=[Fault("rate_limited", 1.0, times=1, match="lidarannotation", seconds=1.0)])
    names = seal_fusion_scenes(spool, 4)
    waits: list[tuple[str, float]] = []

    class Waits(UploadObserver):
        def waiting(self, reason: str, seconds: float) -> None:
            waits.append((reason, seconds))

    chosen = task_settings(receiver, f"file://{objects}", template)
    assert Uploader(spool, chosen, key=TASK_KEY, observer=Waits(), retry=Retry(random=lambda: 0.0)).run().complete
    assert [seconds for reason, seconds in waits if "HTTP 429" in reason] == [1.0]
    assert Counter(posts(receiver)) == {429: 1, 200: 4}
    assert_tasks_whole(spool, objects, receiver, names)


def test_one_task_that_gets_no_answer_holds_up_no_other(
    spool: Path, objects: Path, receiver: Receiver, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service fails whenever it is asked for one of the tasks; each of the others is made meanwhile."""
    names = seal_fusion_scenes(spool, 4)
    real = TaskClient.create
    dead = TaskClient("http://127.0.0.1:9/v1", TASK_KEY)

    def create(client: TaskClient, request: dict[str, Any]) -> str:
        if request["unique_id"] == names[1]:
            return real(dead, request)
        return real(client, request)

    monkeypatch.setattr(TaskClient, "create", create)
    summary = upload(spool, objects, receiver, template, give_up_after_s=3.0)
    assert not summary.complete
    assert states(spool) == {**dict.fromkeys(names, "done"), names[1]: "failed"}
    assert "given up after" in records(spool)[names[1]].error
    monkeypatch.undo()
    assert upload(spool, objects, receiver, template).complete
    assert_tasks_whole(spool, objects, receiver, names)


def test_a_task_that_vanished_after_it_was_made_fails_and_is_made_again_by_the_next_run(
    spool: Path, objects: Path, receiver: Receiver, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = seal_fusion_scene(spool, 1)
    with monkeypatch.context() as patch:
        patch.setattr(TaskClient, "create", lambda *_: "task_lost")
        assert not upload(spool, objects, receiver, template).complete
    assert states(spool) == {name: "failed"}
    assert "task_lost" in records(spool)[name].error
    assert upload(spool, objects, receiver, template).complete
    assert_tasks_whole(spool, objects, receiver, [name])


def test_a_task_that_ended_in_an_error_is_told_with_its_scene_set_aside(
    spool: Path, objects: Path, serve: Callable[..., Receiver], template: Path, tmp_path: Path
) -> None:
    name = seal_fusion_scene(spool, 1)
    upload(spool, objects, serve(), template)
    (kept,) = (tmp_path / "kept" / "tasks").iterdir()
    failed = {**json.loads(kept.read_text()), "status": "error", "response": {"error": "attachment 0 has expired"}}
    kept.write_text(json.dumps(failed))
    (spool / "state" / f"{name}.json").unlink()
    assert not upload(spool, objects, serve(), template).complete
    reason = (spool / "quarantine" / name / "reason.txt").read_text()
    assert reason == f"task {failed['task_id']} ended in an error: attachment 0 has expired\n"


def test_a_dead_network_fails_scenes_that_the_next_run_takes_up(
    spool: Path, objects: Path, serve: Callable[..., Receiver], template: Path
) -> None:
    receiver = serve()
    names = seal_fusion_scenes(spool, 2)
    chosen = task_settings(receiver, f"file://{objects}", template, give_up_after_s=2.0)

    class Cut(UploadObserver):
        def changed(self, record: StateRecord) -> None:
            if record.state.value == "stored":
                receiver.stop()

    assert not Uploader(spool, chosen, key=TASK_KEY, observer=Cut()).run().complete
    assert states(spool) == dict.fromkeys(names, "failed")
    again = serve()
    assert upload(spool, objects, again, template).complete
    assert_tasks_whole(spool, objects, again, names)


def test_two_uploaders_on_one_spool_make_no_task_twice(
    spool: Path, objects: Path, receiver: Receiver, template: Path
) -> None:
    names = seal_fusion_scenes(spool, 20, frames=1)
    both = [task_command(spool, f"file://{objects}", template, receiver) for _ in range(2)]
    results = [finish(process) for process in both]
    assert [status for status, _, _ in results] == [0, 0], results
    assert posts(receiver) == [200] * 20
    assert_tasks_whole(spool, objects, receiver, names)
    lines = [line for _, out, _ in results for line in out.splitlines() if "  done  " in line]
    assert len(lines) == len(set(lines)) == 20


def test_the_key_is_in_no_file_and_no_output(
    spool: Path, objects: Path, serve: Callable[..., Receiver], template: Path
) -> None:
    receiver = serve(faults=[Fault("server_error", 0.3)], seed=5)
    seal_fusion_scenes(spool, 3)
    more = ("--log-level", "debug", "--set", "upload.timeout_s=10")
    status, out, err = finish(task_command(spool, f"file://{objects}", template, receiver, *more))
    assert status == 0, err
    assert TASK_KEY not in out + err
    assert not any(TASK_KEY.encode() in path.read_bytes() for path in spool.rglob("*") if path.is_file())
