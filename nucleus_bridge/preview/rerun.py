# SPDX-License-Identifier: Apache-2.0
"""A scene as a recording for the Rerun viewer; needs the extra ``rerun``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from nucleus_bridge.errors import InputError, OutputError, SceneError
from nucleus_bridge.formats.content import SceneImage
from nucleus_bridge.formats.interface import SceneReader
from nucleus_bridge.image_header import read_file_header


def write_rerun(scene: SceneReader, path: Path, progress: Callable[[float], None]) -> None:
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
            "--rerun needs rerun-sdk, which is not installed: pip install 'nucleus-bridge[rerun]'"
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
        frame = scene.frame(index)
        recording.set_time("frame", sequence=index)
        recording.set_time("stamp", timestamp=np.datetime64(frame.timestamp_ns, "ns"))
        intensity = np.zeros(len(frame.points)) if frame.points.intensity is None else frame.points.intensity
        gray = np.rint(np.clip(intensity, 0, 1) * 255).astype(np.uint8)
        colours = np.stack([gray] * 3, axis=1)
        recording.log(f"world/{scene.lidar}", rerun.Points3D(frame.points.xyz, colors=colours, radii=0.03))
        recording.log(
            "world/device",
            rerun.Transform3D(translation=frame.position, quaternion=rerun.Quaternion(xyzw=frame.heading_xyzw)),
        )
        track.append(frame.position)
        recording.log("world/trajectory", rerun.LineStrips3D([np.array(track)]))
        for image in frame.images:
            _log_image(rerun, recording, image, scene.image(image))
        progress((index + 1) / len(scene))
    recording.flush()


def _log_image(rerun: Any, recording: Any, image: SceneImage, content: bytes) -> None:  # noqa: ANN401 - an extra
    header = read_file_header(content)
    if header is None:
        raise SceneError(f"{image.path}: is not an image file")
    model = image.model
    scale = model.scale_factor
    recording.log(
        f"world/{image.camera}",
        rerun.Transform3D(translation=image.position, quaternion=rerun.Quaternion(xyzw=image.heading_xyzw)),
        rerun.Pinhole(
            focal_length=[model.fx / scale, model.fy / scale],
            principal_point=[model.cx / scale, model.cy / scale],
            camera_xyz=rerun.ViewCoordinates.RDF,
        ),
        rerun.EncodedImage(contents=content, media_type=f"image/{header.kind}"),
    )
