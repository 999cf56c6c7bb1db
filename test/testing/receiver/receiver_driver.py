# SPDX-License-Identifier: Apache-2.0
"""A plain client for tests, written from the protocol, and scenes to send with it."""

from __future__ import annotations

import copy
import json
import time
import uuid
from pathlib import Path
from typing import Any

import requests

from nucleus_bridge.testing.receiver import Receiver

KEY = "test_key"
REQUEST = "0123456789abcdef" * 2
DEADLINE_S = 60.0

CLOUD = {
    "points": [
        {"x": 1.5, "y": -2, "z": 0.25, "i": 0.5, "d": 0, "t": 1541196976735462000, "is_ground": False},
        {"x": 7.125, "y": 2.5, "z": -0.5, "i": 1, "d": 1, "t": 1541196976735462001, "is_ground": True},
    ],
    "device_position": {"x": 0, "y": 0.5, "z": 0},
    "device_heading": {"x": 0.0, "y": 0.0, "z": 0.6, "w": 0.8},
    "device_gps_pose": {"lat": 52.5, "lon": 13.3, "bearing": 359.5},
    "timestamp": 1541196976735462000,
}
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + b"pixels" * 5000
PNG = b"\x89PNG\r\n\x1a\n" + b"pixels" * 5000
CAMERA = {
    "position": {"x": 1.0, "y": 0.0, "z": 1.5},
    "heading": {"x": -0.5, "y": 0.5, "z": -0.5, "w": 0.5},
    "fx": 900.0,
    "fy": 901.0,
    "cx": 320.0,
    "cy": 240,
    "k1": -0.1,
    "k2": 0.0,
    "skew": 0.0,
    "camera_model": "brown_conrady",
}


def write_items(folder: Path) -> None:
    (folder / "cloud.json").write_text(json.dumps(CLOUD))
    (folder / "image.jpg").write_bytes(JPEG)
    (folder / "image.png").write_bytes(PNG)


def make_scene(reference_id: str = "s1", frames: int = 2, base: str = "s3://bucket") -> dict[str, Any]:
    """Return a good scene of a cloud and an image a frame."""
    normalised = {key: value for key, value in CAMERA.items() if value and key != "skew"}
    return {
        "reference_id": reference_id,
        "frames": [
            {
                "lidar": {
                    "metadata": {},
                    "reference_id": f"{reference_id}-lidar-{number}",
                    "url": f"{base}/cloud.json",
                    "type": "pointcloud",
                },
                "front": {
                    "metadata": {"camera_params": copy.deepcopy(CAMERA), "weather": "dry", "number": number},
                    "reference_id": f"{reference_id}-front-{number}",
                    "url": f"{base}/image.{'jpg' if number % 2 else 'png'}",
                    "type": "image",
                    "camera_params": copy.deepcopy(normalised),
                },
            }
            for number in range(frames)
        ],
        "metadata": {"vehicle": "v1"},
    }


class Driver:
    """Talks to one receiver; any answer is returned, whatever its status."""

    def __init__(self, receiver: Receiver, key: str = KEY) -> None:
        self.receiver = receiver
        self.auth = (key, "")

    def call(self, method: str, route: str, document: Any = None, **options: Any) -> requests.Response:
        options = {"auth": self.auth, "timeout": DEADLINE_S, **options}
        if document is not None:
            options["json"] = document
        return requests.request(method, f"{self.receiver.url}/{route}", **options)

    def create(self, **changes: Any) -> str:
        document = {
            "name": "drives",
            "is_scene": True,
            "use_privacy_mode": False,
            "annotation_metadata_schema": None,
            "item_metadata_schema": None,
            **changes,
        }
        answer = self.call("POST", "dataset/create", document)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["dataset_id"])

    def sign(self, dataset_id: str, request_id: str) -> str:
        answer = self.call("GET", f"dataset/{dataset_id}/signedUrl/{request_id}", {})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["signed_url"])

    def put(self, dataset_id: str, body: bytes) -> str:
        request_id = uuid.uuid4().hex
        answer = requests.put(self.sign(dataset_id, request_id), data=body, timeout=DEADLINE_S)
        assert answer.status_code == 200, answer.text
        return request_id

    def start_job(self, dataset_id: str, request_id: str, *, update: bool = False) -> str:
        answer = self.call("POST", f"{dataset_id}/upload_scenes?async=1", {"requestId": request_id, "update": update})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["job_id"])

    def wait(self, job_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            answer: dict[str, Any] = self.call("GET", f"job/{job_id}", {}).json()
            if answer["status"] not in ("Queued", "Running"):
                return answer
            time.sleep(0.005)
        raise AssertionError(f"job {job_id} did not end")

    def upload(self, dataset_id: str, *scenes: Any, update: bool = False) -> dict[str, Any]:
        """Send scenes and return the job's last answer."""
        body = "".join(json.dumps(scene) + "\n" for scene in scenes).encode()
        return self.wait(self.start_job(dataset_id, self.put(dataset_id, body), update=update))

    def errors(self, job: dict[str, Any]) -> list[str]:
        errors: list[str] = self.call("GET", f"job/{job['job_id']}/errors", {}).json()
        return errors

    def references(self, dataset_id: str) -> list[str]:
        scenes = self.call("GET", f"dataset/{dataset_id}/scenes_list", {}).json()["scenes"]
        return [scene["reference_id"] for scene in scenes]


def counts(job: dict[str, Any]) -> dict[str, int]:
    """Return the counters of a job that are not zero."""
    progress = job["message"]["scene_upload_progress"]
    names = ("new_scenes", "ignored_scenes", "updated_scenes", "scenes_errored")
    return {name: progress[name] for name in names if progress[name]}
