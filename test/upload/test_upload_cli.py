# SPDX-License-Identifier: Apache-2.0
"""The commands upload, status and serve: what they print, and what their exit status tells."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import pytest
from upload_scenes import KEY, command, finish, seal_scenes, states

from nucleus_bridge.testing.receiver import Receiver


def test_upload_prints_a_line_a_scene_and_totals(spool: Path, objects: Path, receiver: Receiver) -> None:
    names = seal_scenes(spool, 2)
    arguments = ["upload", spool, "--store", f"file://{objects}", "--dataset", "drives"]
    status, out, err = finish(command(*arguments, environment={"NUCLEUS_ENDPOINT": receiver.url}))
    assert status == 0
    assert err.startswith("dataset 'drives' did not exist and was created: ds_")
    assert len(err.splitlines()) == 1
    lines = out.splitlines()
    assert sorted(line.split()[:2] for line in lines[:-1]) == [[name, "done"] for name in names]
    assert lines[-1].startswith("2 done; 0.0 MB sent")
    status, out, _ = finish(command(*arguments, environment={"NUCLEUS_ENDPOINT": receiver.url}))
    assert (status, out) == (0, "nothing to do; 0.0 MB sent\n")


def test_a_parameter_file_and_overrides_say_where_to(
    spool: Path, objects: Path, receiver: Receiver, tmp_path: Path
) -> None:
    seal_scenes(spool, 1)
    config = tmp_path / "config.yaml"
    config.write_text(
        "/**:\n  ros__parameters:\n    lidar_names: [top]\n    lidars: {top: {topic: /points}}\n"
        f"    upload: {{dataset_name: from_file, store: 'file://{objects}', endpoint: '{receiver.url}'}}\n"
    )
    assert finish(command("upload", spool, "--config", config))[0] == 0
    status, _, err = finish(command("upload", spool, "--config", config, "--set", "upload.stor=x"))
    assert status == 2
    assert "upload.store" in err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--dataset", "drives"], "upload.store is not set"),
        (["--store", "file:///tmp/x"], "upload.dataset_id"),
        (["--store", "nowhere", "--dataset", "d"], "must be written s3://"),
        (["--store", "file:///tmp/x", "--dataset", "d"], "only a receiver on this machine"),
        (["--store", "az://c/x", "--dataset", "d"], "set upload.url: presigned"),
        (["--store", "s3://b/x", "--dataset", "d", "--set", "upload.endpoint=http://a.example"], "unencrypted"),
        (["--store", "s3://b/x", "--dataset", "d", "--set", "upload.max_concurrency=0"], "max_concurrency"),
        (["--store", "s3://b/x", "--dataset", "d", "--config", "/no/such/file"], "/no/such/file"),
    ],
)
def test_bad_settings_are_one_line_and_status_2(spool: Path, arguments: list[str], text: str) -> None:
    seal_scenes(spool, 1)
    status, out, err = finish(command("upload", spool, *arguments))
    assert (status, out) == (2, "")
    assert text in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("name", ["upload", "status", "reconcile"])
def test_a_spool_that_is_not_there_is_named(name: str, tmp_path: Path, receiver: Receiver, objects: Path) -> None:
    arguments = [] if name == "status" else ["--store", f"file://{objects}", "--dataset", "d"]
    environment = {"NUCLEUS_ENDPOINT": receiver.url}
    status, _, err = finish(command(name, tmp_path / "none", *arguments, environment=environment))
    assert status == 2
    assert f"spool {tmp_path / 'none'}: there is no such folder" in err


def test_without_a_key_the_variable_is_named(spool: Path, objects: Path, receiver: Receiver) -> None:
    seal_scenes(spool, 1)
    arguments = ["upload", spool, "--store", f"file://{objects}", "--dataset", "drives"]
    environment = {"NUCLEUS_ENDPOINT": receiver.url, "NUCLEUS_API_KEY": ""}
    status, _, err = finish(command(*arguments, environment=environment))
    assert status == 2
    assert "NUCLEUS_API_KEY is not set" in err


def test_a_dry_run_says_what_would_be_done_and_does_nothing(spool: Path, objects: Path, receiver: Receiver) -> None:
    names = seal_scenes(spool, 2)
    before = sorted(spool.rglob("*"))
    arguments = ["upload", spool, "--store", f"file://{objects}", "--dataset", "drives", "--dry-run"]
    environment = {"NUCLEUS_ENDPOINT": receiver.url, "NUCLEUS_API_KEY": ""}
    status, out, _ = finish(command(*arguments, environment=environment))
    assert status == 0
    assert [line.split()[:2] for line in out.splitlines()[:-1]] == [[name, "send"] for name in names]
    assert "not done" in out.splitlines()[-1]
    assert sorted(spool.rglob("*")) == before
    assert receiver.requests == []


def test_status_shows_every_scene_and_what_went_wrong(spool: Path, objects: Path, receiver: Receiver) -> None:
    names = seal_scenes(spool, 3)
    (spool / "scenes" / names[1] / "front" / "000000.jpg").write_bytes(b"changed")
    arguments = ["upload", spool, "--store", f"file://{objects}", "--dataset", "drives"]
    status, out, _ = finish(command(*arguments, environment={"NUCLEUS_ENDPOINT": receiver.url}))
    assert status == 1
    assert "2 done, 1 quarantined" in out
    status, out, _ = finish(command("status", spool))
    assert status == 0
    lines = out.splitlines()
    assert [line.split("  ")[:2] for line in lines[:3]] == [
        [names[0], "done"],
        [names[1], "quarantined"],
        [names[2], "done"],
    ]
    assert "2 frames  4 items" in lines[0]
    assert "100%" in lines[0]
    assert "front/000000.jpg" in lines[1]
    assert lines[3] == "3 scenes: 2 done, 1 quarantined"
    document = json.loads(finish(command("status", spool, "--json"))[1])
    assert [scene["state"] for scene in document["scenes"]] == ["done", "quarantined", "done"]
    assert document["scenes"][0]["progress"] == 1.0
    assert KEY not in json.dumps(document)


def test_watching_ends_well_on_a_signal(spool: Path, objects: Path, receiver: Receiver) -> None:
    names = seal_scenes(spool, 1)
    arguments = ["upload", spool, "--store", f"file://{objects}", "--dataset", "drives", "--watch"]
    process = command(*arguments, environment={"NUCLEUS_ENDPOINT": receiver.url})
    assert process.stdout is not None
    assert process.stdout.readline().split()[:2] == [names[0], "done"]
    process.send_signal(signal.SIGTERM)
    process.wait(5)
    assert finish(process)[0] == 0


def test_serve_takes_an_upload_through_faults(spool: Path, objects: Path, tmp_path: Path) -> None:
    names = seal_scenes(spool, 3)
    faults = ["--fault", "server_error=0.2", "--fault", "reset=0.1", "--seed", "3"]
    server = command("serve", tmp_path / "served", "--store", f"file://{objects}", *faults)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        arguments = ["upload", spool, "--store", f"file://{objects}", "--dataset", "drives"]
        status, _, err = finish(command(*arguments, environment={"NUCLEUS_ENDPOINT": url}))
        assert status == 0, err
        assert states(spool) == dict.fromkeys(names, "done")
    finally:
        server.send_signal(signal.SIGTERM)
        assert finish(server)[0] == 0


@pytest.mark.parametrize("arguments", [["--fault", "flood=0.1"], ["--store", "ftp://x"], ["--map", "s3://b=/no/such"]])
def test_serve_refuses_what_it_does_not_know(tmp_path: Path, arguments: list[str]) -> None:
    status, _, err = finish(command("serve", tmp_path / "served", *arguments))
    assert status == 2
    assert err.startswith("nucleus-bridge: error:")


@pytest.mark.parametrize("lines", [0, 1, 7, 20])
def test_a_signal_at_any_moment_stops_it(spool: Path, objects: Path, receiver: Receiver, lines: int) -> None:
    seal_scenes(spool, 20)
    arguments = ["upload", spool, "--store", f"file://{objects}", "--dataset", "drives", "--watch"]
    process = command(*arguments, environment={"NUCLEUS_ENDPOINT": receiver.url})
    assert process.stdout is not None
    while not list(spool.glob("leases/*.owner")):
        threading.Event().wait(0.02)
    for _ in range(lines):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.wait(5)
    finish(process)
