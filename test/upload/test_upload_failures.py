# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around an upload ends in a stated state with a clear line."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from upload_scenes import (
    KEY,
    assert_whole,
    command,
    file_receiver,
    finish,
    held_scenes,
    records,
    scene_name,
    seal_scene,
    seal_scenes,
    settings,
    states,
)

from nucleus_bridge.errors import AuthError, ConfigError, OutputError
from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.state import StateRecord
from nucleus_bridge.testing.receiver import Fault, JobPace, Receiver
from nucleus_bridge.upload.observer import UploadObserver
from nucleus_bridge.upload.pool import DaemonPool
from nucleus_bridge.upload.retry import Retry
from nucleus_bridge.upload.uploader import Uploader


def upload(spool: Path, objects: Path, receiver: Receiver, **changes: Any) -> Any:
    return Uploader(spool, settings(receiver, f"file://{objects}", **changes), key=KEY).run()


@pytest.mark.parametrize("how", ["changed", "same size", "missing", "manifest", "scene.json"])
def test_a_file_changed_or_missing_after_sealing_sets_its_scene_aside_and_the_rest_goes_on(
    spool: Path, objects: Path, receiver: Receiver, how: str
) -> None:
    names = seal_scenes(spool, 3)
    path = spool / "scenes" / names[1] / "lidar" / "000001.json"
    if how == "changed":
        path.write_bytes(path.read_bytes() + b" ")
    elif how == "same size":
        path.write_bytes(path.read_bytes().replace(b"0.5", b"0.6"))
    elif how == "missing":
        path.unlink()
    else:
        path = path.parent.parent / ("manifest.json" if how == "manifest" else how)
        path.write_bytes(b"{}")
    summary = upload(spool, objects, receiver)
    assert not summary.complete
    assert states(spool) == {names[0]: "done", names[1]: "quarantined", names[2]: "done"}
    reason = (spool / "quarantine" / names[1] / "reason.txt").read_text()
    assert path.name in reason
    assert sorted(scene["reference_id"] for scene in held_scenes(receiver)) == [names[0], names[2]]


def test_a_mended_scene_that_is_put_back_is_uploaded(spool: Path, objects: Path, receiver: Receiver) -> None:
    names = seal_scenes(spool, 1)
    path = spool / "scenes" / names[0] / "lidar" / "000001.json"
    content = path.read_bytes()
    path.write_bytes(b"broken")
    upload(spool, objects, receiver)
    aside = spool / "quarantine" / names[0]
    (aside / "lidar" / "000001.json").write_bytes(content)
    (aside / "reason.txt").unlink()
    aside.rename(spool / "scenes" / names[0])
    assert upload(spool, objects, receiver).complete
    assert_whole(spool, objects, names)


def test_a_key_revoked_in_mid_upload_stops_everything_and_a_new_key_goes_on(
    spool: Path, objects: Path, receiver: Receiver
) -> None:
    names = seal_scenes(spool, 4)

    class Revoke(UploadObserver):
        def changed(self, record: StateRecord) -> None:
            if record.state.value == "stored":
                receiver.revoke(KEY)

    chosen = settings(receiver, f"file://{objects}")
    with pytest.raises(AuthError, match="NUCLEUS_API_KEY") as caught:
        Uploader(spool, chosen, key=KEY, observer=Revoke()).run()
    assert KEY not in str(caught.value)
    assert set(states(spool).values()) <= {"sealed", "storing", "stored"}
    assert Uploader(spool, chosen, key="another_key").run().complete
    assert states(spool) == dict.fromkeys(names, "done")


def test_a_scene_that_begins_to_be_sent_as_the_upload_ends_is_free_for_the_next_one(
    spool: Path, objects: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = seal_scenes(spool, 1)
    monkeypatch.setattr("nucleus_bridge.upload.uploader.JOIN_S", 20.0)

    first = Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY)
    closed = threading.Event()
    hand_in, close = DaemonPool.submit, DaemonPool.close

    def hand_in_late(pool: DaemonPool, work: Callable[[], Any]) -> Any:
        if threading.current_thread().name.startswith("upload-scene") and not first._stop.is_set():
            first.stop()
            closed.wait(2.0)  # long enough for the upload to end if it did not wait
        return hand_in(pool, work)

    def close_and_tell(pool: DaemonPool) -> None:
        close(pool)
        if pool is first._files:
            closed.set()

    monkeypatch.setattr(DaemonPool, "submit", hand_in_late)
    monkeypatch.setattr(DaemonPool, "close", close_and_tell)
    before = set(threading.enumerate())
    first.run()
    assert not [thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("upload-")]
    assert upload(spool, objects, receiver).complete
    assert states(spool) == dict.fromkeys(names, "done")


def test_a_refused_key_sends_nothing(spool: Path, objects: Path, serve: Callable[..., Receiver]) -> None:
    receiver = serve(api_keys=["good"])
    seal_scenes(spool, 1)
    with pytest.raises(AuthError):
        upload(spool, objects, receiver)
    assert not any(objects.rglob("*.json"))


def test_two_uploaders_on_one_spool_send_no_scene_twice(
    spool: Path, objects: Path, receiver: Receiver, tmp_path: Path
) -> None:
    names = seal_scenes(spool, 30)
    arguments = ["upload", spool, "--store", f"file://{objects}", "--dataset", "drives"]
    arguments += ["--set", "upload.poll_interval_s=0.05"]
    upload(spool, objects, receiver)  # so that both find the dataset
    for number in range(30, 60):
        names.append(seal_scene(spool, number))
    both = [command(*arguments, environment={"NUCLEUS_ENDPOINT": receiver.url}) for _ in range(2)]
    results = [finish(process) for process in both]
    assert [status for status, _, _ in results] == [0, 0], results
    assert states(spool) == dict.fromkeys(names, "done")
    lines = [line for _, out, _ in results for line in out.splitlines() if "  done  " in line]
    assert len(lines) == len(set(lines)) == 30
    sent = [
        line
        for path in (tmp_path / "kept").glob("datasets/*/uploads/*")
        if not path.name.startswith(".")
        for line in path.read_bytes().splitlines()
    ]
    assert len(sent) == len(set(sent)) == 60


@contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[Path]:
    """A disk of its own."""
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("needs to be root, to mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_the_upload_with_a_clear_line_and_room_lets_it_go_on(
    objects: Path, receiver: Receiver, tmp_path: Path
) -> None:
    with tmpfs(tmp_path / "disk", "1m") as disk:
        names = seal_scenes(disk / "spool", 3)
        (disk / "spool" / "state").mkdir()
        (disk / "spool" / "leases").mkdir()
        with (disk / "filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError:
                pass
        with pytest.raises(OutputError, match=r"cannot be written to: No space left on device"):
            upload(disk / "spool", objects, receiver)
        assert states(disk / "spool") == dict.fromkeys(names, "sealed")
        (disk / "filler").unlink()
        assert upload(disk / "spool", objects, receiver).complete


def test_a_disk_that_fills_up_in_mid_upload_leaves_every_state_whole(
    objects: Path, receiver: Receiver, tmp_path: Path
) -> None:
    with tmpfs(tmp_path / "disk", "2m") as disk:
        names = seal_scenes(disk / "spool", 5)

        class Fill(UploadObserver):
            def changed(self, record: StateRecord) -> None:
                if record.state.value == "stored" and not (disk / "filler").exists():
                    with (disk / "filler").open("wb", buffering=0) as filler:
                        try:
                            while filler.write(bytes(4096)):
                                pass
                        except OSError:
                            pass

        chosen = settings(receiver, f"file://{objects}")
        with pytest.raises(OutputError, match="No space left on device"):
            Uploader(disk / "spool", chosen, key=KEY, observer=Fill()).run()
        assert set(states(disk / "spool").values()) <= {"sealed", "storing", "stored", "submitted"}
        (disk / "filler").unlink()
        assert upload(disk / "spool", objects, receiver).complete
        assert states(disk / "spool") == dict.fromkeys(names, "done")
        assert len(held_scenes(receiver)) == 5


def test_a_read_only_spool_is_refused_and_its_status_can_be_read(
    objects: Path, receiver: Receiver, tmp_path: Path
) -> None:
    with tmpfs(tmp_path / "disk", "2m") as disk:
        names = seal_scenes(disk / "spool", 2)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        arguments = ["upload", disk / "spool", "--store", f"file://{objects}", "--dataset", "drives"]
        status, _, err = finish(command(*arguments, environment={"NUCLEUS_ENDPOINT": receiver.url}))
        assert status == 2
        assert "cannot be written to: Read-only file system" in err
        assert "Traceback" not in err
        status, out, err = finish(command("status", disk / "spool"))
        assert status == 0, err
        assert all(f"{name}  sealed" in out for name in names)


def test_a_clock_that_is_set_back_between_two_runs_changes_nothing(
    spool: Path, objects: Path, receiver: Receiver
) -> None:
    names = seal_scenes(spool, 3)
    upload(spool, objects, receiver)
    seal_scene(spool, 3)
    year_2000 = 946_684_800
    for path in [spool, *spool.rglob("*")]:
        os.utime(path, (4e9, 4e9))  # what is there seems to be from the future
    (spool / "leases").mkdir(exist_ok=True)
    (spool / "leases" / "dead.owner").write_text('{"machine": "elsewhere", "pid": 1, "beat": 7, "progress": {}}')
    (spool / "leases" / f"{scene_name(3)}.lease").write_text("dead")
    os.utime(spool / "leases" / "dead.owner", (year_2000, year_2000))
    chosen = settings(receiver, f"file://{objects}")
    assert Uploader(spool, chosen, key=KEY, lease_s=0.5).run().complete
    assert states(spool) == dict.fromkeys([*names, scene_name(3)], "done")


def test_a_dead_network_fails_scenes_that_the_next_run_takes_up(spool: Path, objects: Path, receiver: Receiver) -> None:
    names = seal_scenes(spool, 2)
    chosen = settings(receiver, f"file://{objects}", give_up_after_s=2.0)

    class Cut(UploadObserver):
        def changed(self, record: StateRecord) -> None:
            if record.state.value == "stored":
                receiver.stop()

    summary = Uploader(spool, chosen, key=KEY, observer=Cut()).run()
    assert states(spool) == dict.fromkeys(names, "failed")
    assert not summary.complete
    assert "given up after" in records(spool)[names[0]].error


def test_scenes_that_the_service_refuses_are_set_aside_and_the_others_go_on(
    spool: Path, objects: Path, receiver: Receiver
) -> None:
    names = seal_scenes(spool, 3)
    bad = seal_scene(spool, 8, frames=151)  # 302 items
    summary = upload(spool, objects, receiver)
    assert not summary.complete
    assert states(spool) == {**dict.fromkeys(names, "done"), bad: "quarantined"}
    assert "302 items" in (spool / "quarantine" / bad / "reason.txt").read_text()


@pytest.mark.parametrize("pace", [JobPace(queued_polls=3, running_polls=3), JobPace(queued_s=0.5, running_s=0.5)])
def test_a_queued_job_is_not_taken_for_a_finished_one(
    spool: Path, objects: Path, serve: Callable[..., Receiver], pace: JobPace
) -> None:
    receiver = serve(pace=pace)
    seal_scenes(spool, 2)
    assert upload(spool, objects, receiver).complete
    job_looks = [r for r in receiver.requests if r.path.startswith("/v1/nucleus/job/") and "errors" not in r.path]
    assert len(job_looks) >= 2


def test_a_lost_answer_to_the_submission_makes_no_second_job_when_the_scenes_are_there(
    spool: Path, objects: Path, serve: Callable[..., Receiver]
) -> None:
    receiver = serve(faults=[Fault("error_after_commit", 1.0, times=1, match="upload_scenes")])
    names = seal_scenes(spool, 1)
    chosen = settings(receiver, f"file://{objects}")
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        for _ in range(400):
            if len(held_scenes(receiver)) == 1:
                break
            threading.Event().wait(0.01)

    assert Uploader(spool, chosen, key=KEY, retry=Retry(sleep=sleep)).run().complete
    posts = [r for r in receiver.requests if r.path.endswith("upload_scenes")]
    assert len(posts) == 1
    assert len(waits) == 1
    assert states(spool) == dict.fromkeys(names, "done")


def test_deleting_after_upload_leaves_the_state_and_nothing_else(
    spool: Path, objects: Path, receiver: Receiver
) -> None:
    names = seal_scenes(spool, 3)
    assert upload(spool, objects, receiver, delete_after=True).complete
    assert list((spool / "scenes").iterdir()) == []
    assert states(spool) == dict.fromkeys(names, "done")
    assert upload(spool, objects, receiver, delete_after=True).complete


def test_a_spool_on_another_machine_goes_on_where_it_was(
    spool: Path, objects: Path, receiver: Receiver, tmp_path: Path
) -> None:
    seal_scenes(spool, 4)
    arguments = ["upload", spool, "--store", f"file://{objects}", "--dataset", "drives"]
    environment = {"NUCLEUS_ENDPOINT": receiver.url, "NUCLEUS_BRIDGE_FAILPOINT": "job_started"}
    finish(command(*arguments, environment=environment))
    moved = tmp_path / "elsewhere" / "spool"
    moved.parent.mkdir()
    spool.rename(moved)
    for path in (moved / "leases").glob("*.owner"):
        path.write_text(path.read_text().replace('"machine": "', '"machine": "other '))
    assert Uploader(moved, settings(receiver, f"file://{objects}"), key=KEY, lease_s=0.5).run().complete
    assert len(held_scenes(receiver)) == 4


def test_a_dataset_of_images_is_refused_before_anything_is_sent(spool: Path, objects: Path, receiver: Receiver) -> None:
    import requests

    document = {"name": "images", "is_scene": False, "use_privacy_mode": False}
    document |= {"annotation_metadata_schema": None, "item_metadata_schema": None}
    made = requests.post(f"{receiver.url}/dataset/create", json=document, auth=("k", ""), timeout=60).json()
    seal_scenes(spool, 1)
    for changes in ({"dataset_name": "images"}, {"dataset_name": "", "dataset_id": made["dataset_id"]}):
        with pytest.raises(ConfigError, match="single images"):
            upload(spool, objects, receiver, **changes)
    with pytest.raises(ConfigError, match="there is no dataset"):
        upload(spool, objects, receiver, dataset_name="", dataset_id="ds_none")
    assert not any(objects.rglob("*.json"))


def test_updating_replaces_the_metadata_of_what_is_there(
    spool: Path, objects: Path, receiver: Receiver, tmp_path: Path
) -> None:
    seal_scenes(spool, 2)
    upload(spool, objects, receiver)
    for path in (spool / "state").iterdir():
        path.unlink()
    assert upload(spool, objects, receiver, update=True).complete
    assert len(held_scenes(receiver)) == 2


def test_the_key_is_in_no_file_and_no_output(tmp_path: Path, spool: Path, objects: Path) -> None:
    with file_receiver(tmp_path / "kept2", objects, faults=[Fault("server_error", 0.3)]) as receiver:
        seal_scenes(spool, 2)
        arguments = ["--log-level", "debug", "--store", f"file://{objects}", "--dataset", "drives"]
        status, out, err = finish(command("upload", spool, *arguments, environment={"NUCLEUS_ENDPOINT": receiver.url}))
        assert status == 0, err
    assert KEY not in out + err
    assert not any(KEY.encode() in path.read_bytes() for path in spool.rglob("*") if path.is_file())
    assert Spool(spool).scenes()
