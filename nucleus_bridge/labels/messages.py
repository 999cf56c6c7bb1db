# SPDX-License-Identifier: Apache-2.0
"""Labels of one stamp as messages of vision_msgs, visualization_msgs and foxglove_msgs, by definitions of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nucleus_bridge.decode.detections import DETECTION3D, DETECTION3D_DEFINITION, MARKERS
from nucleus_bridge.decode.image import COMPRESSED_IMAGE
from nucleus_bridge.labels.label import Label, colour_of

SCENE_UPDATE = "foxglove_msgs/msg/SceneUpdate"
KINDS = (DETECTION3D, MARKERS, SCENE_UPDATE)
_RULE = "=" * 80 + "\n"
_POSED = "geometry_msgs/Pose pose\n"
_COLOURED = "foxglove_msgs/Color color\n"
_SCENE_PARTS = {
    "SceneEntityDeletion": "uint8 MATCHING_ID=0\nuint8 ALL=1\nbuiltin_interfaces/Time timestamp\nuint8 type\n"
    "string id\n",
    "SceneEntity": "builtin_interfaces/Time timestamp\nstring frame_id\nstring id\n"
    "builtin_interfaces/Duration lifetime\nbool frame_locked\nfoxglove_msgs/KeyValuePair[] metadata\n"
    "foxglove_msgs/ArrowPrimitive[] arrows\n"
    "foxglove_msgs/CubePrimitive[] cubes\nfoxglove_msgs/SpherePrimitive[] spheres\n"
    "foxglove_msgs/CylinderPrimitive[] cylinders\nfoxglove_msgs/LinePrimitive[] lines\n"
    "foxglove_msgs/TriangleListPrimitive[] triangles\nfoxglove_msgs/TextPrimitive[] texts\n"
    "foxglove_msgs/ModelPrimitive[] models\n",
    "KeyValuePair": "string key\nstring value\n",
    "Color": "float64 r\nfloat64 g\nfloat64 b\nfloat64 a\n",
    "ArrowPrimitive": f"{_POSED}float64 shaft_length\nfloat64 shaft_diameter\nfloat64 head_length\n"
    f"float64 head_diameter\n{_COLOURED}",
    "CubePrimitive": f"{_POSED}geometry_msgs/Vector3 size\n{_COLOURED}",
    "SpherePrimitive": f"{_POSED}geometry_msgs/Vector3 size\n{_COLOURED}",
    "CylinderPrimitive": f"{_POSED}geometry_msgs/Vector3 size\nfloat64 bottom_scale\nfloat64 top_scale\n{_COLOURED}",
    "LinePrimitive": "uint8 LINE_STRIP=0\nuint8 LINE_LOOP=1\nuint8 LINE_LIST=2\nuint8 type\n"
    f"{_POSED}float64 thickness\nbool scale_invariant\ngeometry_msgs/Point[] points\n{_COLOURED}"
    "foxglove_msgs/Color[] colors\nuint32[] indices\n",
    "TriangleListPrimitive": f"{_POSED}geometry_msgs/Point[] points\n{_COLOURED}foxglove_msgs/Color[] colors\n"
    "uint32[] indices\n",
    "TextPrimitive": f"{_POSED}bool billboard\nfloat64 font_size\nbool scale_invariant\n{_COLOURED}string text\n",
    "ModelPrimitive": f"{_POSED}geometry_msgs/Vector3 scale\n{_COLOURED}bool override_color\nstring url\n"
    "string media_type\nuint8[] data\n",
}
SCENE_UPDATE_DEFINITION = _RULE.join(
    (
        "foxglove_msgs/SceneEntityDeletion[] deletions\nfoxglove_msgs/SceneEntity[] entities\n",
        *(f"MSG: foxglove_msgs/{name}\n{text}" for name, text in _SCENE_PARTS.items()),
    )
)
DEFINITIONS = {DETECTION3D: DETECTION3D_DEFINITION, SCENE_UPDATE: SCENE_UPDATE_DEFINITION}
_CUBE, _DELETE_ALL, _ADD, _ALL = 1, 3, 0, 1
_ALPHA = 0.35
_TEXT_M = 0.4
_NOTHING = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Moment:
    """The labels of one stamp, none perhaps."""

    stamp_ns: int
    frame_id: str
    labels: Sequence[Label]


class Messages:
    """Makes ROS messages of labels."""

    def __init__(self, types: Any) -> None:  # noqa: ANN401 - a store of rosbags
        self._types = types.types
        self._numbers: dict[str, int] = {}

    def _new(self, name: str, **fields: Any) -> Any:  # noqa: ANN401 - a message
        return self._types[name](**fields)

    def all_of(self, moment: Moment) -> tuple[Any, ...]:
        """Return a message of each of ``KINDS``."""
        return self.detections(moment), self.markers(moment), self.scene_update(moment)

    def detections(self, moment: Moment) -> Any:  # noqa: ANN401
        """Return one ``Detection3DArray``."""
        header = self._header(moment)
        made = []
        for label in moment.labels:
            hypothesis = self._new("vision_msgs/msg/ObjectHypothesis", class_id=label.label, score=1.0)
            pose = self._pose(label)
            result = self._new(
                "vision_msgs/msg/ObjectHypothesisWithPose",
                hypothesis=hypothesis,
                pose=self._new("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.zeros(36)),
            )
            box = self._new("vision_msgs/msg/BoundingBox3D", center=pose, size=self._vector(label.size))
            made.append(
                self._new(
                    "vision_msgs/msg/Detection3D", header=header, results=[result], bbox=box, id=label.track or label.id
                )
            )
        return self._new(DETECTION3D, header=header, detections=made)

    def markers(self, moment: Moment) -> Any:  # noqa: ANN401
        """Return one ``MarkerArray``; it begins by removing what was shown before."""
        removal = self._marker(moment, Label("", 0, 0, "", "", "", "", *_NOTHING, ""), _DELETE_ALL, 0)
        boxes = (self._marker(moment, label, _ADD, self._number(label)) for label in moment.labels)
        return self._new(MARKERS, markers=[removal, *boxes])

    def _number(self, label: Label) -> int:
        return self._numbers.setdefault(f"{label.scene}/{label.track or label.id}", len(self._numbers))

    def _marker(self, moment: Moment, label: Label, action: int, number: int) -> Any:  # noqa: ANN401
        red, green, blue = colour_of(label.label)
        duration = self._new("builtin_interfaces/msg/Duration", sec=0, nanosec=0)
        return self._new(
            "visualization_msgs/msg/Marker",
            header=self._header(moment),
            ns=label.label,
            id=number,
            type=_CUBE,
            action=action,
            pose=self._pose(label),
            scale=self._vector(label.size),
            color=self._new("std_msgs/msg/ColorRGBA", r=red, g=green, b=blue, a=_ALPHA),
            lifetime=duration,
            frame_locked=False,
            points=[],
            colors=[],
            texture_resource="",
            texture=self._new(
                COMPRESSED_IMAGE,
                header=self._header(moment),
                format="",
                data=np.zeros(0, np.uint8),
            ),
            uv_coordinates=[],
            text="",
            mesh_resource="",
            mesh_file=self._new("visualization_msgs/msg/MeshFile", filename="", data=np.zeros(0, np.uint8)),
            mesh_use_embedded_materials=False,
        )

    def scene_update(self, moment: Moment) -> Any:  # noqa: ANN401
        """Return one ``SceneUpdate``: a cube and its class for each box; older boxes are removed."""
        stamp = self._stamp(moment)
        removal = self._new("foxglove_msgs/msg/SceneEntityDeletion", timestamp=stamp, type=_ALL, id="")
        entities = [self._entity(moment, stamp, label) for label in moment.labels]
        return self._new(SCENE_UPDATE, deletions=[removal], entities=entities)

    def _entity(self, moment: Moment, stamp: Any, label: Label) -> Any:  # noqa: ANN401
        red, green, blue = colour_of(label.label)
        colour = self._new("foxglove_msgs/msg/Color", r=red, g=green, b=blue, a=_ALPHA)
        cube = self._new(
            "foxglove_msgs/msg/CubePrimitive", pose=self._pose(label), size=self._vector(label.size), color=colour
        )
        above = replace(label, position=(*label.position[:2], label.position[2] + label.size[2] / 2 + _TEXT_M))
        text = self._new(
            "foxglove_msgs/msg/TextPrimitive",
            pose=self._pose(above),
            billboard=True,
            font_size=_TEXT_M,
            scale_invariant=False,
            color=self._new("foxglove_msgs/msg/Color", r=red, g=green, b=blue, a=1.0),
            text=label.label,
        )
        said = {"label": label.label, "track": label.track, "id": label.id, "source": label.source}
        said |= {
            name: value if isinstance(value, str) else json.dumps(value) for name, value in label.attributes.items()
        }
        return self._new(
            "foxglove_msgs/msg/SceneEntity",
            timestamp=stamp,
            frame_id=moment.frame_id,
            id=f"{label.scene}/{label.track or label.id}",
            lifetime=self._new("builtin_interfaces/msg/Duration", sec=0, nanosec=0),
            frame_locked=False,
            metadata=[self._new("foxglove_msgs/msg/KeyValuePair", key=key, value=value) for key, value in said.items()],
            arrows=[],
            cubes=[cube],
            spheres=[],
            cylinders=[],
            lines=[],
            triangles=[],
            texts=[text],
            models=[],
        )

    def _header(self, moment: Moment) -> Any:  # noqa: ANN401
        return self._new("std_msgs/msg/Header", stamp=self._stamp(moment), frame_id=moment.frame_id)

    def _stamp(self, moment: Moment) -> Any:  # noqa: ANN401
        sec, nanosec = divmod(moment.stamp_ns, 1_000_000_000)
        return self._new("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)

    def _pose(self, label: Label) -> Any:  # noqa: ANN401
        x, y, z, w = label.rotation
        return self._new(
            "geometry_msgs/msg/Pose",
            position=self._new(
                "geometry_msgs/msg/Point", x=label.position[0], y=label.position[1], z=label.position[2]
            ),
            orientation=self._new("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
        )

    def _vector(self, values: tuple[float, float, float]) -> Any:  # noqa: ANN401
        return self._new("geometry_msgs/msg/Vector3", x=values[0], y=values[1], z=values[2])
