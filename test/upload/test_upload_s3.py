# SPDX-License-Identifier: Apache-2.0
"""Uploads to S3 over real HTTP: what arrives, what is not sent again, and what faults do."""

from __future__ import annotations

import hashlib
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("obstore", reason="the extra 'cloud' is not installed")
pytest.importorskip("moto.server", reason="moto is not installed")

import obstore
import requests
from fault_proxy import FaultProxy
from obstore.store import S3Store
from store_servers import moto
from upload_scenes import KEY, command, finish, held_scenes, seal_scene, seal_scenes, settings, states

from nucleus_bridge.errors import AuthError, StoreConflictError, StoreError
from nucleus_bridge.spool import FileRecord, Spool
from nucleus_bridge.testing.receiver import Fault, Receiver, object_store_resolver
from nucleus_bridge.upload.retry import Retry
from nucleus_bridge.upload.store.objects import ObjectStore, open_store
from nucleus_bridge.upload.uploader import Uploader


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with moto() as url:
        yield url


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]


@pytest.fixture
def s3_receiver(tmp_path: Path, s3: str) -> Iterator[Callable[..., Receiver]]:
    started: list[Receiver] = []

    def start(**options: Any) -> Receiver:
        started.append(Receiver(tmp_path / "kept", resolvers={"s3": object_store_resolver(s3)}, **options).start())
        return started[-1]

    yield start
    for receiver in started:
        receiver.stop()


def s3_objects(s3: str, prefix: str) -> dict[str, str]:
    """Return the sha256 of every object below a prefix, read with another client of our own making."""
    store = S3Store(
        "bucket",
        endpoint=s3,
        prefix=prefix,
        client_options={"allow_http": True},
        virtual_hosted_style_request=False,
    )
    return {
        entry["path"]: hashlib.sha256(bytes(obstore.get(store, entry["path"]).bytes())).hexdigest()
        for page in obstore.list(store)
        for entry in page
    }


def spool_files(spool: Path, names: list[str]) -> dict[str, str]:
    scenes = Spool(spool).scenes_dir
    return {
        str(path.relative_to(scenes)): hashlib.sha256(path.read_bytes()).hexdigest()
        for name in names
        for path in (scenes / name).rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("kind", ["native", "presigned", "public"])
def test_a_spool_arrives_whole_under_each_kind_of_url(
    spool: Path, s3: str, prefix: str, s3_receiver: Callable[..., Receiver], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    names = [*seal_scenes(spool, 3), seal_scene(spool, 7, frames=1, image_bytes=20 << 20)]
    receiver = s3_receiver()
    if kind == "public":
        anyone = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"}
        requests.put(f"{s3}/bucket?policy", json={"Version": "2012-10-17", "Statement": [anyone]}, timeout=60)
    base = f"{s3}/bucket/{prefix}" if kind == "public" else ""
    chosen = settings(receiver, f"s3://bucket/{prefix}", url=kind, public_base_url=base)
    summary = Uploader(spool, chosen, key=KEY).run()
    assert summary.complete, states(spool)
    assert s3_objects(s3, prefix) == spool_files(spool, names)
    urls = {item["url"] for scene in held_scenes(receiver) for frame in scene["frames"] for item in frame.values()}
    starts = {"native": f"s3://bucket/{prefix}/", "presigned": f"{s3}/", "public": f"{s3}/bucket/{prefix}/drive"}
    assert {url for url in urls if not url.startswith(starts[kind])} == set()
    assert all(("X-Amz-Expires=86400" in url) == (kind == "presigned") for url in urls)


def test_an_endpoint_in_the_url_is_used_and_shows_in_no_state(
    spool: Path, s3: str, prefix: str, s3_receiver: Callable[..., Receiver]
) -> None:
    names = seal_scenes(spool, 2)
    receiver = s3_receiver()
    store = f"s3://bucket/{prefix}?endpoint={s3}&region=us-east-1"
    assert Uploader(spool, settings(receiver, store), key=KEY).run().complete
    assert s3_objects(s3, prefix) == spool_files(spool, names)


def proxied(s3: str, **options: Any) -> FaultProxy:
    parts = urlsplit(s3)
    return FaultProxy(str(parts.hostname), int(parts.port or 0), **options)


def test_killed_while_sending_no_confirmed_object_is_sent_again(
    spool: Path, s3: str, prefix: str, s3_receiver: Callable[..., Receiver]
) -> None:
    proxy = proxied(s3)
    names = seal_scenes(spool, 6, frames=3)
    receiver = s3_receiver()
    arguments = ["upload", spool, "--store", f"s3://bucket/{prefix}?endpoint={proxy.url}", "--dataset", "drives"]
    arguments += ["--set", "upload.poll_interval_s=0.05"]
    try:
        for number in (3, 11, 9):
            environment = {"NUCLEUS_ENDPOINT": receiver.url, "NUCLEUS_BRIDGE_FAILPOINT": f"file_sent:{number}"}
            status, out, err = finish(command(*arguments, environment=environment))
            assert status == -signal.SIGKILL, (out, err)
        status, out, err = finish(command(*arguments, environment={"NUCLEUS_ENDPOINT": receiver.url}))
        assert status == 0, (out, err)
    finally:
        proxy.stop()
    puts = Counter(path for method, path, status in proxy.records if method == "PUT" and "manifest" not in path)
    assert set(puts.values()) == {1}
    assert len(puts) == len(spool_files(spool, names)) - len(names)
    assert s3_objects(s3, prefix) == spool_files(spool, names)


@pytest.mark.parametrize("seed", [1, 2])
def test_under_faults_of_every_kind_on_both_sides_everything_arrives_once(
    spool: Path, s3: str, prefix: str, s3_receiver: Callable[..., Receiver], seed: int
) -> None:
    names = [*seal_scenes(spool, 8), seal_scene(spool, 9, frames=1, image_bytes=20 << 20)]
    kinds = ("rate_limited", "server_error", "error_after_commit", "unavailable", "reset", "slow_body", "cut_body")
    kinds += ("stall", "wrong_json", "expired_url")
    seconds = {"stall": 1.5, "slow_body": 0.1, "rate_limited": 0.0}
    faults = [Fault(kind, 0.035, seconds=seconds.get(kind)) for kind in kinds]
    receiver = s3_receiver(faults=faults, seed=seed)
    proxy = proxied(s3, rate=0.3, seed=seed)
    chosen = settings(receiver, f"s3://bucket/{prefix}?endpoint={proxy.url}", timeout_s=1.0)
    try:
        summary = Uploader(spool, chosen, key=KEY, retry=Retry(random=lambda: 0.2)).run()
    finally:
        proxy.stop()
    assert proxy.struck
    assert receiver.fault_counts
    receiver.stop()
    assert summary.complete, states(spool)
    assert s3_objects(s3, prefix) == spool_files(spool, names)
    calm = s3_receiver()
    assert sorted(scene["reference_id"] for scene in held_scenes(calm)) == sorted(names)


def store_of(s3: str, prefix: str) -> ObjectStore:
    return open_store(f"s3://bucket/{prefix}?endpoint={s3}", retry=Retry(give_up_after_s=1.0))


def test_large_files_go_in_parts_and_are_recognised(s3: str, prefix: str, tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    path.write_bytes(bytes(range(256)) * (70_000))
    record = FileRecord("big.json", path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
    proxy = proxied(s3)
    store = store_of(proxy.url, prefix)
    try:
        assert store.put_file("scene/big.json", path, record, absent=True) is True
        assert len([1 for method, _, _ in proxy.records if method == "PUT"]) == 3
        assert store.put_file("scene/big.json", path, record, absent=False) is False
        assert len([1 for method, _, _ in proxy.records if method == "PUT"]) == 3
    finally:
        proxy.stop()
    assert s3_objects(s3, prefix) == {"scene/big.json": record.sha256}


@pytest.mark.parametrize("size", [100, 20 << 20])
def test_what_differs_under_a_key_is_a_conflict_whatever_its_size(
    s3: str, prefix: str, tmp_path: Path, size: int
) -> None:
    path = tmp_path / "a.json"
    store = store_of(s3, prefix)
    for content in (b"a" * size, b"b" * size, b"c" * (size + 1)):
        path.write_bytes(content)
        record = FileRecord("a.json", len(content), hashlib.sha256(content).hexdigest())
        if content[:1] == b"a":
            assert store.put_file("scene/a.json", path, record, absent=False)
            continue
        with pytest.raises(StoreConflictError, match="never overwritten"):
            store.put_file("scene/a.json", path, record, absent=False)
    assert s3_objects(s3, prefix) == {"scene/a.json": hashlib.sha256(b"a" * size).hexdigest()}


def test_a_missing_bucket_is_named(s3: str) -> None:
    store = open_store(f"s3://no-such-bucket/x?endpoint={s3}", retry=Retry(give_up_after_s=1.0))
    with pytest.raises(StoreError, match="no-such-bucket"):
        store.put_bytes("a/b", b"c")


def test_refused_credentials_stop_everything(tmp_path: Path) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Refuse(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Refuse)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        store = open_store(f"s3://bucket/x?endpoint=http://127.0.0.1:{server.server_address[1]}")
        with pytest.raises(AuthError, match="credentials"):
            store.put_bytes("a/b", b"c")
    finally:
        server.shutdown()
        server.server_close()


def test_a_receiver_and_a_store_that_stop_answering_do_not_hold_up_a_stop(
    spool: Path, s3: str, prefix: str, s3_receiver: Callable[..., Receiver]
) -> None:
    seal_scenes(spool, 3)
    receiver = s3_receiver(faults=[Fault("stall", 1.0, seconds=60.0, match="scenes_list")])
    process = command(
        *("upload", spool, "--store", f"s3://bucket/{prefix}?endpoint={s3}", "--dataset", "drives"),
        environment={"NUCLEUS_ENDPOINT": receiver.url},
    )
    for _ in range(600):
        if "stall" in receiver.fault_counts:
            break
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)
    process.send_signal(signal.SIGTERM)
    process.wait(5)
    status, out, _ = finish(process)
    assert status == 1
    assert "goes on from here" in out
    assert set(states(spool).values()) <= {"stored", "storing", "sealed"}
