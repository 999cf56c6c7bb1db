# SPDX-License-Identifier: Apache-2.0
"""What disks, wires and strangers do to an upload: links, pipes, errors of the disk, silence, keys in answers."""

from __future__ import annotations

import base64
import errno
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from difficult_service import DifficultService, Rule
from upload_scenes import KEY, command, finish, held_scenes, records, seal_scenes, settings, states

from nucleus_bridge.errors import AuthError, RejectedError
from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.regular_file import open_regular
from nucleus_bridge.spool.state import StateBook
from nucleus_bridge.testing.receiver import Fault, Receiver
from nucleus_bridge.upload import sealed_file
from nucleus_bridge.upload.http import secret_pattern
from nucleus_bridge.upload.nucleus.client import NucleusClient
from nucleus_bridge.upload.uploader import Uploader


def upload(spool: Path, objects: Path, receiver: Receiver, **changes: Any) -> Any:
    return Uploader(spool, settings(receiver, f"file://{objects}", **changes), key=KEY).run()


def test_an_error_of_the_disk_fails_its_scene_alone_which_stays_where_it_is(
    spool: Path, objects: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = seal_scenes(spool, 3)

    def failing(path: Path, below: int = 1) -> Any:
        file = open_regular(path, below)
        if names[1] in str(path) and path.suffix == ".jpg":
            file.close()
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return file

    with monkeypatch.context() as patch:
        patch.setattr(sealed_file, "open_regular", failing)
        assert not upload(spool, objects, receiver).complete
    assert states(spool) == {names[0]: "done", names[1]: "failed", names[2]: "done"}
    assert "Input/output error" in records(spool)[names[1]].error
    assert upload(spool, objects, receiver).complete


@pytest.mark.parametrize("what", ["image", "folder", "scene.json", "manifest.json"])
def test_a_link_is_not_followed(spool: Path, objects: Path, receiver: Receiver, tmp_path: Path, what: str) -> None:
    (name,) = seal_scenes(spool, 1)
    path = spool / "scenes" / name / {"image": "front/000000.jpg", "folder": "front"}.get(what, what)
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert not upload(spool, objects, receiver).complete
    assert states(spool) == {name: "quarantined"}
    assert [scene for scene in objects.rglob("000000.jpg") if what in ("image", "folder")] == []


@pytest.mark.parametrize("what", ["front/000000.jpg", "scene.json", "manifest.json"])
def test_a_pipe_in_place_of_a_file_holds_nothing_up(spool: Path, objects: Path, receiver: Receiver, what: str) -> None:
    names = seal_scenes(spool, 2)
    path = spool / "scenes" / names[0] / what
    path.unlink()
    os.mkfifo(path)
    assert not upload(spool, objects, receiver).complete
    assert states(spool) == {names[0]: "quarantined", names[1]: "done"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("match", ["dataset/details", "upload_scenes", "GET /v1/nucleus/job"])
def test_a_service_that_says_nothing_holds_up_no_signal(
    spool: Path, objects: Path, serve: Callable[..., Receiver], number: int, match: str
) -> None:
    seal_scenes(spool, 2)
    receiver = serve(faults=[Fault("stall", 1.0, seconds=60.0, match=match)])
    arguments = ["upload", spool, "--store", f"file://{objects}", "--dataset", "drives"]
    process = command(*arguments, environment={"NUCLEUS_ENDPOINT": receiver.url})
    for _ in range(1200):
        if "stall" in receiver.fault_counts:
            break
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)
    process.send_signal(number)
    process.wait(5)
    status, out, err = finish(process)
    assert status == 1, err
    assert "goes on from here" in out
    assert "Traceback" not in err


def test_a_server_that_dribbles_holds_up_no_signal(spool: Path, objects: Path, receiver: Receiver) -> None:
    seal_scenes(spool, 1)
    service = DifficultService(receiver)
    service.rules = [Rule("GET .*/dataset/details", how="dribble")]
    try:
        arguments = ["upload", spool, "--store", f"file://{objects}", "--dataset", "drives"]
        process = command(*arguments, environment={"NUCLEUS_ENDPOINT": service.url})
        for _ in range(1200):
            if service.count("dataset/details"):
                break
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.05)
        process.send_signal(signal.SIGTERM)
        process.wait(5)
    finally:
        service.stop()
    assert finish(process)[0] == 1


def test_the_key_is_masked_in_every_form_also_where_the_text_is_cut(receiver: Receiver) -> None:
    key = 'live_+/"ä secret&key=0123456789'
    forms = [
        key,
        json.dumps(key)[1:-1],
        quote(key, safe=""),
        base64.b64encode(f"{key}:".encode()).decode(),
        base64.b64encode(key.encode()).decode(),
        base64.urlsafe_b64encode(key.encode()).decode(),
    ]
    service = DifficultService(receiver)
    client = NucleusClient(service.url, key)
    try:
        for form in forms:
            for padding in (0, 480, 495):
                service.rules = [Rule("dataset/details", 403, (" ".join(["x" * padding, form, "end"])).encode())]
                with pytest.raises(AuthError) as caught:
                    client.find_dataset("drives")
                told = str(caught.value)
                assert not any(form[:width] in told for width in (len(form), 12))
                assert "***" in told or padding > 480
    finally:
        service.stop()


def test_a_short_key_is_not_masked_within_other_words() -> None:
    assert secret_pattern("any").sub("***", "company any many any:") == "company *** many ***:"


def test_what_killed_uploads_left_is_swept(spool: Path, objects: Path, receiver: Receiver) -> None:
    (name,) = seal_scenes(spool, 1)
    book = StateBook(Spool(spool))
    book.create()
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead = spool / "state" / f".{name}.json.{ended.pid}.1.tmp"
    alive = spool / "state" / f".{name}.json.{os.getpid()}.1.tmp"
    for path in (dead, alive):
        path.write_text("{")
    staged = objects / name / "front" / "000000.jpg#1"
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"half")
    assert upload(spool, objects, receiver).complete
    assert not dead.exists()
    assert alive.exists()
    assert not staged.exists()
    assert len(held_scenes(receiver)) == 1


def test_two_uploaders_that_create_a_dataset_of_one_name_use_the_same(
    spool: Path, objects: Path, receiver: Receiver
) -> None:
    """Both find no dataset of the name; what they submit is in one dataset in the end."""
    first = Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY)
    second = Uploader(spool, settings(receiver, f"file://{objects}"), key=KEY)
    first._destination.open()
    second._destination.open()
    book = StateBook(Spool(spool))
    ids = {uploader._destination._created(book, lambda _: None) for uploader in (first, second)}  # type: ignore[attr-defined]
    assert len(ids) == 1


@pytest.mark.parametrize("may_delete", [True, False])
def test_of_two_datasets_created_at_once_the_older_is_used_and_no_empty_one_stays(
    spool: Path, objects: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, *, may_delete: bool
) -> None:
    """Each creates one before any looks again; without the right to delete, the empty one is named."""
    seal_scenes(spool, 2, frames=1)
    chosen = settings(receiver, f"file://{objects}")
    create, together = NucleusClient.create_dataset, threading.Barrier(2, timeout=60)

    def create_together(client: NucleusClient, name: str, *, privacy_mode: bool) -> str:
        together.wait()
        made = create(client, name, privacy_mode=privacy_mode)
        together.wait()
        return made

    def refuse(_: NucleusClient, __: str) -> None:
        raise RejectedError("DELETE dataset: HTTP 400: not allowed", status=400)

    monkeypatch.setattr(NucleusClient, "create_dataset", create_together)
    if not may_delete:
        monkeypatch.setattr(NucleusClient, "delete_dataset", refuse)
    notes: list[str] = []
    found: dict[int, str] = {}

    def begin(number: int) -> None:
        uploader = Uploader(spool, chosen, key=KEY)
        uploader._destination.open()
        found[number] = uploader._destination._created(StateBook(Spool(spool)), notes.append)  # type: ignore[attr-defined]

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    rows = requests.get(f"{receiver.url}/dataset/details", auth=("k", ""), timeout=60).json()
    ids = sorted(row["id"] for row in rows if row["name"] == "drives")
    assert set(found.values()) == {ids[0]}
    (told,) = [text for text in notes if "another process" in text]
    if may_delete:
        assert len(ids) == 1
        assert "which was empty, is deleted" in told
        monkeypatch.undo()
        assert Uploader(spool, chosen, key=KEY).run().complete
        assert len(held_scenes(receiver)) == 2
    else:
        assert len(ids) == 2
        assert f"{ids[1]} is empty and could not be deleted" in told
