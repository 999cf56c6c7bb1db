# SPDX-License-Identifier: Apache-2.0
"""Annotation tasks whose frames and images are in S3, over real HTTP, under every kind of URL and through faults."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("obstore", reason="the extra 'cloud' is not installed")
pytest.importorskip("moto.server", reason="moto is not installed")

import requests
from fault_proxy import FaultProxy
from store_servers import moto
from task_scenes import (
    TASK_KEY,
    held_tasks,
    seal_fusion_scene,
    seal_fusion_scenes,
    task_command,
    task_settings,
    template_file,
)
from upload_scenes import finish, states

from nucleus_bridge.testing.receiver import Fault, Receiver, object_store_resolver
from nucleus_bridge.upload.retry import Retry
from nucleus_bridge.upload.store.objects import open_store
from nucleus_bridge.upload.uploader import Uploader


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with moto() as url:
        yield url


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, s3: str) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return template_file(tmp_path)


@pytest.fixture
def s3_receiver(tmp_path: Path, s3: str) -> Iterator[Callable[..., Receiver]]:
    started: list[Receiver] = []

    def start(**options: Any) -> Receiver:
        started.append(Receiver(tmp_path / "kept", resolvers={"s3": object_store_resolver(s3)}, **options).start())
        return started[-1]

    yield start
    for receiver in started:
        receiver.stop()


def open_to_all(s3: str) -> None:
    anyone = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"}
    requests.put(f"{s3}/bucket?policy", json={"Version": "2012-10-17", "Statement": [anyone]}, timeout=60)


def fetched(url: str, s3: str) -> bytes:
    """Read what a URL points to, as the service would."""
    if url.startswith("s3://"):
        url = f"{s3}/{url.removeprefix('s3://')}"
    answer = requests.get(url, timeout=60)
    assert answer.status_code == 200, url
    return answer.content


def assert_tasks_readable(spool: Path, s3: str, receiver: Receiver, names: list[str]) -> set[str]:
    """Each scene is one task; its frames and their images are what was sealed; returns every URL."""
    open_to_all(s3)
    tasks = held_tasks(receiver)
    assert sorted(task["unique_id"] for task in tasks) == sorted(names)
    urls = set()
    for task in tasks:
        folder = spool / "scenes" / task["unique_id"]
        sealed = sorted((folder / "frames").iterdir())
        for url, path in zip(task["params"]["attachments"], sealed, strict=True):
            content = fetched(url, s3)
            assert hashlib.sha256(content).hexdigest() in url
            frame, before = json.loads(content), json.loads(path.read_bytes())
            for image, sealed_image in zip(frame["images"], before["images"], strict=True):
                assert fetched(image["image_url"], s3) == (folder / sealed_image["image_url"]).read_bytes()
                urls |= {url, image["image_url"]}
                sealed_image["image_url"] = image["image_url"]
            assert frame == before
    return urls


@pytest.mark.parametrize("kind", ["native", "presigned", "public"])
def test_the_service_can_read_frames_and_images_under_each_kind_of_url(
    spool: Path, s3: str, prefix: str, s3_receiver: Callable[..., Receiver], template: Path, kind: str
) -> None:
    names = [*seal_fusion_scenes(spool, 2), seal_fusion_scene(spool, 5, frames=1, padding=9 << 20)]
    receiver = s3_receiver()
    if kind == "public":
        open_to_all(s3)
    base = f"{s3}/bucket/{prefix}" if kind == "public" else ""
    chosen = task_settings(receiver, f"s3://bucket/{prefix}", template, url=kind, public_base_url=base)
    assert Uploader(spool, chosen, key=TASK_KEY).run().complete, states(spool)
    urls = assert_tasks_readable(spool, s3, receiver, names)
    starts = {"native": f"s3://bucket/{prefix}/", "presigned": f"{s3}/", "public": f"{s3}/bucket/{prefix}/drive"}
    assert {url for url in urls if not url.startswith(starts[kind])} == set()
    assert all(("X-Amz-Expires=86400" in url) == (kind == "presigned") for url in urls)


@pytest.mark.parametrize("kind", ["native", "presigned"])
def test_a_frame_that_the_bucket_lost_is_sent_again_only_where_its_task_would_find_it(
    spool: Path, s3: str, prefix: str, s3_receiver: Callable[..., Receiver], template: Path, kind: str
) -> None:
    """Frames with signed URLs in them get other names when they are sent again; the scene stays then."""
    (name,) = seal_fusion_scenes(spool, 1)
    receiver = s3_receiver()
    open_to_all(s3)
    chosen = task_settings(receiver, f"s3://bucket/{prefix}", template, url=kind)
    assert Uploader(spool, chosen, key=TASK_KEY).run().complete
    (task,) = held_tasks(receiver)
    key = task["params"]["attachments"][0].partition("?")[0].partition(f"/{prefix}/")[2]
    store = open_store(f"s3://bucket/{prefix}")
    assert store.size(key)
    store.remove([key])
    Uploader(spool, replace(chosen, delete_after=True), key=TASK_KEY).run()
    kept = [path.name for path in (spool / "scenes").iterdir()]
    assert kept == ([] if kind == "native" else [name])
    assert (store.size(key) is not None) == (kind == "native")


@pytest.mark.parametrize("step", ["after_stored:2", "task_made:2"])
def test_killed_with_signed_urls_it_goes_on_with_fresh_ones_and_makes_no_task_twice(
    spool: Path, s3: str, prefix: str, s3_receiver: Callable[..., Receiver], template: Path, step: str
) -> None:
    names = seal_fusion_scenes(spool, 3)
    receiver = s3_receiver()
    store, presigned = f"s3://bucket/{prefix}", ("--set", "upload.url=presigned")
    environment = {"NUCLEUS_BRIDGE_FAILPOINT": step}
    status, out, err = finish(task_command(spool, store, template, receiver, *presigned, environment=environment))
    assert status == -signal.SIGKILL, (out, err)
    status, out, err = finish(task_command(spool, store, template, receiver, *presigned))
    assert status == 0, (out, err)
    assert states(spool) == dict.fromkeys(names, "done")
    assert_tasks_readable(spool, s3, receiver, names)


def test_under_faults_of_every_kind_on_both_sides_each_task_is_made_once(
    spool: Path, s3: str, prefix: str, s3_receiver: Callable[..., Receiver], template: Path
) -> None:
    names = [*seal_fusion_scenes(spool, 6), seal_fusion_scene(spool, 9, frames=1, padding=9 << 20)]
    kinds = ("rate_limited", "server_error", "error_after_commit", "unavailable", "reset", "slow_body", "cut_body")
    kinds += ("stall", "wrong_json")
    seconds = {"stall": 2.5, "slow_body": 0.1, "rate_limited": 0.0}
    faults = [Fault(kind, 0.06, seconds=seconds.get(kind)) for kind in kinds]
    receiver = s3_receiver(faults=faults, seed=2)
    parts = urlsplit(s3)
    proxy = FaultProxy(str(parts.hostname), int(parts.port or 0), rate=0.3, seed=2)
    chosen = task_settings(receiver, f"s3://bucket/{prefix}?endpoint={proxy.url}", template, timeout_s=2.0)
    try:
        summary = Uploader(spool, chosen, key=TASK_KEY, retry=Retry(random=lambda: 0.2)).run()
    finally:
        proxy.stop()
    assert proxy.struck
    assert receiver.fault_counts
    receiver.stop()
    assert summary.complete, states(spool)
    assert states(spool) == dict.fromkeys(names, "done")
    assert_tasks_readable(spool, s3, s3_receiver(), names)
