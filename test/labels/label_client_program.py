# SPDX-License-Identifier: Apache-2.0
"""Run by the tests in an environment that has the real client: does what the first argument says, prints JSON."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import nucleus
import nucleus.async_job
import numpy as np
from nucleus import BoxAnnotation, CuboidAnnotation, Point3D
from nucleus.metrics.cuboid_utils import get_batch_cuboid_corners, process_dataitem

warnings.simplefilter("ignore")
nucleus.async_job.JOB_POLLING_INTERVAL = 0.05


def predictions(client: nucleus.NucleusClient, request: dict[str, Any]) -> Any:
    """Read back the predictions of a model, with the corners that the client's own metrics give them."""
    dataset = client.get_dataset(next(entry.id for entry in client.datasets if entry.name == request["dataset"]))
    model = next(entry for entry in client.models if entry.name == request["model"])
    found = dataset.export_predictions(model)["cuboid"]
    items = process_dataitem(found)
    corners = get_batch_cuboid_corners(items["xyz"], items["wlh"], items["yaw"]) if found else np.zeros((0, 8, 3))
    return [
        {
            "item": one.reference_id,
            "id": one.annotation_id,
            "label": one.label,
            "track": one.track_reference_id,
            "confidence": one.confidence,
            "metadata": one.metadata,
            "corners": box.tolist(),
        }
        for one, box in zip(found, corners, strict=True)
    ]


def annotate(client: nucleus.NucleusClient, request: dict[str, Any]) -> Any:
    """Upload cuboids whose sizes and yaws are given in the convention of the client's metrics."""
    dataset = client.get_dataset(next(entry.id for entry in client.datasets if entry.name == request["dataset"]))
    cuboids = [
        CuboidAnnotation(
            label=row["label"],
            position=Point3D(*row["position"]),
            dimensions=Point3D(*row["wlh"]),
            yaw=row["yaw"],
            reference_id=row["item"],
            annotation_id=row["id"],
            track_reference_id=row["track"],
            metadata={"occlusion": "none"},
        )
        for row in request["rows"]
    ]
    job = dataset.annotate(cuboids, asynchronous=True)
    job.sleep_until_complete(verbose_std_out=False)
    items = process_dataitem(cuboids)
    corners = get_batch_cuboid_corners(items["xyz"], items["wlh"], items["yaw"])
    return {"status": job.status()["status"], "corners": corners.tolist()}


def annotations(client: nucleus.NucleusClient, request: dict[str, Any]) -> Any:
    """Read back the cuboids of a dataset, with the corners that the client's own metrics give them."""
    dataset = client.get_dataset(next(entry.id for entry in client.datasets if entry.name == request["dataset"]))
    found = [one for row in dataset.items_and_annotation_generator() for one in row["annotations"]["cuboid"]]
    items = process_dataitem(found)
    corners = get_batch_cuboid_corners(items["xyz"], items["wlh"], items["yaw"]) if found else np.zeros((0, 8, 3))
    return [
        {"item": one.reference_id, "label": one.label, "track": one.track_reference_id, "metadata": one.metadata}
        | {"id": one.annotation_id, "corners": box.tolist()}
        for one, box in zip(found, corners, strict=True)
    ]


def draw(client: nucleus.NucleusClient, request: dict[str, Any]) -> Any:
    """Draw boxes on images."""
    dataset = client.get_dataset(next(entry.id for entry in client.datasets if entry.name == request["dataset"]))
    boxes = [
        BoxAnnotation(
            row["label"],
            *row["box"],
            row["item"],
            annotation_id=row["id"],
            metadata={},
            track_reference_id=row["track"],
        )
        for row in request["rows"]
    ]
    return {"processed": dataset.annotate(boxes)["annotations_processed"]}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    api = nucleus.NucleusClient(api_key=asked["key"], endpoint=asked["endpoint"])
    steps = {step.__name__: step for step in (predictions, annotate, annotations, draw)}
    print(json.dumps(steps[sys.argv[1]](api, asked)))  # noqa: T201
