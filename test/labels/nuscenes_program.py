# SPDX-License-Identifier: Apache-2.0
"""Run by the tests in an environment that has nuscenes-devkit: loads a data set, says what the devkit makes of it."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import BoxVisibility, points_in_box, view_points
from PIL import Image
from pyquaternion import Quaternion


def to_global(data: Any, record: dict[str, Any], points: np.ndarray) -> np.ndarray:
    """Move points, shape (3, n), from the sensor to the global frame by the devkit's tables."""
    for table, token in (
        ("calibrated_sensor", record["calibrated_sensor_token"]),
        ("ego_pose", record["ego_pose_token"]),
    ):
        pose = data.get(table, token)
        points = Quaternion(pose["rotation"]).rotation_matrix @ points + np.array(pose["translation"])[:, None]
    return points


def look(root: str) -> dict[str, Any]:
    data = NuScenes(dataroot=root, verbose=False)
    boxes, clouds, pictures = [], [], []
    for sample in data.sample:
        lidar = data.get("sample_data", sample["data"]["LIDAR_TOP"])
        path, seen, _ = data.get_sample_data(lidar["token"])
        cloud = LidarPointCloud.from_file(path)
        clouds.append(
            {"timestamp": sample["timestamp"], "points": to_global(data, lidar, cloud.points[:3])[:, ::20].T.tolist()}
        )
        annotations = [data.get("sample_annotation", token) for token in sample["anns"]]
        for annotation, box in zip(annotations, seen, strict=True):
            larger = box.copy()
            larger.wlh = larger.wlh + 0.1
            world = data.get_box(annotation["token"])
            boxes.append(
                {
                    "timestamp": sample["timestamp"],
                    "name": box.name,
                    "instance": annotation["instance_token"],
                    "center": world.center.tolist(),
                    "wlh": world.wlh.tolist(),
                    "front": world.orientation.rotate(np.array([1.0, 0.0, 0.0])).tolist(),
                    "counted": annotation["num_lidar_pts"],
                    "inside": int(points_in_box(larger, cloud.points[:3]).sum()),
                    "velocity": data.box_velocity(annotation["token"]).tolist(),
                }
            )
        for channel, token in sample["data"].items():
            if channel.startswith("CAM_"):
                path, visible, matrix = data.get_sample_data(token, box_vis_level=BoxVisibility.ANY)
                record = data.get("sample_data", token)
                with Image.open(path) as picture:
                    size = list(picture.size)
                pictures.append(
                    {
                        "channel": channel,
                        "path": path,
                        "timestamp": record["timestamp"],
                        "size": size,
                        "said": [record["width"], record["height"]],
                        "boxes": [
                            {
                                "name": box.name,
                                "corners": view_points(box.corners(), matrix, normalize=True)[:2].T.tolist(),
                                "depths": box.corners()[2].tolist(),
                            }
                            for box in visible
                        ],
                    }
                )
    instances = [[row["nbr_annotations"], len(data.field2token("sample_annotation", "instance_token", row["token"]))]
                 for row in data.instance]  # fmt: skip
    return {
        "scenes": [[row["name"], row["nbr_samples"]] for row in data.scene],
        "boxes": boxes,
        "clouds": clouds,
        "pictures": pictures,
        "instances": instances,
        "categories": sorted(row["name"] for row in data.category),
    }


if __name__ == "__main__":
    print(json.dumps(look(sys.argv[1])))  # noqa: T201 - for the test
