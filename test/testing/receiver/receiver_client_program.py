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
from nucleus import (
    BoxAnnotation,
    CuboidAnnotation,
    CuboidPrediction,
    DatasetItem,
    Frame,
    LidarScene,
    Point3D,
    Segment,
    SegmentationAnnotation,
)

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


def life_of_labels(client: nucleus.NucleusClient, arguments: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    dataset = client.create_dataset("drives", is_scene=True)
    dataset.append([scene_of(arguments, "s1", 3)]).sleep_until_complete(verbose_std_out=False)

    def cuboid(kind: type, number: int, **more: Any) -> Any:
        return kind(
            label="car",
            position=Point3D(20.0 + number, 3.0, 0.8),
            dimensions=Point3D(1.9, 4.5, 1.6),
            yaw=-1.5,
            reference_id=f"s1-p{number}",
            annotation_id=f"a{number}",
            metadata={"occlusion": "none"},
            track_reference_id="t1",
            **more,
        )

    cuboids = [cuboid(CuboidAnnotation, number) for number in range(3)]
    box = BoxAnnotation("car", 1, 2, 3, 4, "s1-i0", annotation_id="b0", metadata={})
    mask = SegmentationAnnotation(f"{arguments['base']}/image.png", [Segment("road", 1)], "s1-i1", "m1")
    said["sent"] = dataset.annotate([*cuboids, box, mask])
    job = dataset.annotate([*cuboids, box], asynchronous=True)
    job.sleep_until_complete(verbose_std_out=False)
    said["again"] = job.status()["message"]["annotation_upload"]
    rows = list(dataset.items_and_annotation_generator(page_size=2))
    found = {row["item"].reference_id: row["annotations"] for row in rows}
    said["items"] = sorted(found)
    said["equal"] = [found[cuboid.reference_id]["cuboid"] == [cuboid] for cuboid in cuboids]
    said["box"] = found["s1-i0"]["box"] == [box]
    said["mask"] = found["s1-i1"]["segmentation"] == mask
    said["of_item"] = dataset.refloc("s1-p1")["annotations"]["cuboid"] == [cuboids[1]]
    said["tracks"] = [track.reference_id for track in dataset.tracks]
    said["objects"] = len(list(dataset.query_objects("", nucleus.dataset.ObjectQueryType.GROUND_TRUTH_ONLY)))
    model = client.create_model("net", "net-1", metadata={"epochs": 5})
    predictions = [cuboid(CuboidPrediction, number, confidence=0.25 * number) for number in range(3)]
    said["predicted"] = dataset.upload_predictions(model, predictions)["predictions_processed"]
    job = dataset.upload_predictions(model, predictions, asynchronous=True)
    job.sleep_until_complete(verbose_std_out=False)
    said["ignored"] = job.status()["message"]["prediction_upload"]["ignored"]
    said["export"] = dataset.export_predictions(model)["cuboid"] == predictions
    said["by_item"] = dataset.predictions_refloc(model, "s1-p2")["cuboid"] == [predictions[2]]
    said["one"] = dataset.prediction_loc(model, "s1-p2", "a2").confidence
    said["models"] = [(entry.name, entry.reference_id, entry.metadata) for entry in client.models]
    dataset.delete_annotations(["s1-p0"]).sleep_until_complete(verbose_std_out=False)
    said["left"] = sum(len(row["annotations"]["cuboid"]) for row in dataset.items_and_annotations())
    said["deleted"] = client.delete_model(model.id)
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
    steps = {
        step.__name__: step
        for step in (life_of_a_scene, life_of_labels, failing_scene, wrong_key, dataset_of_images, create)
    }
    print(json.dumps(steps[sys.argv[1]](api, request)))  # noqa: T201 - it is read by the test
