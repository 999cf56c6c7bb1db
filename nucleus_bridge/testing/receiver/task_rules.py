# SPDX-License-Identifier: Apache-2.0
"""The rules that the request of an annotation task must obey, by its type, and what a finished one answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

from nucleus_bridge.errors import InputError, SceneError
from nucleus_bridge.testing.receiver.content import check_cloud, check_image
from nucleus_bridge.testing.receiver.resolve import ItemReader
from nucleus_bridge.testing.receiver.scene_rules import CAMERA_MODELS, SceneRules, check_camera, check_url, check_vector
from nucleus_bridge.testing.receiver.strict_json import is_number, is_text, parse_json

MAX_ATTACHMENTS = 1000
MAX_TAGS = 5
TaskType = Literal["lidarannotation", "lidarsegmentation", "lidarlinking", "lidartopdown", "sensorfusion", "multistage"]
TASK_TYPES: tuple[TaskType, ...] = get_args(TaskType)
ResponseName = Literal["annotations", "point_segmentations"]
RESPONSE_NAMES: tuple[ResponseName, ...] = get_args(ResponseName)
"""What a finished task answers by URL, each a key of its response."""
_FRAME_CAMERA_MODELS = CAMERA_MODELS | {"omnidirectional"}
_SFS_HEADER_BYTES = 64 << 20


class TaskRules:
    """Checks requests; what their attachments point to is read."""

    def __init__(self, reader: ItemReader, rules: SceneRules) -> None:
        self._reader = reader
        self._rules = rules

    def check(self, kind: TaskType, params: Mapping[str, Any], is_finished: Callable[[str], bool]) -> None:
        """Check the request of a task.

        Args:
            kind: Its type.
            params: The request.
            is_finished: Says whether a task, which labels of points can start from, is completed.

        Raises:
            SceneError: Something is missing or cannot be used.
        """
        if not isinstance(params.get("metadata", {}), dict):
            raise SceneError("metadata must be an object")
        tags = params.get("tags", [])
        if not isinstance(tags, list) or len(tags) > MAX_TAGS or not all(map(is_text, tags)):
            raise SceneError(f"tags must be an array of at most {MAX_TAGS} non-empty strings")
        for key in ("project", "batch", "callback_url", "instruction"):
            if params.get(key) is not None and not is_text(params[key]):
                raise SceneError(f"{key} must be a non-empty string")
        if kind in ("sensorfusion", "multistage"):
            self._check_scene(kind, params)
            return
        if kind == "lidarsegmentation" and "lidar_task" in params:
            if not is_text(params["lidar_task"]) or not is_finished(params["lidar_task"]):
                raise SceneError("lidar_task must be the id of a completed task")
            return
        attachments = _attachments(params)
        if not isinstance(params.get("labels"), list) or not params["labels"]:
            raise SceneError("labels must be an array with something in it")
        attachment_type = params.get("attachment_type", "json")
        if attachment_type not in ("json", "protobuf"):
            raise SceneError(f"attachment_type must be 'json' or 'protobuf', not {attachment_type!r}")
        self._check_frames(attachments, parsed=attachment_type == "json")

    def _check_scene(self, kind: TaskType, params: Mapping[str, Any]) -> None:
        formats = ("sensor_fusion",) if kind == "sensorfusion" else ("sensor_fusion", "split_base64")
        if params.get("scene_format") not in formats:
            raise SceneError(f"scene_format must be {' or '.join(formats)}, not {params.get('scene_format')!r}")
        if kind == "sensorfusion":
            missing = [key for key in ("project", "instruction", "callback_url") if not is_text(params.get(key))]
            if missing:
                raise SceneError(f"{', '.join(missing)}: a sensorfusion task needs it")
            if not isinstance(params.get("is_frameless"), bool):
                raise SceneError("is_frameless must be true or false")
            if not isinstance(params.get("annotation_definition"), list) or not params["annotation_definition"]:
                raise SceneError("annotation_definition must be an array with something in it")
        elif not params.get("project") and not params.get("batch"):
            raise SceneError("a multistage task needs a project, or a batch of one")
        attachments = _attachments(params)
        if params["scene_format"] == "split_base64":
            self._check_frames(attachments, parsed=True)
            return
        if len(attachments) != 1:
            raise SceneError(f"attachments must be one .sfs URL, not {len(attachments)}")
        check_url("attachment 0", attachments[0], self._rules)
        check_sfs("attachment 0", self._reader.read(attachments[0]))

    def _check_frames(self, attachments: Sequence[Any], *, parsed: bool) -> None:
        for number, url in enumerate(attachments):
            place = f"attachment {number}"
            check_url(place, url, self._rules)
            content = self._reader.read(url)
            if not content:
                raise SceneError(f"{place} is empty")
            if parsed:
                self._check_frame(place, content)

    def _check_frame(self, place: str, content: bytes) -> None:
        try:
            frame = check_cloud(content, strict=self._rules.strict)
        except SceneError as error:
            raise SceneError(f"{place}: {error}") from None
        images = frame.get("images", [])
        if not isinstance(images, list):
            raise SceneError(f"{place}: images must be an array")
        for index, image in enumerate(images):
            where = f"{place}, image {index}"
            check_camera(where, image, _FRAME_CAMERA_MODELS, strict=self._rules.strict)
            check_url(where, image.get("image_url"), self._rules)
            try:
                check_image(self._reader.chunks(image["image_url"]))
            except SceneError as error:
                raise SceneError(f"{where}: {error}") from None


def check_sfs(place: str, content: bytes) -> None:
    """Check that a file is a sensor-fusion scene, as far as the header of its container tells.

    Raises:
        SceneError: It is not.
    """
    header = content[:_SFS_HEADER_BYTES].partition(b"\0")[0]
    try:
        scene = parse_json(header)
    except ValueError:
        scene = None
    if not isinstance(scene, dict) or "version" not in scene or not isinstance(scene.get("sensors"), list):
        raise SceneError(f"{place} is not a sensor-fusion scene (.sfs)")


def response_content(name: ResponseName, content: object, frames: int) -> tuple[str, bytes]:
    """Return the file suffix and the bytes of what a finished task is to answer.

    Args:
        name: Which part of the response.
        content: The file's bytes, or what is to be written as JSON.
        frames: How many frames the task has.

    Raises:
        InputError: It is not what such a task answers.
    """
    data = content if isinstance(content, bytes) else json.dumps(content, allow_nan=False).encode("ascii")
    try:
        if data.startswith(b"{") and b"\0" in data:
            check_sfs(name, data)
            return ".sfs", data
        document = parse_json(data)
        if name == "point_segmentations":
            _check_segmentation(document, frames)
        elif isinstance(document, list):
            _check_cuboids(document, frames)
    except (SceneError, ValueError) as error:
        raise InputError(f"{name}: {error}") from None
    return ".json", data


def _attachments(params: Mapping[str, Any]) -> list[Any]:
    attachments = params.get("attachments")
    if not isinstance(attachments, list) or not 0 < len(attachments) <= MAX_ATTACHMENTS:
        raise SceneError(f"attachments must be an array of 1 to {MAX_ATTACHMENTS} URLs")
    return attachments


def _check_cuboids(document: list[Any], frames: int) -> None:
    if len(document) != frames:
        raise SceneError(f"there must be one entry a frame, {frames}, not {len(document)}")
    for number, frame in enumerate(document):
        if not isinstance(frame, dict):
            raise SceneError(f"frame {number} must be an object")
        for cuboid in frame.get("cuboids", []):
            place = f"frame {number}: a cuboid's"
            if not isinstance(cuboid, dict) or not is_text(cuboid.get("uuid")) or not is_text(cuboid.get("label")):
                raise SceneError(f"{place} uuid and label must be non-empty strings")
            check_vector(f"{place} position", cuboid.get("position"))
            check_vector(f"{place} dimensions", cuboid.get("dimensions"))
            if not is_number(cuboid.get("yaw")):
                raise SceneError(f"{place} yaw must be a number, in radians")


def _check_segmentation(document: object, frames: int) -> None:
    points = document.get("point_objects") if isinstance(document, dict) else None
    if not isinstance(points, list) or len(points) != frames:
        raise SceneError(f"point_objects must be an array of {frames} arrays, one a frame")
