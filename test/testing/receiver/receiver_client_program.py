# SPDX-License-Identifier: Apache-2.0
"""Run by the tests in an environment that has the real client: does what the first argument says, prints JSON."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import nucleus
import nucleus.async_job
import nucleus.retry_strategy
from nucleus import DatasetItem, Frame, LidarScene

warnings.simplefilter("ignore")
nucleus.async_job.JOB_POLLING_INTERVAL = 0.05
nucleus.retry_strategy.RetryStrategy.sleep_times = staticmethod(lambda: [0.05] * 4)


def scene_of(arguments: dict[str, Any], reference_id: str, frames: int) -> LidarScene:
    base, camera = arguments["base"], arguments["camera"]
    return LidarScene(
        reference_id=reference_id,
        frames=[
            Frame(
                lidar=DatasetItem(
                    pointcloud_location=f"{base}/cloud.json", reference_id=f"{reference_id}-p{n}", metadata={}
                ),
                front=DatasetItem(
                    image_location=f"{base}/image.jpg",
                    reference_id=f"{reference_id}-i{n}",
                    metadata={"camera_params": camera, "number": n},
                ),
            )
            for n in range(frames)
        ],
        metadata={"vehicle": "v1"},
    )


def life_of_a_scene(client: nucleus.NucleusClient, arguments: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    dataset = client.create_dataset("drives", is_scene=True)
    sent = [scene_of(arguments, "s1", 3), scene_of(arguments, "s2", 2)]
    job = dataset.append(sent, asynchronous=True)
    job.sleep_until_complete(verbose_std_out=False)
    said["status"], said["errors"] = job.status(), job.errors()
    read = dataset.get_scene("s1")
    said["equal"] = read == sent[0]
    said["payload_equal"] = read.to_payload() == sent[0].to_payload()
    said["of_item"] = dataset.get_scene_from_item_ref_id("s2-i1").reference_id
    said["scenes"] = [(entry.reference_id, entry.type, entry.metadata) for entry in dataset.scenes]
    said["queried"] = sorted(scene.reference_id for scene in dataset.query_scenes(""))
    said["item"] = dataset.refloc("s1-i2")["item"].metadata["number"]
    found = client.get_dataset(dataset.id)
    said["found"] = [found.name, found.is_scene, found.use_privacy_mode, found.size]
    said["info"] = [found.info().length, found.info().name]
    said["datasets"] = [entry.name for entry in client.datasets]
    again = found.append([scene_of(arguments, "s1", 3)])
    again.sleep_until_complete(verbose_std_out=False)
    said["again"] = again.status()["message"]["scene_upload_progress"]
    changed = scene_of(arguments, "s1", 3)
    changed.metadata = {"driver": "d"}
    update = found.append([changed], update=True)
    update.sleep_until_complete(verbose_std_out=False)
    said["update"] = update.status()["message"]["scene_upload_progress"]
    said["updated"] = found.get_scene("s1").metadata
    said["merged"] = found.update_scene_metadata({"s2": {"city": "B"}}, asynchronous=False) is not None
    said["jobs"] = [entry.job_id for entry in dataset.jobs(show_completed=True)] == [
        entry.job_id for entry in (update, again, job)
    ]
    same = nucleus.async_job.AsyncJob.from_id(job.job_id, client)
    said["same_job"] = [same.job_type, same.job_creation_time == job.job_creation_time]
    dataset.delete_scene("s1")
    said["left"] = [entry.reference_id for entry in dataset.scenes]
    try:
        dataset.get_scene("s1")
    except nucleus.errors.NucleusAPIError as error:
        said["missing"] = error.status_code
    client.delete_dataset(dataset.id)
    said["datasets_left"] = list(client.datasets)
    return said


def failing_scene(client: nucleus.NucleusClient, arguments: dict[str, Any]) -> dict[str, Any]:
    dataset = client.create_dataset("drives", is_scene=True)
    job = dataset.append([scene_of({**arguments, "base": arguments["base"] + "/none"}, "s1", 1)])
    try:
        job.sleep_until_complete(verbose_std_out=False)
    except nucleus.async_job.JobError as error:
        return {"raised": str(error), "errors": job.errors(), "scenes": len(dataset.scenes)}
    return {}


def wrong_key(client: nucleus.NucleusClient, _: dict[str, Any]) -> dict[str, Any]:
    try:
        client.create_dataset("drives", is_scene=True)
    except nucleus.errors.NucleusAPIError as error:
        return {"status": error.status_code}
    return {}


def dataset_of_images(client: nucleus.NucleusClient, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        client.create_dataset("images", is_scene=False).append([scene_of(arguments, "s1", 1)])
    except ValueError as error:
        return {"raised": type(error).__name__}
    return {}


def create(client: nucleus.NucleusClient, _: dict[str, Any]) -> dict[str, Any]:
    return {"dataset_id": client.create_dataset("drives", is_scene=True).id}


if __name__ == "__main__":
    request = json.load(sys.stdin)
    credential = {request.get("credential", "api_key"): request["key"]}
    api = nucleus.NucleusClient(**credential, endpoint=request["endpoint"])
    steps = {step.__name__: step for step in (life_of_a_scene, failing_scene, wrong_key, dataset_of_images, create)}
    print(json.dumps(steps[sys.argv[1]](api, request)))  # noqa: T201 - it is read by the test
