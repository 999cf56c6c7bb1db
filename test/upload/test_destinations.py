# SPDX-License-Identifier: Apache-2.0
"""A state belongs to a destination: rehearsing, several datasets and stores, and what may be deleted when."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from difficult_service import DifficultService, Rule
from task_scenes import TASK_KEY, held_tasks, posts, seal_fusion_scenes, task_settings, template_file
from upload_scenes import (
    CAMERA,
    KEY,
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

from nucleus_bridge.config import SpoolConfig, UploadConfig
from nucleus_bridge.errors import AuthError, ConfigError, UploadError
from nucleus_bridge.formats.nucleus.payload import image_item
from nucleus_bridge.render.room import arrived_where_configured
from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.destination import DestinationKey, normalised_endpoint
from nucleus_bridge.spool.quota import Quota, Room, read_drops
from nucleus_bridge.spool.state import SceneState, StateBook
from nucleus_bridge.testing.receiver import Receiver
from nucleus_bridge.upload.nucleus.client import NucleusClient
from nucleus_bridge.upload.nucleus.holdings import DatasetHoldings
from nucleus_bridge.upload.reconcile import reconcile
from nucleus_bridge.upload.store.objects import open_store
from nucleus_bridge.upload.uploader import Uploader

Serve = Callable[[str], tuple[Receiver, Path]]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Serve]:
    """Return a receiver of a name with a folder of objects of its own."""
    with ExitStack() as stack:

        def serve(name: str) -> tuple[Receiver, Path]:
            objects = tmp_path / f"{name}-objects"
            receiver = file_receiver(tmp_path / f"{name}-kept", objects)
            return stack.enter_context(receiver), objects

        yield serve


def upload(spool: Path, receiver: Receiver, objects: Path, **changes: Any) -> Any:
    return Uploader(spool, settings(receiver, f"file://{objects}", **changes), key=KEY).run()


def in_spool(spool: Path) -> list[str]:
    return [folder.name for folder in Spool(spool).scenes()]


@pytest.mark.parametrize("delete_after", [False, True])
def test_rehearsed_scenes_are_uploaded_for_real(spool: Path, place: Serve, delete_after: bool) -> None:
    names = seal_scenes(spool, 3)
    rehearsal, real = place("rehearsal"), place("real")
    assert upload(spool, *rehearsal).complete
    summary = upload(spool, *real, delete_after=delete_after)
    assert summary.complete
    assert summary.ended[SceneState.DONE] == 3
    assert sorted(scene["reference_id"] for scene in held_scenes(real[0])) == names
    assert in_spool(spool) == ([] if delete_after else names)
    assert upload(spool, *real, delete_after=delete_after).complete
    assert len(held_scenes(real[0])) == 3


@pytest.mark.parametrize("delete_after", [False, True])
def test_rehearsed_tasks_are_made_for_real(spool: Path, place: Serve, tmp_path: Path, delete_after: bool) -> None:
    names = seal_fusion_scenes(spool, 3)
    template = template_file(tmp_path)
    for place_name, deletes in (("rehearsal", False), ("real", delete_after)):
        receiver, objects = place(place_name)
        chosen = task_settings(receiver, f"file://{objects}", template, delete_after=deletes)
        assert Uploader(spool, chosen, key=TASK_KEY).run().complete
        assert sorted(task["unique_id"] for task in held_tasks(receiver)) == names
        assert posts(receiver) == [200] * 3
    assert in_spool(spool) == ([] if delete_after else names)


def test_another_dataset_and_another_store_are_work_to_do(spool: Path, place: Serve, tmp_path: Path) -> None:
    seal_scenes(spool, 2)
    receiver, objects = place("one")
    assert upload(spool, receiver, objects).complete
    assert upload(spool, receiver, objects, dataset_name="second").complete
    assert len(held_scenes(receiver, "second")) == 2
    summary = upload(spool, receiver, tmp_path / "one-objects" / "deeper")
    assert summary.ended == {SceneState.CONFLICT: 2}  # the dataset reads them from the first store for good
    assert "at another place" in records(spool)[scene_name(0)].error
    assert upload(spool, receiver, objects).complete


def test_an_endpoint_that_is_not_the_services_is_named_before_anything_is_sent(spool: Path, place: Serve) -> None:
    (name,) = seal_scenes(spool, 1)
    receiver, objects = place("real")
    with pytest.raises(ConfigError, match=r"there is no Nucleus .*404.*ends with /v1/nucleus"):
        upload(spool, receiver, objects, endpoint=receiver.url.removesuffix("/v1/nucleus"))
    assert states(spool) == {name: "sealed"}
    assert not list(objects.rglob("*.json"))


@pytest.mark.parametrize("kind", ["dataset", "tasks"])
def test_what_the_store_lost_is_sent_again_before_a_scene_is_deleted(
    spool: Path, place: Serve, tmp_path: Path, kind: str
) -> None:
    receiver, objects = place("real")
    seal = seal_scenes if kind == "dataset" else seal_fusion_scenes
    names = seal(spool, 3)
    if kind == "dataset":
        chosen, key = settings(receiver, f"file://{objects}"), KEY
    else:
        chosen, key = task_settings(receiver, f"file://{objects}", template_file(tmp_path)), TASK_KEY
    assert Uploader(spool, chosen, key=key).run().complete
    kept = {path.relative_to(objects): path.read_bytes() for path in objects.rglob("*") if path.is_file()}
    shutil.rmtree(objects / names[0])
    next(path for path in (objects / names[1]).rglob("*.jpg")).unlink()
    summary = Uploader(spool, replace(chosen, delete_after=True), key=key).run()
    assert summary.complete
    assert summary.kept == 0
    assert in_spool(spool) == []
    assert {path.relative_to(objects): path.read_bytes() for path in objects.rglob("*") if path.is_file()} == kept
    if kind == "dataset":
        assert sorted(scene["reference_id"] for scene in held_scenes(receiver)) == names
    else:
        assert sorted(task["unique_id"] for task in held_tasks(receiver)) == names


def test_deleting_asks_the_destination_of_now_and_believes_no_note(spool: Path, place: Serve) -> None:
    names = seal_scenes(spool, 3)
    receiver, objects = place("real")
    assert upload(spool, receiver, objects).complete
    client = NucleusClient(receiver.url, KEY)
    client.delete_scene(str(client.find_dataset("drives")), names[0])
    (objects / names[1] / "lidar" / "000000.json").unlink()
    summary = upload(spool, receiver, objects, delete_after=True)
    assert summary.kept == 0
    assert in_spool(spool) == []  # what was gone, a scene here and a file there, was sent again before
    assert (objects / names[1] / "lidar" / "000000.json").is_file()
    assert sorted(scene["reference_id"] for scene in held_scenes(receiver)) == names


def test_a_scene_without_its_content_digest_at_the_service_is_done_and_never_deleted(spool: Path, place: Serve) -> None:
    names = seal_scenes(spool, 1)
    receiver, objects = place("real")
    service = DifficultService(receiver)
    try:

        def without(scene: dict[str, Any]) -> dict[str, Any]:
            scene["metadata"].pop("scene_content")
            return scene

        service.rules = [Rule(r"GET .*/scene/", change=without)]
        summary = upload(spool, receiver, objects, endpoint=service.url, delete_after=True)
    finally:
        service.stop()
    assert (summary.complete, summary.kept) == (True, 1)
    assert in_spool(spool) == names


def test_the_state_of_a_deleted_scene_keeps_its_manifest(spool: Path, place: Serve) -> None:
    (name,) = seal_scenes(spool, 1)
    before = StateBook(Spool(spool)).manifest(name)
    assert upload(spool, *place("real"), delete_after=True).complete
    assert in_spool(spool) == []
    assert StateBook(Spool(spool)).manifest(name) == before


def make_old(spool: Path) -> None:
    """Write states as a release did that did not note where they hold."""
    later = ("endpoint", "dataset_name", "project", "template", "task_status", "elsewhere", "manifest")
    for path in (spool / "state").glob("*.json"):
        document = json.loads(path.read_text())
        path.write_text(json.dumps({key: value for key, value in document.items() if key not in later}))


def test_states_of_an_older_release_are_unverified_and_looked_at(spool: Path, place: Serve) -> None:
    names = seal_scenes(spool, 3)
    here, there = place("here"), place("there")
    assert upload(spool, *here).complete
    make_old(spool)
    assert states(spool) == dict.fromkeys(names, "unverified")
    client = NucleusClient(here[0].url, KEY)
    client.delete_scene(str(client.find_dataset("drives")), names[1])
    summary = upload(spool, *here)
    assert summary.complete
    assert summary.sent == 0
    assert sorted(scene["reference_id"] for scene in held_scenes(here[0])) == names
    make_old(spool)
    assert upload(spool, *there, delete_after=True).complete
    assert len(held_scenes(there[0])) == 3


def test_status_tells_each_destination_apart(spool: Path, place: Serve) -> None:
    names = seal_scenes(spool, 2)
    first, second = place("first"), place("second")
    upload(spool, *first)
    seal_scene(spool, 2)
    upload(spool, *second)
    _, out, _ = finish(command("status", spool, "--json"))
    scenes = {scene["reference_id"]: scene for scene in json.loads(out)["scenes"]}
    assert {scene["state"] for scene in scenes.values()} == {"done"}
    assert [entry["endpoint"] for entry in scenes[names[0]]["destinations"]] == [second[0].url, first[0].url]
    status, out, _ = finish(command("status", spool, "--destination", first[0].url))
    assert status == 0
    assert [line.split("  ")[1] for line in out.splitlines()[:3]] == ["done", "done", "sealed"]
    assert first[0].url in out.splitlines()[-1]
    status, out, _ = finish(command("status", "--destination", spool))
    assert out.count("done  dataset ds_") == 5
    status, _, err = finish(command("status", spool, "--destination", "nowhere"))
    assert status == 2
    assert "no destination fits" in err


@pytest.mark.parametrize("text", ["HTTPS://Api.Example:443/v1/", "https://api.example/v1", "https://api.example/v1//"])
def test_an_endpoint_is_one_however_it_is_written(text: str) -> None:
    assert normalised_endpoint(text) == "https://api.example/v1"


def test_a_dataset_is_created_when_there_is_something_to_submit(spool: Path, place: Serve, tmp_path: Path) -> None:
    receiver, objects = place("real")
    Spool(spool).create()
    upload(spool, receiver, objects)
    assert not [record for record in receiver.requests if record.method == "POST"]
    seal_scenes(spool, 1)
    arguments = ["upload", spool, "--store", f"file://{objects}", "--dataset", "drives"]
    environment = {"NUCLEUS_ENDPOINT": receiver.url}
    status, out, _ = finish(command(*arguments, "--dry-run", environment=environment))
    assert (status, "does not exist; will be created" in out) == (0, True)
    assert not [record for record in receiver.requests if record.path.endswith("dataset/create")]
    status, _, err = finish(command(*arguments, environment=environment))
    assert status == 0
    assert err.count("did not exist and was created") == 1
    status, out, _ = finish(command(*arguments, "--dry-run", environment=environment))
    assert out.startswith("0 scenes")


def recalibrated(spool: Path, number: int, monkeypatch: pytest.MonkeyPatch, fx: float) -> str:
    """Seal a scene again with another calibration: the same clouds and images."""
    with monkeypatch.context() as patch:
        patch.setattr("upload_scenes.image_item", lambda name, url, camera: image_item(name, url, {**camera, "fx": fx}))
        return seal_scene(spool, number)


def test_another_calibration_differs_and_is_renewed_in_place(
    spool: Path, place: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal_scenes(spool, 2)
    receiver, objects = place("real")
    assert upload(spool, receiver, objects).complete
    corrected = tmp_path / "corrected"
    name = recalibrated(corrected, 0, monkeypatch, 950.0)
    before = {path: path.stat().st_mtime_ns for path in objects.rglob("*") if path.is_file()}
    summary = upload(corrected, receiver, objects)
    assert summary.ended == {SceneState.DIFFERS: 1}
    assert not summary.complete
    assert "--update" in records(corrected)[name].error
    held = {scene["reference_id"]: scene for scene in held_scenes(receiver)}
    assert held[name]["frames"][0]["front"]["camera_params"]["fx"] == CAMERA["fx"]
    assert upload(corrected, receiver, objects, update=True).complete
    held = {scene["reference_id"]: scene for scene in held_scenes(receiver)}
    for frame in held[name]["frames"]:
        assert frame["front"]["camera_params"]["fx"] == 950.0
        assert frame["front"]["metadata"]["camera_params"]["fx"] == 950.0
    other = held[scene_name(1)]["frames"][0]["front"]["camera_params"]
    assert other["fx"] == CAMERA["fx"]
    assert {path: path.stat().st_mtime_ns for path in objects.rglob("*") if path.is_file()} == before
    assert upload(spool, receiver, objects).complete  # its own note still stands
    client = NucleusClient(receiver.url, KEY)
    holdings = DatasetHoldings(client, str(client.find_dataset("drives")))
    found = reconcile(spool, open_store(f"file://{objects}"), holdings)
    assert [(finding.kind, finding.reference_id) for finding in found] == [("different metadata", name)]


def test_an_update_of_other_clouds_is_refused_with_the_reason(spool: Path, place: Serve, tmp_path: Path) -> None:
    seal_scenes(spool, 1)
    receiver, objects = place("real")
    assert upload(spool, receiver, objects).complete
    other, elsewhere = tmp_path / "other", tmp_path / "real-objects" / "elsewhere"
    name = seal_scene(other, 0, salt=5)
    summary = upload(other, receiver, elsewhere, update=True)
    assert summary.ended == {SceneState.CONFLICT: 1}
    assert "other clouds or images" in records(other)[name].error
    assert in_spool(other) == [name]


def test_what_was_set_aside_is_taken_up_again_and_nothing_set_aside_is_overwritten(spool: Path, place: Serve) -> None:
    (name,) = seal_scenes(spool, 1)
    receiver, objects = place("real")
    picture = spool / "scenes" / name / "front" / "000000.jpg"
    good = picture.read_bytes()
    picture.write_bytes(b"first")
    upload(spool, receiver, objects)
    seal_scenes(spool, 1)
    picture.write_bytes(b"second")
    upload(spool, receiver, objects)
    assert states(spool) == {name: "quarantined"}
    aside = spool / "quarantine"
    assert (aside / name / "front" / "000000.jpg").read_bytes() == b"second"
    assert (aside / f"{name}~1" / "front" / "000000.jpg").read_bytes() == b"first"
    (aside / name / "front" / "000000.jpg").write_bytes(good)
    arguments = ["upload", spool, "--store", f"file://{objects}", "--dataset", "drives", "--retry-quarantined"]
    status, out, _ = finish(command(*arguments, environment={"NUCLEUS_ENDPOINT": receiver.url}))
    assert (status, out.splitlines()[-1].partition(";")[0]) == (0, "1 done")
    assert in_spool(spool) == [name]


def test_without_access_to_the_bucket_no_scene_is_set_aside_and_one_line_says_so(
    spool: Path, place: Serve, tmp_path: Path
) -> None:
    """The service cannot read where the items are."""
    names = seal_scenes(spool, 30)
    receiver, _ = place("real")
    hidden = tmp_path / "hidden"
    with pytest.raises(UploadError, match=r"3 scenes failed alike and none was taken; they are left as they are"):
        upload(spool, receiver, hidden)
    assert in_spool(spool) == names
    assert set(states(spool).values()) <= {"sealed", "storing", "stored"}
    assert not (spool / "quarantine").exists()
    assert sum(record.path.endswith("/upload_scenes") for record in receiver.requests) == 3


def test_a_store_that_refuses_sets_no_scene_aside_and_creates_no_dataset(
    spool: Path, place: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    names = seal_scenes(spool, 30)
    receiver, _ = place("real")

    class Refuse(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        store = f"s3://bucket/x?endpoint=http://127.0.0.1:{server.server_address[1]}&region=us-east-1"
        with pytest.raises(AuthError, match=r"HTTP 403 AccessDenied: Access Denied.*allow listing, reading"):
            Uploader(spool, settings(receiver, store, url="presigned"), key=KEY).run()
    finally:
        server.shutdown()
        server.server_close()
    assert in_spool(spool) == names
    assert not (spool / "quarantine").exists()
    assert not [record for record in receiver.requests if record.path.endswith("dataset/create")]


def test_both_kinds_of_key_are_never_sent_together(spool: Path, place: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    from nucleus_bridge.upload.choice import key_for

    receiver, objects = place("real")
    service = DifficultService(receiver)
    seen: list[dict[str, str]] = []
    try:
        chosen = settings(receiver, f"file://{objects}", endpoint=service.url)
        with pytest.raises(ConfigError, match="both set"):
            key_for(chosen, {"NUCLEUS_API_KEY": "a", "NUCLEUS_LIMITED_ACCESS_KEY": "b"})
        key = key_for(chosen, {"NUCLEUS_LIMITED_ACCESS_KEY": "limited_0123"})
        client = NucleusClient(service.url, key)
        monkeypatch.setattr(
            client._http._session,
            "request",
            lambda method, url, **options: seen.append(options) or (_ for _ in ()).throw(ValueError("enough")),
        )
        with pytest.raises(ValueError, match="enough"):
            client.find_dataset("drives")
    finally:
        service.stop()
    (options,) = seen
    assert options["headers"]["x-limited-access-key"] == "limited_0123"
    assert not isinstance(options["auth"], tuple)


@pytest.mark.parametrize(
    ("store", "changes", "text"),
    [
        ("s3://b/x", {}, "browsers cannot fetch s3:// URLs"),
        ("s3://b/x", {"url": "presigned"}, "signed URLs end"),
        ("file:///tmp/x", {}, "browsers cannot fetch file:// URLs"),
    ],
)
def test_privacy_mode_wants_urls_for_good(
    spool: Path, receiver: Receiver, store: str, changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        Uploader(spool, settings(receiver, store, privacy_mode=True, **changes), key=KEY)


def test_azure_has_native_urls_where_the_account_is_known(
    spool: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nucleus_bridge.upload.store.url import parse_store_url

    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "depot")
    url = parse_store_url("az://drives/north")
    assert url.item_urls(["s/front/000000.jpg"]) == [
        "https://depot.blob.core.windows.net/drives/north/s/front/000000.jpg"
    ]
    Uploader(spool, settings(receiver, "az://drives/north", privacy_mode=True), key=KEY)


def drop_quota(spool: Path, upload_settings: UploadConfig) -> Quota:
    used = Quota(Spool(spool), SpoolConfig()).used_bytes()
    limits = SpoolConfig(max_bytes=used, min_free_bytes=0, when_full="drop_oldest")
    return Quota(
        Spool(spool), limits, is_uploaded=arrived_where_configured(upload_settings), free_bytes=lambda _: 10**12
    )


def test_a_full_spool_drops_what_is_done_where_it_is_to_go_and_no_rehearsal_counts(
    spool: Path, receiver: Receiver
) -> None:
    names = seal_scenes(spool, 3)
    store = "s3://bucket/drives"
    chosen = UploadConfig(endpoint="https://api.example/v1", dataset_id="ds_1", store=store)
    wanted = DestinationKey("https://api.example/v1", store, "ds_1")
    for number, key in ((2, wanted), (1, DestinationKey(receiver.url, store, "ds_1"))):
        book = StateBook(Spool(spool), key)
        record = book.get(names[number])
        for state in (SceneState.STORING, SceneState.STORED, SceneState.DONE):
            record = book.write(record, state)
    assert drop_quota(spool, chosen).admit(1).removed == (names[2],)
    assert read_drops(Spool(spool)) == {"removed_uploaded": 1}
    assert drop_quota(spool, chosen).admit(1).removed == (names[0],)
    assert drop_quota(spool, chosen).admit(1).room is Room.ADMITTED
    assert read_drops(Spool(spool)) == {"removed_uploaded": 1, "dropped_oldest": 2}
