# SPDX-License-Identifier: Apache-2.0
"""A scene as a recording for the Rerun viewer; needs the extra ``rerun``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from nucleus_bridge.errors import InputError, OutputError
from nucleus_bridge.preview.scene import Picture, SceneFolder


def write_rerun(scene: SceneFolder, path: Path, progress: Callable[[float], None]) -> None:
    """Write clouds, trajectory, camera poses and images as an ``.rrd`` file.

    The viewer's pinhole camera knows no distortion; pictures are shown as they are.

    Raises:
        InputError: rerun-sdk is not installed.
        OutputError: The file cannot be written.
        SceneError: A file of the scene is missing or damaged.
    """
    try:
        rerun: Any = import_module("rerun")
    except ImportError:
        raise InputError(
            "--rerun needs rerun-sdk, which is not installed: pip install 'nucleus_bridge[rerun]'"
        ) from None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from None
    recording = rerun.RecordingStream("nucleus_bridge", recording_id=scene.manifest.reference_id)
    recording.save(str(path))
    recording.log("world", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    track = []
    for index in range(len(scene)):
        cloud = scene.cloud(index)
        recording.set_time("frame", sequence=index)
        recording.set_time("stamp", timestamp=np.datetime64(cloud.stamp_ns, "ns"))
        gray = np.rint(np.clip(cloud.intensity, 0, 1) * 255).astype(np.uint8)
        colours = np.stack([gray] * 3, axis=1)
        recording.log(f"world/{scene.lidar}", rerun.Points3D(cloud.xyz, colors=colours, radii=0.03))
        recording.log(
            "world/device",
            rerun.Transform3D(translation=cloud.position, quaternion=rerun.Quaternion(xyzw=cloud.heading_xyzw)),
        )
        track.append(cloud.position)
        recording.log("world/trajectory", rerun.LineStrips3D([np.array(track)]))
        for camera, picture in scene.pictures(index):
            _log_picture(rerun, recording, camera, picture)
        progress((index + 1) / len(scene))
    recording.flush()


def _log_picture(rerun: Any, recording: Any, camera: str, picture: Picture) -> None:  # noqa: ANN401 - an extra
    params = picture.params
    scale = float(params.get("scale_factor", 1.0))
    position, heading = params["position"], params["heading"]
    recording.log(
        f"world/{camera}",
        rerun.Transform3D(
            translation=[position[axis] for axis in "xyz"],
            quaternion=rerun.Quaternion(xyzw=[heading[axis] for axis in "xyzw"]),
        ),
        rerun.Pinhole(
            focal_length=[params["fx"] / scale, params["fy"] / scale],
            principal_point=[params["cx"] / scale, params["cy"] / scale],
            camera_xyz=rerun.ViewCoordinates.RDF,
        ),
        rerun.EncodedImage(path=picture.path),
    )
