# SPDX-License-Identifier: Apache-2.0
"""Run in an environment that has Scale's packages: annotates a ``.sfs`` scene as their own classes write cuboids.

``annotate SCENE.sfs BOXES.json OUT.sfs``: the boxes are 4 x 4 matrices (rotation times size, centre) for each stamp;
what has a ``type`` is an annotation already, and its numbers of points become an array.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import scale_json_binary
from scale_sensor_fusion_io.models.paths import CuboidPath

COLUMNS = ["dx", "dy", "dz", "x", "y", "z", "roll", "pitch", "yaw"]


def main(scene: str, boxes: str, out: str) -> None:
    tree = scale_json_binary.read_file(scene)
    given = json.loads(Path(boxes).read_text())
    others = [row for row in given if "type" in row]
    for row in others:
        for share in row.get("labeled_points", ()):
            share["point_ids"] = np.array(share["point_ids"], np.uint32)
    tree["annotations"] = others + [
        {
            "id": box["id"],
            "type": "cuboid",
            "label": box["label"],
            "stationary": False,
            "path": {
                "timestamps": box["timestamps"],
                "values": CuboidPath.from_matrix(np.array(box["matrices"])).loc[:, COLUMNS].values.tolist(),
            },
            "attributes": [{"name": "occluded", "timestamps": box["timestamps"][:1], "values": ["no"]}],
        }
        for box in given
        if "type" not in box
    ]
    if "--bare" in sys.argv:
        tree["metadata"] = {}
    scale_json_binary.write_file(out, tree)


if __name__ == "__main__":
    main(*sys.argv[2:5])
