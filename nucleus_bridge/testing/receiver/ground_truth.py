# SPDX-License-Identifier: Apache-2.0
"""True boxes as labels in the service's conventions, and how a receiver gets those of a demo drive.

A box of ours has REP 103 axes: x along its length, heading 0 along +x, counter-clockwise. A cuboid of the service's has
the same centre, ``dimensions`` x = width, y = length, z = height, and yaw 0 along +y; lidar annotation tasks and the
metrics of Nucleus's client agree on that. Positions are those of the clouds, so without the scene's ``world_offset``.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import requests

from nucleus_bridge.errors import InputError
from nucleus_bridge.spool.manifest import MANIFEST_NAME, SCENE_NAME

_TIMEOUT_S = 120.0
_BATCH = 5000


@dataclass(frozen=True)
class TrueBox:
    """A box as the world knows it.

    Attributes:
        track: The same for one object in every frame.
        label: Its class.
        center: x, y, z in metres.
        size: Length, width, height in metres.
        heading: Of its length about z, in radians, 0 along +x.
        attributes: What annotators would say of it.
    """

    track: str
    label: str
    center: tuple[float, float, float]
    size: tuple[float, float, float]
    heading: float
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def moved(self, x: float, y: float, z: float) -> TrueBox:
        """Return the box elsewhere."""
        return replace(self, center=(self.center[0] + x, self.center[1] + y, self.center[2] + z))


def scale_geometry(box: TrueBox) -> dict[str, Any]:
    """Return position, dimensions and yaw of a box in the service's conventions; yaw is within -pi and pi."""
    length, width, height = box.size
    yaw = math.remainder(box.heading - math.pi / 2, math.tau)
    return {
        "position": dict(zip("xyz", box.center, strict=True)),
        "dimensions": {"x": width, "y": length, "z": height},
        "yaw": yaw,
    }


def nucleus_cuboid(box: TrueBox, item: str, annotation_id: str = "") -> dict[str, Any]:
    """Return the payload of a Nucleus cuboid annotation on the point cloud ``item``."""
    cuboid = {
        "label": box.label,
        "type": "cuboid",
        "geometry": scale_geometry(box),
        "reference_id": item,
        "annotation_id": annotation_id or f"{box.track}-{item}",
        "track_reference_id": box.track,
    }
    return {**cuboid, "metadata": dict(box.attributes)} if box.attributes else cuboid


def lidar_annotations(frames: Sequence[Sequence[TrueBox]]) -> list[dict[str, Any]]:
    """Return what a finished lidar annotation task answers, one entry a frame, for `Receiver.finish_task`."""
    tracks: dict[str, set[tuple[float, ...]]] = {}
    for boxes in frames:
        for box in boxes:
            tracks.setdefault(box.track, set()).add((*box.center, box.heading))
    return [
        {
            "cuboids": [
                {
                    "uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, box.track)),
                    "camera_used": -1,
                    "label": box.label,
                    **scale_geometry(box),
                    "stationary": len(tracks[box.track]) == 1,
                    "attributes": dict(box.attributes),
                }
                for box in boxes
            ]
        }
        for boxes in frames
    ]


def boxes_of_drive(truth: Mapping[str, Any], range_m: float = 60.0) -> list[TrueBox]:
    """Return the boxes of a demo drive, from its ``.truth.json``, that the device comes within ``range_m`` of."""
    places = [
        sweep["map_from_base_link"]["translation"] for lidar in truth["lidars"].values() for sweep in lidar["sweeps"]
    ]
    return [
        TrueBox(
            track=f"{box['kind']}-{number}",
            label=box["kind"],
            center=(box["x"], box["y"], truth["ground"]["z"] + box["height"] / 2),
            size=(box["length"], box["width"], box["height"]),
            heading=box["yaw"],
        )
        for number, box in enumerate(truth["boxes"])
        if min(math.hypot(box["x"] - place[0], box["y"] - place[1]) for place in places) <= range_m
    ]


def _scenes(spool: Path) -> Iterator[tuple[str, Mapping[str, Any], Path]]:
    for path in sorted(spool.glob(f"scenes/*/{MANIFEST_NAME}")):
        manifest = json.loads(path.read_bytes())
        yield path.parent.name, manifest, path.parent


def _in_cloud(boxes: Sequence[TrueBox], manifest: Mapping[str, Any]) -> list[TrueBox]:
    offset = manifest["world_offset"]
    return [box.moved(-offset["x"], -offset["y"], -offset["z"]) for box in boxes]


def annotate_spool(endpoint: str, key: str, dataset: str, spool: Path, boxes: Sequence[TrueBox]) -> int:
    """Send boxes as annotations of every cloud of a spool's scenes, as the service's client would.

    Args:
        endpoint: Of Nucleus, such as a receiver's ``url``.
        key: Its API key.
        dataset: Id or name of the dataset that holds the scenes.
        spool: The spool that they are in.
        boxes: In the recording's world frame; the same in every frame.

    Returns:
        How many annotations the dataset holds of them.

    Raises:
        InputError: There is no such dataset, or an annotation is refused.
    """
    with requests.Session() as session:
        session.auth = (key, "")
        details = session.get(f"{endpoint}/dataset/details", timeout=_TIMEOUT_S).json()
        ids = [entry["id"] for entry in details if dataset in (entry["id"], entry["name"])]
        if len(ids) != 1:
            raise InputError(f"{len(ids)} datasets are named {dataset!r}")
        held = 0
        for _, manifest, folder in _scenes(spool):
            frames = json.loads((folder / SCENE_NAME).read_bytes())["frames"]
            items = [item for frame in frames for item in frame.values() if item["type"] == "pointcloud"]
            here = _in_cloud(boxes, manifest)
            cuboids = [nucleus_cuboid(box, item["reference_id"]) for item in items for box in here]
            for start in range(0, len(cuboids), _BATCH):
                document = {"update": False, "annotations": cuboids[start : start + _BATCH]}
                answer = session.post(f"{endpoint}/dataset/{ids[0]}/annotate", json=document, timeout=_TIMEOUT_S)
                answer.raise_for_status()
                taken = answer.json()
                if taken.get("errors"):
                    raise InputError(
                        f"{len(taken['errors'])} annotations were refused, the first: {taken['errors'][0]}"
                    )
                held += taken["annotations_processed"] + taken["annotations_ignored"]
    return held


def finish_tasks(directory: Path, spool: Path, boxes: Sequence[TrueBox]) -> int:
    """Complete the tasks of a spool's scenes, kept in a receiver's folder, with boxes; return how many those were."""
    tasks = [json.loads(path.read_bytes()) for path in sorted(directory.glob("tasks/*.json"))]
    finished = 0
    for name, manifest, _ in _scenes(spool):
        frames = lidar_annotations([_in_cloud(boxes, manifest)] * manifest["frames"])
        for task in tasks:
            if task["unique_id"] == name:
                folder = directory / "responses" / task["task_id"]
                folder.mkdir(parents=True, exist_ok=True)
                (folder / ".annotations.json").write_text(json.dumps(frames))
                (folder / ".annotations.json").replace(folder / "annotations.json")
                finished += 1
    return finished
