# SPDX-License-Identifier: Apache-2.0
"""Run in an environment that has ``scale-lidar-io``: what that package makes of a scene, and reads from our messages.

``read FILE...`` prints each LidarFrame as a line of JSON, read with the package's own compiled descriptor.
``write FOLDER`` has the package's own writer write the frames that ``FOLDER/drive.json`` describes.
"""

from __future__ import annotations

import json
import runpy
import sys
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def read(paths: list[str]) -> None:
    """Print messages; numbers are as the descriptor's types give them."""
    # The descriptor's module alone: the package around it opens windows and needs a desktop's libraries.
    folder = next(iter(find_spec("scale_lidar_io").submodule_search_locations))
    frame_type = runpy.run_path(str(Path(folder, "lidar_frame_1_pb2.py")))["LidarFrame"]
    for path in paths:
        data = Path(path).read_bytes()
        frame = frame_type.FromString(data)
        frame.DiscardUnknownFields()
        unknown = len(data) - frame.ByteSize()
        line = {"message": plain(frame), "initialized": frame.IsInitialized(), "unknown_bytes": unknown}
        sys.stdout.write(json.dumps(line) + "\n")


def plain(message: Any) -> dict[str, Any]:
    """Return a message's fields by name."""
    fields = {}
    for field, value in message.ListFields():
        if field.message_type is None:
            fields[field.name] = value
        elif field.label == field.LABEL_REPEATED:
            fields[field.name] = [plain(entry) for entry in value]
        else:
            fields[field.name] = plain(value)
    return fields


def write(folder: Path) -> None:
    """Write ``frame-<n>.json`` for each frame of the drive."""
    for viewer in ("open3d", "laspy", "laspy.file"):  # viewers and readers of other files, which writing never asks
        sys.modules[viewer] = types.ModuleType(viewer)
    sys.modules["laspy.file"].File = None
    import numpy as np
    from pyquaternion import Quaternion
    from scale_lidar_io import LidarScene, Transform

    def transform(pose: dict[str, list[float]]) -> Transform:
        x, y, z, w = pose["rotation_xyzw"]
        return Transform.from_Rt(R=Quaternion(w, x, y, z), t=pose["translation"])

    drive = json.loads((folder / "drive.json").read_text())
    scene = LidarScene()
    for number, camera in enumerate(drive["cameras"]):
        k, d = np.array(camera["k"]).reshape(3, 3), [*camera["d"], 0.0, 0.0, 0.0]
        scene.get_camera(number).calibrate(pose=transform(camera["base_from_camera"]), K=k, D=d)
    for number, frame in enumerate(drive["frames"]):
        made = scene.get_frame(number)
        made.points = np.zeros((0, 6))  # the package's own start has a column too few for what it then adds
        points = np.load(folder / frame["points"])
        points[:, :3] = transform(drive["base_from_lidar"]) @ points[:, :3]
        made.add_points(points)
        made.apply_transform(transform(frame["map_from_base"]))
        for camera in range(len(drive["cameras"])):
            made.get_image(camera)
        (folder / f"frame-{number}.json").write_text(made.to_json(base_url="x"))


if __name__ == "__main__":
    if sys.argv[1] == "read":
        read(sys.argv[2:])
    else:
        write(Path(sys.argv[2]))
