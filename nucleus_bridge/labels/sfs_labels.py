# SPDX-License-Identifier: Apache-2.0
"""The cuboids of an annotated ``.sfs`` scene, frame by frame, in the recording's frame.

A path has dx, dy, dz, px, py, pz, roll, pitch, yaw a stamp. As Scale's own package has it, angles are degrees, the
rotation is Rx(roll) Ry(pitch) Rz(yaw), dx lies along the box's own x axis, and between two stamps all nine numbers are
interpolated on a straight line. Stamps are microseconds from the scene's start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucleus_bridge.errors import LabelError, SceneError
from nucleus_bridge.formats.sfs.container import ITEMS, open_tree, read_tree
from nucleus_bridge.formats.sfs.scene_tree import OWN, SCENE_FILE
from nucleus_bridge.geometry import quaternion
from nucleus_bridge.labels.label import Label, SceneStamps
from nucleus_bridge.model import FloatArray
from nucleus_bridge.strict_text import loads

_COLUMNS = 9
_LONGEST_HOLD_US = 60_000.0
_OF_THE_INTERVAL = 0.4
"""A path counts this share of the time between two frames before its first and behind its last stamp: the sensor whose
stamps it has may not be the one that the frames are named after."""
Tree = Mapping[str, Any]


def is_container(content: bytes) -> bool:
    """Whether bytes are those of a ``.sfs`` file rather than JSON."""
    return content.startswith(b"{") and b"\0" in content


def tree_of(content: bytes, name: str) -> Tree:
    """Return the tree of an annotated scene, from a ``.sfs`` file or from its JSON form.

    Raises:
        LabelError: It is neither.
    """
    try:
        tree: Any = read_tree(content, name) if is_container(content) else loads(content)
    except (SceneError, ValueError, RecursionError) as error:
        raise LabelError(f"{name}: cannot be read: {error}") from None
    if isinstance(tree, dict) and tree.get(ITEMS) and not is_container(content):
        raise LabelError(f"{name}: cannot be read: it is cut behind its header, and its arrays are missing")
    if not isinstance(tree, dict) or not isinstance(tree.get("annotations", []), (list, type(None))):
        raise LabelError(f"{name}: is not a scene with a list of annotations")
    return tree


def labels_of_tree(tree: Tree, stamps: SceneStamps, folder: Path, source: str) -> Iterator[Label]:
    """Yield the cuboids of an annotated scene for every frame that they reach.

    Args:
        tree: The annotated scene.
        stamps: Of the scene.
        folder: Where the scene is in the spool, if it is still there: its own stamps count first.
        source: Where the labels come from.

    Raises:
        LabelError: A cuboid cannot be read, or nothing says when its stamps are.
    """
    annotations = [annotation for annotation in tree.get("annotations") or [] if isinstance(annotation, dict)]
    more = attributes_of(annotations)
    scene = _Scene(stamps, frame_times(tree, stamps, folder), source)
    for annotation in annotations:
        if _kind(annotation) != "cuboid":
            continue
        own = str(annotation.get("id", ""))
        try:
            attributes = [*_listed(annotation.get("attributes")), *more.get(own, [])]
            yield from _cuboid(annotation, own, attributes, scene)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise LabelError(f"{stamps.scene}: cuboid {own!r:.80} cannot be read: {error!r}") from None


def _kind(annotation: Mapping[str, Any]) -> str:
    return str(annotation.get("type"))


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


@dataclass(frozen=True, eq=False)
class _Scene:
    """What labels of one scene share: its stamps, those of its frames on the file's clock, where they come from."""

    stamps: SceneStamps
    times_us: FloatArray
    source: str


def hold_us(times_us: FloatArray) -> float:
    """Return how far from its first and last stamp a path counts, given the stamps of frames."""
    if len(times_us) < 2:
        return _LONGEST_HOLD_US
    return min(_LONGEST_HOLD_US, _OF_THE_INTERVAL * float(np.median(np.diff(times_us))))


def attributes_of(annotations: Iterable[Any]) -> dict[str, list[Any]]:
    """Return the attributes that stand on their own, by the id of the annotation that they are of."""
    found: dict[str, list[Any]] = {}
    for annotation in annotations:
        if isinstance(annotation, dict) and _kind(annotation) == "attributes":
            found.setdefault(str(annotation.get("parent_id")), []).extend(_listed(annotation.get("attributes")))
    return found


def _cuboid(annotation: Mapping[str, Any], own: str, attributes: list[Any], scene: _Scene) -> Iterator[Label]:
    path = annotation["path"]
    keys = np.array(path["timestamps"], np.float64)
    values = np.array(path["values"], np.float64).reshape(len(keys), _COLUMNS)
    if not len(keys) or not (np.isfinite(values).all() and (np.diff(keys) > 0.0).all()):
        raise ValueError("its path is empty, not finite, or not in the order of its stamps")
    stays = bool(annotation.get("stationary")) and len(keys) == 1
    stamps, reach_us = scene.stamps, hold_us(scene.times_us)
    for frame, time_us in enumerate(scene.times_us):
        at = float(np.clip(time_us, keys[0], keys[-1]))
        if not stays and abs(at - time_us) > reach_us:
            continue
        row = [float(np.interp(at, keys, column)) for column in values.T]
        x, y, z = (value + offset for value, offset in zip(row[3:6], stamps.offset, strict=True))
        yield Label(
            stamps.scene,
            frame,
            stamps.stamps_ns[frame],
            stamps.frame_id,
            str(annotation["label"]),
            own,
            f"{own}-{frame:06d}",
            (x, y, z),
            (row[0], row[1], row[2]),
            _rotation(*np.radians(row[6:9])),
            scene.source,
            attributes_at(attributes, time_us),
        )


def _rotation(roll: float, pitch: float, yaw: float) -> tuple[float, float, float, float]:
    """Return the rotation Rx(roll) Ry(pitch) Rz(yaw), x y z w."""
    halves = (roll / 2, pitch / 2, yaw / 2)
    about = [np.array([*(np.eye(3)[axis] * np.sin(half)), np.cos(half)]) for axis, half in enumerate(halves)]
    turn = quaternion.multiply(quaternion.multiply(about[0], about[1]), about[2])
    x, y, z, w = ((-turn if turn[3] < 0.0 else turn) + 0.0).tolist()
    return x, y, z, w


def attributes_at(attributes: Iterable[Mapping[str, Any]], time_us: float) -> dict[str, Any]:
    """Return what holds at a stamp: of each attribute the last value at or before it, of a fixed one its only one."""
    found = {}
    for attribute in attributes:
        values, keys = attribute["values"], attribute["timestamps"]
        if not values:
            continue
        reached = [value for key, value in zip(keys, values, strict=False) if key <= time_us]
        found[str(attribute["name"])] = reached[-1] if reached and not attribute.get("static") else values[0]
    return found


def frame_times(tree: Tree, stamps: SceneStamps, folder: Path) -> FloatArray:
    """Return the stamp of each frame on the clock of the file, microseconds."""
    if (folder / SCENE_FILE).is_file():
        try:
            found = _own_times(open_tree(folder / SCENE_FILE), stamps)
        except SceneError:
            found = None
        if found is not None:
            return found
    if (found := _own_times(tree, stamps)) is not None:
        return found
    offset = tree.get("time_offset")
    if type(offset) is not int:
        raise LabelError(
            f"{stamps.scene}: its scene is gone from the spool, and the annotated one says neither the stamps of its "
            "frames nor its time_offset"
        )
    return (np.array(stamps.times_ns, np.int64) // 1000 - offset).astype(np.float64)


def _own_times(tree: Tree, stamps: SceneStamps) -> FloatArray | None:
    """Return the frames' stamps as this package wrote them into a file, or None when it does not say."""
    try:
        own = tree["metadata"][OWN]
        found: dict[int, float] = {}
        for sensor in tree["sensors"]:
            if sensor["type"] == "lidar":
                for number, frame in zip(own["sensors"][sensor["id"]]["frames"], sensor["frames"], strict=True):
                    found.setdefault(int(number), float(frame["timestamp"]))
    except (LookupError, TypeError, ValueError, OverflowError):
        return None
    count = len(stamps.stamps_ns)
    return np.array([found[number] for number in range(count)]) if set(found) == set(range(count)) else None
