# SPDX-License-Identifier: Apache-2.0
"""What an upload does with whole spools, against the local receiver and a folder of objects."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

from upload_scenes import KEY, assert_whole, held_scenes, records, scene_name, seal_scene, seal_scenes, settings, states

from nucleus_bridge.testing.receiver import Receiver
from nucleus_bridge.upload.uploader import Uploader


def test_every_scene_ends_done_and_is_held_once_with_equal_bytes(
    spool: Path, objects: Path, receiver: Receiver
) -> None:
    names = seal_scenes(spool, 5)
    summary = Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY).run()
    assert summary.complete
    assert states(spool) == dict.fromkeys(names, "done")
    assert sorted(scene["reference_id"] for scene in held_scenes(receiver)) == names
    assert_whole(spool, objects, names)
    assert summary.sent == sum(record.bytes for record in records(spool).values())


def test_a_second_run_sends_nothing(spool: Path, objects: Path, receiver: Receiver) -> None:
    seal_scenes(spool, 3)
    Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY).run()
    before = Counter(request.method for request in receiver.requests)
    summary = Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY).run()
    assert summary.complete
    assert (summary.sent, summary.skipped) == (0, 0)
    after = Counter(request.method for request in receiver.requests)
    assert after["PUT"] == before["PUT"]
    assert after["POST"] == before["POST"]


def test_a_spool_whose_states_are_lost_is_recognised(spool: Path, objects: Path, receiver: Receiver) -> None:
    names = seal_scenes(spool, 3)
    Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY).run()
    for path in (spool / "state").iterdir():
        path.unlink()
    puts = Counter(request.method for request in receiver.requests)["PUT"]
    summary = Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY).run()
    assert summary.complete
    assert summary.sent == 0
    assert states(spool) == dict.fromkeys(names, "done")
    assert Counter(request.method for request in receiver.requests)["PUT"] == puts


def test_other_content_under_the_same_id_is_a_conflict_and_never_overwritten(
    spool: Path, objects: Path, receiver: Receiver, tmp_path: Path
) -> None:
    names = seal_scenes(spool, 3)
    Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY).run()
    other = tmp_path / "other"
    seal_scene(other, 1, salt=7)
    seal_scene(other, 9)
    summary = Uploader(other, settings(receiver, f"file://{objects}"), key=KEY).run()
    assert not summary.complete
    assert states(other) == {names[1]: "conflict", scene_name(9): "done"}
    assert "never overwritten" in records(other)[names[1]].error
    assert (other / "scenes" / names[1]).is_dir()
    assert_whole(spool, objects, names)


def test_an_uploader_that_is_never_run_leaves_no_threads(spool: Path, objects: Path, receiver: Receiver) -> None:
    before = set(threading.enumerate())
    Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY)
    assert not set(threading.enumerate()) - before


def test_watching_takes_up_scenes_that_appear_and_stops_when_told(
    spool: Path, objects: Path, receiver: Receiver
) -> None:
    seal_scenes(spool, 1)
    uploader = Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY)
    result = []
    thread = threading.Thread(target=lambda: result.append(uploader.run(watch=True)))
    thread.start()
    seal_scene(spool, 5)
    for _ in range(2400):
        if list(states(spool).values()).count("done") == 2:
            break
        threading.Event().wait(0.05)
    uploader.stop()
    thread.join(60)
    assert not thread.is_alive()
    assert result[0].stopped
    assert states(spool) == {scene_name(0): "done", scene_name(5): "done"}
