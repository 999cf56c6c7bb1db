# SPDX-License-Identifier: Apache-2.0
"""Fuzzed: both sides of the service: the requests that the local receiver gets, and the answers that an upload gets."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests as requests_package
from harness import Target, scratch_folder
from receiver_driver import KEY, Driver, make_scene, write_items

from nucleus_bridge.errors import BridgeError, ConfigError, UploadError
from nucleus_bridge.testing.receiver import Limits, Receiver, resolvers_from_mappings
from nucleus_bridge.upload.nucleus.client import NucleusClient
from nucleus_bridge.upload.nucleus.comparison import compare_scenes
from nucleus_bridge.upload.retry import Retry, TransientError

SCRATCH = scratch_folder("fuzzed-service-")
AUTH = base64.b64encode(f"{KEY}:".encode())
ROUTES = [
    ("GET", "/v1/nucleus/dataset/details"),
    ("POST", "/v1/nucleus/dataset/create"),
    ("GET", "/v1/nucleus/dataset/ds_1/scenes_list"),
    ("POST", "/v1/nucleus/ds_1/upload_scenes?async=1"),
    ("GET", "/v1/nucleus/job/job_1/errors"),
    ("POST", "/v1/nucleus/jobs/"),
    ("PUT", "/put/ds_1/0123?X-Expires=9999999999&X-Signature=00"),
    ("DELETE", "/v1/nucleus/dataset/ds_1/scene/s1"),
]
HTTP = (b"\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"%2e%2e%2f")
HTTP += (b"HTTP/1.0", b"Host: evil\r\n", b"Connection: keep-alive\r\n", b"%00", b"\x00", b"?", b"#", b"Range: bytes=0-")


@cache
def receiver() -> Driver:
    (SCRATCH / "bucket").mkdir()
    write_items(SCRATCH / "bucket")
    resolvers = resolvers_from_mappings([f"s3://bucket={SCRATCH / 'bucket'}"])
    driver = Driver(Receiver(SCRATCH / "kept", resolvers=resolvers, limits=Limits(max_requests_per_s=1e9)).start())
    driver.dataset = driver.create()
    return driver


def requests() -> list[bytes]:
    body = json.dumps({"name": "drives", "is_scene": True, "requestId": "0123", "update": False}).encode()
    head = b"Host: 127.0.0.1\r\nAuthorization: Basic " + AUTH + b"\r\nConnection: close\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n".encode()
    return [f"{method} {route} HTTP/1.1\r\n".encode() + head + body for method, route in ROUTES]


def use_request(data: bytes) -> None:
    """Send what may be a request; nothing may fail inside, and whoever asks properly next is answered."""
    port = int(receiver().receiver.origin.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with suppress(ConnectionResetError):
            while block := connection.recv(1 << 16):
                answer += block
    for line in answer.split(b"HTTP/1.1 ")[1:]:
        assert not line.startswith(b"500"), answer[:300]
    if hash(data) % 50 == 0:
        assert receiver().call("GET", "dataset/details", {}).status_code == 200


def use_scenes(data: bytes) -> None:
    driver = receiver()
    job = driver.wait(driver.start_job(driver.dataset, driver.put(driver.dataset, data or b"\n")))
    assert job["status"] in ("Completed", "Errored_User", "Errored_Partial")
    assert all("Traceback" not in text for text in driver.errors(job))


def scenes() -> list[bytes]:
    line = json.dumps(make_scene()).encode()
    return [line + b"\n", line + b"\n" + json.dumps(make_scene("other", frames=1)).encode() + b"\n"]


LABELS = ("annotate", "model/{model}/uploadPredictions", "tracks", "add_taxonomy", "tags", "exportForTrainingPage")
LABELS += ("queryObjectsPage", "exportForTrainingByScene", "metadata?async=1", "append", "itemsPage", "modelRun/create")


@cache
def labelled() -> tuple[str, ...]:
    """Return the URLs that take labels, tasks and what belongs to them, of a dataset with a scene in it."""
    driver = receiver()
    dataset = driver.create()
    driver.upload(dataset, make_scene("s1", frames=1))
    model = driver.call("POST", "models/add", {"name": "net", "reference_id": "net"}).json()["model_id"]
    tasks = ("task/lidarannotation", "task/sensorfusion", "task/multistage", "projects", "batches")
    return (
        *(f"{driver.receiver.url}/dataset/{dataset}/{route.format(model=model)}" for route in LABELS),
        *(f"{driver.receiver.url}/{route}" for route in ("models/add", f"model/{model}/tag")),
        *(f"{driver.receiver.origin}/v1/{route}" for route in tasks),
    )


def use_labels(data: bytes) -> None:
    """Send what may be labels, as a request to every route and as an upload."""
    driver = receiver()
    for url in labelled():
        answer = requests_package.post(url, data=data, auth=(KEY, ""), timeout=60)
        assert answer.status_code != 500, f"{url}: {answer.text}"
    dataset = labelled()[0].split("/")[-2]
    request = {"requestId": driver.put(dataset, data.replace(b"\n", b" ") or b"\n"), "update": False}
    info = driver.call("POST", f"dataset/{dataset}/annotate?async=1", request).json()
    assert driver.wait(info["job_id"])["status"] in ("Completed", "Errored_User")


def labels() -> list[bytes]:
    position, item = {"x": 1.0, "y": 2.0, "z": 3.0}, {"annotation_id": "a1", "metadata": {"n": 1, "s": "t"}}
    cuboid = {
        **item,
        "label": "car",
        "type": "cuboid",
        "geometry": {"position": position, "dimensions": position, "yaw": 0.5},
        "reference_id": "s1-lidar-0",
        "track_reference_id": "t1",
    }
    box = {"x": 1, "y": 2, "width": 3, "height": 4}
    box = {**item, "label": "car", "type": "box", "geometry": box, "reference_id": "s1-front-0"}
    mask = {"type": "mask", "mask_url": "s3://b/m.png", "annotations": [{"label": "road", "index": 1}], **item}
    task = {"attachments": ["s3://bucket/cloud.json"], "labels": ["car"], "unique_id": "drive", "project": "p"}
    documents: list[object] = [
        {"update": False, "annotations": [cuboid, box], "segmentations": [{**mask, "reference_id": "s1-front-0"}]},
        {"pageToken": None, "pageSize": 10, "query": None, "patch_mode": "ground_truth_only", "items": [box]},
        {"level": "item", "metadata": [{"reference_id": "s1-front-0", "metadata": {"n": 1}}], "reference_id": "t1"},
        {"name": "net", "reference_id": "net-2", "metadata": {}, "tags": ["a"], "type": "category", **task},
        cuboid,
    ]
    return [json.dumps(document).encode() for document in documents]


class _Answering(BaseHTTPRequestHandler):
    """Gives every request the bytes at hand as the body of its answer."""

    answer = b""

    def handle_any(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815


@cache
def client() -> NucleusClient:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answering)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    retry = Retry(give_up_after_s=1e-9, stop=threading.Event())
    return NucleusClient(f"http://127.0.0.1:{server.server_address[1]}/v1/nucleus", "key", retry=retry)


def use_answer(data: bytes) -> None:
    """Take the bytes for the answer to each call that an upload makes."""
    _Answering.answer = data
    calls: list[Callable[[], object]] = [
        lambda: client().find_dataset("drives"),
        lambda: client().check_dataset("ds_1"),
        lambda: client().scene_references("ds_1"),
        lambda: compare_scenes(make_scene(), client().get_scene("ds_1", "s1")),
        lambda: client().start_job("ds_1", "0123", update=False),
        lambda: client().job_status("job_1"),
        lambda: client().job_errors("job_1"),
    ]
    for call in calls:
        with suppress(UploadError, ConfigError, TransientError):
            call()


def answers() -> list[bytes]:
    documents: list[object] = [
        [{"id": "ds_1", "name": "drives"}],
        {"is_scene": True, "use_privacy_mode": False},
        {"scenes": [{"reference_id": "s1"}]},
        make_scene(),
        {"job_id": "job_1", "status": "Completed"},
        ["scene 's1': is bad", "\\n"],
    ]
    return [json.dumps(document).encode() for document in documents]


JSON = (b"null", b"true", b"-1", b"{}", b"[]", b'""', b"[" * 2000, b"NaN", b"1e999", b"9" * 400, b"\\ud800", b"\xff")
TARGETS = [
    Target("request", use_request, requests, (), tokens=HTTP, cases=2_000),
    Target("upload", use_scenes, scenes, (), tokens=JSON, cases=60),
    Target("labels", use_labels, labels, (), tokens=JSON, cases=100),
    Target("answer", use_answer, answers, (BridgeError,), tokens=JSON, cases=200),
]
