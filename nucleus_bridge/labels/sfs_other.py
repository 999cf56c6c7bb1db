# SPDX-License-Identifier: Apache-2.0
"""What an annotated ``.sfs`` scene has besides cuboids: boxes on images and classes of points.

A box has a path of left, top, width, height in pixels, and counts at the stamps of its camera's images, on a straight
line between its own stamps. Classes of points name points of one frame of one lidar by their numbers; the cloud of a
frame has the points of all lidars one behind the other, as the scene's reader gives them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucleus_bridge.errors import LabelError, SceneError
from nucleus_bridge.formats.sfs.container import open_tree
from nucleus_bridge.formats.sfs.scene_tree import OWN, SCENE_FILE
from nucleus_bridge.labels.label import SceneStamps
from nucleus_bridge.labels.other_labels import OtherLabels, sfs_box
from nucleus_bridge.labels.sfs_labels import Tree, attributes_at, attributes_of, frame_times, hold_us
from nucleus_bridge.model import FloatArray, IntArray

BOX, POINTS, LABELED_POINTS = "box_2d", "point_segmentation", "labeled_points"
_READ = frozenset({"cuboid", "attributes", BOX, POINTS, LABELED_POINTS})
_SIDES = 4
_MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError)


def take_other_labels(
    tree: Tree, stamps: SceneStamps, folder: Path, source: str, points: int, other: OtherLabels
) -> None:
    """Give the boxes on images and the classes of points of an annotated scene to ``other``, and count the rest.

    Args:
        tree: The annotated scene.
        stamps: Of the scene.
        folder: Where the scene is in the spool, if it is still there.
        source: Where the labels come from.
        points: How many points the scene's clouds have.
        other: Takes them.

    Raises:
        LabelError: They cannot be read, or are of a sensor that the scene has not.
    """
    annotations = [entry for entry in tree.get("annotations") or [] if isinstance(entry, dict)]
    kinds = Counter(str(entry.get("type")) for entry in annotations)
    for kind, count in kinds.items():
        if kind not in _READ:
            other.pass_over(kind, count)
    if not kinds.keys() & {BOX, POINTS, LABELED_POINTS}:
        return
    more = attributes_of(annotations)
    try:
        sensors = _Sensors(tree, stamps, folder)
    except _MALFORMED as error:
        raise LabelError(f"{stamps.scene}: the sensors of its annotated scene cannot be read: {error!r}") from None
    for entry in annotations:
        if entry["type"] == BOX:
            own = str(entry.get("id", ""))
            try:
                attributes = [*(entry.get("attributes") or []), *more.get(own, [])]
                _add_boxes(entry, own, attributes, sensors, source, other)
            except _MALFORMED as error:
                raise LabelError(f"{stamps.scene}: box {own!r:.80} on an image cannot be read: {error!r}") from None
    classes = [entry for entry in annotations if entry["type"] in {POINTS, LABELED_POINTS}]
    if classes:
        try:
            answer = _classes(classes, sensors)
        except _MALFORMED as error:
            raise LabelError(f"{stamps.scene}: the classes of its points cannot be read: {error!r}") from None
        other.add_points(stamps, points, answer, source)


@dataclass(frozen=True, eq=False)
class _Frames:
    """Of one sensor: the stamp of each of its frames or images on the file's clock, and the scene's frame of each."""

    kind: str
    times_us: FloatArray
    numbers: Sequence[int]
    sizes: Sequence[int]


class _Sensors:
    """The sensors of a scene by name, those of the spool's own file first: it says what belongs to which frame."""

    def __init__(self, tree: Tree, stamps: SceneStamps, folder: Path) -> None:
        self.stamps = stamps
        self._times = frame_times(tree, stamps, folder)
        trees = [tree]
        if (folder / SCENE_FILE).is_file():
            try:
                trees.insert(0, open_tree(folder / SCENE_FILE))
            except SceneError as error:
                raise LabelError(f"{stamps.scene}: {error}") from None
        self._found: dict[str, _Frames] = {}
        for one in trees:
            for record in one.get("sensors") or []:
                if record["type"] in {"lidar", "camera"}:
                    self._found.setdefault(str(record["id"]), self._frames(one, record))

    @property
    def lidars(self) -> dict[str, _Frames]:
        """Those that have clouds, in the order of the file."""
        return {name: frames for name, frames in self._found.items() if frames.kind == "lidar"}

    def camera(self, name: str) -> _Frames:
        """Return a camera.

        Raises:
            KeyError: There is none of that name.
        """
        frames = self._found.get(name)
        if frames is None or frames.kind != "camera" or name not in self.stamps.cameras:
            raise KeyError(f"no camera {name}; there are {', '.join(self.stamps.cameras) or 'none'}")
        return frames

    def _frames(self, tree: Tree, record: Mapping[str, Any]) -> _Frames:
        kind = str(record["type"])
        if kind == "camera":
            shots = record.get("images")
            times = [shot["timestamp"] for shot in shots] if shots else (record.get("video") or {})["timestamps"]
            sizes = [0] * len(times)
        else:
            times = [frame["timestamp"] for frame in record["frames"]]
            sizes = [int(np.asarray(frame["points"]["positions"]).size) // 3 for frame in record["frames"]]
        times_us = np.array(times, np.float64)
        own = tree.get("metadata")
        own = own.get(OWN) if isinstance(own, Mapping) else None
        if isinstance(own, Mapping):
            numbers = [int(number) for number in own["sensors"][str(record["id"])]["frames"]]
        else:
            numbers = self._nearest(times_us)
        if len(numbers) != len(times):
            raise LabelError(
                f"{self.stamps.scene}: {record['id']} has {len(times)} frames, {len(numbers)} are expected"
            )
        return _Frames(kind, times_us, numbers, sizes)

    def _nearest(self, times_us: FloatArray) -> list[int]:
        """Return the frame that each stamp is nearest to."""
        return [int(np.abs(self._times - time_us).argmin()) for time_us in times_us]


def _add_boxes(
    entry: Mapping[str, Any], own: str, attributes: list[Any], sensors: _Sensors, source: str, other: OtherLabels
) -> None:
    camera, stamps = str(entry["sensor_id"]), sensors.stamps
    frames = sensors.camera(camera)
    keys = np.array(entry["path"]["timestamps"], np.float64)
    values = np.array(entry["path"]["values"], np.float64).reshape(len(keys), _SIDES)
    if not len(keys) or not (np.isfinite(values).all() and (np.diff(keys) > 0.0).all()):
        raise ValueError("its path is empty, not finite, or not in the order of its stamps")
    stays = bool(entry.get("stationary")) and len(keys) == 1
    reach_us = hold_us(frames.times_us)
    track = str(entry.get("parent_id") or own)
    for time_us, frame in zip(frames.times_us, frames.numbers, strict=True):
        at = float(np.clip(time_us, keys[0], keys[-1]))
        if not stays and abs(at - time_us) > reach_us:
            continue
        sides = [float(np.interp(at, keys, column)) for column in values.T]
        said = attributes_at(attributes, float(time_us))
        other.add_box(stamps, frame, camera, sfs_box(entry, f"{own}-{frame:06d}", track, sides, said, source))


def _classes(entries: Sequence[Mapping[str, Any]], sensors: _Sensors) -> dict[str, Any]:
    """Return what a segmentation task would answer; where several classes have a point, the last one counts."""
    lidars = sensors.lidars
    starts: dict[tuple[str, int], int] = {}
    sizes = [0] * len(sensors.stamps.stamps_ns)
    for name, frames in lidars.items():
        for place, number in enumerate(frames.numbers):
            starts[name, place] = sizes[number]
            sizes[number] += frames.sizes[place]
    rows: list[IntArray] = [np.zeros(size, np.int64) for size in sizes]
    objects = []
    for index, entry in enumerate(entries, 1):
        named = {"id": str(entry["id"])} if "id" in entry else {}
        objects.append({"label": str(entry["label"]), "index": index, **named})
        if entry.get("is_instance"):
            objects[-1]["instance"] = True
        for share in entry["labeled_points"]:
            name = str(share["sensor_id"])
            frames = lidars[name]
            if share.get("sensor_frame") is None and len(frames.numbers) > 1:
                raise ValueError(f"it does not say of which of the {len(frames.numbers)} frames of {name}")
            place = int(share.get("sensor_frame") or 0)
            ids = np.asarray(share["point_ids"]).astype(np.int64).reshape(-1)
            if len(ids) and not 0 <= ids.min() <= ids.max() < frames.sizes[place]:
                raise ValueError(f"point {ids.max()} of frame {place} of {name}, which has {frames.sizes[place]}")
            rows[frames.numbers[place]][starts[name, place] + ids] = index
    return {"objects": objects, "point_objects": rows}
