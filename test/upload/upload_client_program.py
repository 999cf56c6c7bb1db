# SPDX-License-Identifier: Apache-2.0
"""Run by the tests in an environment that has the real client: reads scenes back, or sends the same ones itself."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import nucleus
import nucleus.async_job

warnings.simplefilter("ignore")
nucleus.async_job.JOB_POLLING_INTERVAL = 0.05


def read_back(client: nucleus.NucleusClient, request: dict[str, Any]) -> Any:
    dataset = client.get_dataset(next(entry.id for entry in client.datasets if entry.name == request["dataset"]))
    names = [entry.reference_id for entry in dataset.scenes]
    return {"scenes": names, "payloads": [dataset.get_scene(name).to_payload() for name in names]}


def query(client: nucleus.NucleusClient, request: dict[str, Any]) -> Any:
    dataset = client.get_dataset(next(entry.id for entry in client.datasets if entry.name == request["dataset"]))
    return {text: sorted(scene.reference_id for scene in dataset.query_scenes(text)) for text in request["queries"]}


def send(client: nucleus.NucleusClient, request: dict[str, Any]) -> Any:
    dataset = client.create_dataset(request["dataset"], is_scene=True)
    scenes = [nucleus.LidarScene.from_json(payload) for payload in request["payloads"]]
    job = dataset.append(scenes)
    job.sleep_until_complete(verbose_std_out=False)
    return {"status": job.status()["status"]}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    api = nucleus.NucleusClient(api_key=asked["key"], endpoint=asked["endpoint"])
    print(json.dumps({"read_back": read_back, "query": query, "send": send}[sys.argv[1]](api, asked)))  # noqa: T201 - for the test
