# SPDX-License-Identifier: Apache-2.0
"""One label in the recording's own frame, and the service's conventions, undone.

A cuboid of lidar annotation tasks has its centre in the coordinates of the clouds that were sent, ``dimensions`` with
x = width, y = length and z = height, and ``yaw`` 0 along +y, counter-clockwise seen from above. Nucleus' own metrics
read its cuboids in the same way; its client's docstring names x the length. Both fill the same volume; only which side
is the front differs, and the first reading is taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nucleus_bridge.errors import LabelError
from nucleus_bridge.formats.reading import cloud_sensor_of
from nucleus_bridge.spool.manifest import Manifest

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]

_LONGEST_TEXT = 1_000


@dataclass(frozen=True)
class SceneStamps:
    """What puts the labels of one scene back into its recording.

    Attributes:
        scene: Reference id.
        frame_id: The frame that positions were expressed in (``world_frame``).
        offset: What was subtracted from every position, metres.
        stamps_ns: ``header.stamp`` of each frame's sweep as recorded.
        times_ns: The same with the configured clock corrections.
        cloud: Name of the cloud's sensor, which its items are called after.
        cameras: Names of the cameras.
    """

    scene: str
    frame_id: str
    offset: Vector
    stamps_ns: tuple[int, ...]
    times_ns: tuple[int, ...] = ()
    cloud: str = ""
    cameras: tuple[str, ...] = ()

    @classmethod
    def of(cls, manifest: Manifest) -> SceneStamps:
        """Read them from a manifest.

        Raises:
            LabelError: It was written by an earlier release, which did not keep the stamps of frames.
        """
        if len(manifest.stamps) != manifest.frames:
            raise LabelError(
                f"{manifest.reference_id}: its manifest has no stamps of frames, as it was written by "
                f"{manifest.software}; convert the recording again into another spool"
            )
        offset = (manifest.world_offset["x"], manifest.world_offset["y"], manifest.world_offset["z"])
        stamps, times = (tuple(int(frame[key]) for frame in manifest.stamps) for key in ("stamp_ns", "time_ns"))
        cloud = cloud_sensor_of(manifest)
        cameras = tuple(name for name, sensor in manifest.sensors.items() if sensor.get("kind") == "camera")
        return cls(manifest.reference_id, manifest.world_frame, offset, stamps, times, cloud, cameras)

    def item(self, frame: int) -> str:
        """Return the reference id of a frame's cloud."""
        return f"{self.scene}-{self.cloud}-{frame:06d}"


@dataclass(frozen=True)
class Label:
    """One box at one stamp.

    Attributes:
        scene: Reference id of its scene.
        frame: Number of the frame in the scene, from 0.
        stamp_ns: ``header.stamp`` of the frame's sweep as recorded.
        frame_id: The recording's frame that the box is expressed in.
        label: Its class.
        track: The same for one object in every frame; empty where the service does not say.
        id: The service's own id of it.
        position: Centre of the box in ``frame_id``, metres.
        size: Length, width and height along the box's own x, y and z, metres (REP 103: x to the front).
        rotation: ``frame_id`` from box, x y z w.
        attributes: What the annotators said besides.
        source: ``nucleus``, ``task:<id>`` or ``sfs``; of a detection its topic or ``file``.
        score: How sure a detection is; None for what people said.
    """

    scene: str
    frame: int
    stamp_ns: int
    frame_id: str
    label: str
    track: str
    id: str
    position: Vector
    size: Vector
    rotation: Quaternion
    source: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    score: float | None = None

    @property
    def heading(self) -> float:
        """Heading of the box's front about +z, radians, 0 along +x."""
        x, y, z, w = self.rotation
        return math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))

    def as_json(self) -> dict[str, Any]:
        """Return it as one line of ``labels.jsonl``."""
        position, size, rotation = self.position, self.size, self.rotation
        return {
            "scene": self.scene,
            "frame": self.frame,
            "stamp_ns": self.stamp_ns,
            "frame_id": self.frame_id,
            "label": self.label,
            "track": self.track,
            "id": self.id,
            "position": {"x": position[0], "y": position[1], "z": position[2]},
            "size": {"length": size[0], "width": size[1], "height": size[2]},
            "rotation": {"x": rotation[0], "y": rotation[1], "z": rotation[2], "w": rotation[3]},
            "attributes": dict(self.attributes),
            "source": self.source,
            **({} if self.score is None else {"score": self.score}),
        }


def label_of_cuboid(
    cuboid: Mapping[str, Any], stamps: SceneStamps, frame: int, *, source: str, track: str, label_id: str
) -> Label:
    """Return a cuboid of the service in the recording's frame.

    Args:
        cuboid: With ``label``, ``position``, ``dimensions``, ``yaw`` and perhaps ``pitch``, ``roll``, ``attributes``.
        stamps: Of its scene.
        frame: Number of its frame.
        source: Where it comes from.
        track: The object's id.
        label_id: Its own id.

    Raises:
        LabelError: Something is missing or not finite.

    Examples:
        The service's yaw 0 points along +y, and its y is the length:

        >>> stamps = SceneStamps("drive-1", "map", (100.0, 0.0, 0.0), (1_700_000_000_000_000_000,))
        >>> centre, size = {"x": 2.0, "y": 3.0, "z": 0.5}, {"x": 2.0, "y": 4.5, "z": 1.5}
        >>> cuboid = {"label": "car", "position": centre, "dimensions": size, "yaw": 0.0}
        >>> label = label_of_cuboid(cuboid, stamps, 0, source="nucleus", track="", label_id="a")
        >>> label.frame_id, label.position, label.size
        ('map', (102.0, 3.0, 0.5), (4.5, 2.0, 1.5))
    """
    try:
        place, extent = cuboid["position"], cuboid["dimensions"]
        numbers = (
            place["x"],
            place["y"],
            place["z"],
            extent["x"],
            extent["y"],
            extent["z"],
            cuboid.get("roll", 0.0),
            cuboid.get("pitch", 0.0),
            cuboid.get("yaw", 0.0),
        )
        x, y, z, width, length, height, roll, pitch, yaw = _checked(numbers)
        label = str(cuboid["label"])[:_LONGEST_TEXT]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise LabelError(f"{stamps.scene}, frame {frame}: a cuboid cannot be read: {error!r}") from None
    attributes = cuboid.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise LabelError(f"{stamps.scene}, frame {frame}: attributes of a cuboid are {attributes!r:.80}")
    offset = stamps.offset
    return Label(
        stamps.scene,
        frame,
        stamps.stamps_ns[frame],
        stamps.frame_id,
        label,
        track,
        label_id,
        (x + offset[0], y + offset[1], z + offset[2]),
        (length, width, height),
        _from_angles(roll, pitch, yaw + math.pi / 2),
        source,
        attributes,
    )


def _checked(numbers: tuple[Any, ...]) -> tuple[float, ...]:
    """Return numbers that are ones: about all of the time that labels take goes by here, so it is done at once."""
    for value in numbers:
        if type(value) is not float and type(value) is not int:
            raise TypeError(f"{value!r:.40} is not a number")
    if not math.isfinite(sum(numbers)):
        raise ValueError(f"{numbers} are not all finite")
    return tuple(map(float, numbers))


def _from_angles(roll: float, pitch: float, heading: float) -> Quaternion:
    """Return the rotation Rz(heading) Ry(pitch) Rx(roll)."""
    sh, ch = math.sin(heading / 2), math.cos(heading / 2)
    if not roll and not pitch:
        return (0.0, 0.0, -sh, -ch) if ch < 0.0 else (0.0, 0.0, sh, ch)
    sr, cr, sp, cp = math.sin(roll / 2), math.cos(roll / 2), math.sin(pitch / 2), math.cos(pitch / 2)
    quaternion = (
        sr * cp * ch - cr * sp * sh,
        cr * sp * ch + sr * cp * sh,
        cr * cp * sh - sr * sp * ch,
        cr * cp * ch + sr * sp * sh,
    )
    sign = -1.0 if quaternion[3] < 0.0 else 1.0
    x, y, z, w = (sign * value + 0.0 for value in quaternion)
    return x, y, z, w


def colour_of(text: str) -> tuple[float, float, float]:
    """Return the colour of a class: always the same one for the same text."""
    digest = sum((index + 1) * byte for index, byte in enumerate(text.encode()))
    return tuple(0.25 + 0.75 * ((digest * factor) % 97) / 96 for factor in (37, 61, 89))  # type: ignore[return-value]
