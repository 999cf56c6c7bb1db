# SPDX-License-Identifier: Apache-2.0
"""Ask the service for the labels of a spool's scenes: annotations of a dataset, answers of finished tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nucleus_bridge.errors import InputError, LabelError, RejectedError, SceneError
from nucleus_bridge.formats.sfs.scene_tree import OWN
from nucleus_bridge.labels.label import Label, SceneStamps, label_of_cuboid
from nucleus_bridge.labels.other_labels import OtherLabels, nucleus_box, task_box
from nucleus_bridge.labels.sfs_labels import is_container, labels_of_tree, tree_of
from nucleus_bridge.labels.sfs_other import take_other_labels
from nucleus_bridge.labels.unchanged import Answers
from nucleus_bridge.spool.manifest import Manifest
from nucleus_bridge.spool.state import StateBook, StateRecord
from nucleus_bridge.strict_text import loads
from nucleus_bridge.upload.nucleus.client import NucleusClient
from nucleus_bridge.upload.nucleus.payload import CONTENT_KEY, local_content
from nucleus_bridge.upload.tasks.client import TaskClient

PAGE_ROWS = 500
"""Items of a page: with 50 cuboids each it has 8 MB."""
_COMPLETED = "completed"
_UNREAD = ("polygon", "line", "keypoints", "category", "multicategory", "segmentation")
"""Kinds of annotations of items that have no place here."""

Note = Callable[[str], None]
"""Takes one line of text for the user."""


@dataclass
class Fetched:
    """What asking came to.

    Attributes:
        scenes: Scenes whose labels are complete as far as the service has any.
        waiting: Scenes whose task is not finished, with the service's word for it.
        refused: Scenes whose labels were not taken, and why.
    """

    scenes: set[str] = field(default_factory=set)
    waiting: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def cameras_of(book: StateBook) -> set[str]:
    """Return the cameras that the scenes of a spool have, as far as their manifests can be read."""
    found = set()
    for reference_id in book.references():
        try:
            sensors = book.manifest(reference_id).sensors
        except SceneError:
            continue
        found |= {name for name, sensor in sensors.items() if sensor.get("kind") == "camera"}
    return found


def dataset_labels(
    client: NucleusClient,
    dataset_id: str,
    scenes: Mapping[str, SceneStamps],
    fetched: Fetched,
    other: OtherLabels,
) -> Iterator[Label]:
    """Yield the cuboids of a dataset that are on clouds of scenes, page by page; boxes on images go to ``other``."""
    fetched.scenes |= scenes.keys()
    sensors = {
        f"{name}-{sensor}": (name, sensor) for name, one in scenes.items() for sensor in (one.cloud, *one.cameras)
    }
    for row in client.training_rows(dataset_id, PAGE_ROWS):
        prefix, _, number = str(row["item"].get("reference_id")).rpartition("-")
        scene, sensor = sensors.get(prefix, ("", ""))
        if not scene or not number.isdecimal() or int(number) >= len(scenes[scene].stamps_ns):
            continue
        stamps, frame = scenes[scene], int(number)
        for kind in _UNREAD:
            if given := row.get(kind):
                other.pass_over(kind, len(given) if isinstance(given, list) else 1)
        try:
            if sensor == stamps.cloud:
                for cuboid in row["cuboid"]:
                    yield _nucleus_label(cuboid, stamps, frame)
            for box in row.get("box") or ():
                other.add_box(stamps, frame, sensor, nucleus_box(box, f"{scene}, frame {frame}"))
        except LabelError as error:
            fetched.refused[scene] = str(error)


def scenes_there(
    client: NucleusClient, dataset_id: str, book: StateBook, refused: dict[str, str]
) -> dict[str, SceneStamps]:
    """Return the spool's scenes that a dataset holds; one of other content there, or damaged, goes to ``refused``."""
    there = client.scene_references(dataset_id)
    stamps = {}
    for reference_id in book.references():
        if reference_id not in there:
            continue
        try:
            manifest = book.manifest(reference_id)
            check_content(client.get_scene(dataset_id, reference_id), book, manifest)
            stamps[reference_id] = SceneStamps.of(manifest)
        except (LabelError, RejectedError, SceneError) as error:
            refused[reference_id] = str(error)
    return stamps


def _nucleus_label(cuboid: Mapping[str, Any], stamps: SceneStamps, frame: int) -> Label:
    metadata = cuboid.get("metadata") or {}
    geometry = cuboid.get("geometry")
    if not isinstance(geometry, Mapping) or not isinstance(metadata, Mapping):
        raise LabelError(f"{stamps.scene}, frame {frame}: a cuboid has no geometry")
    own = str(cuboid.get("annotation_id") or cuboid.get("id") or "")
    track = cuboid.get("track_reference_id") or metadata.get("track_reference_id") or metadata.get("track_id") or own
    content = {**geometry, "label": cuboid.get("label"), "attributes": metadata}
    return label_of_cuboid(content, stamps, frame, source="nucleus", track=str(track), label_id=own)


def check_content(scene: Mapping[str, Any], book: StateBook, manifest: Manifest) -> None:
    """Refuse labels of another scene: they would be put where they do not belong.

    Raises:
        LabelError: The destination holds other content under the scene's id.
    """
    theirs = (scene.get("metadata") or {}).get(CONTENT_KEY)
    folder = book.spool.scene_folder(manifest.reference_id)
    if theirs is None or not folder.is_dir():
        return
    try:
        ours = local_content(folder, manifest)
    except SceneError as error:
        raise LabelError(str(error)) from None
    if str(theirs) != ours:
        raise LabelError(
            f"{manifest.reference_id}: the destination holds another scene of this id; its labels are not the spool's"
        )


def task_labels(
    client: TaskClient,
    records: Iterable[StateRecord],
    book: StateBook,
    fetched: Fetched,
    other: OtherLabels,
    answers: Answers,
) -> Iterator[Label]:
    """Yield the cuboids of finished annotation tasks; boxes on images and classes of points go to ``other``."""
    for record in records:
        name = record.reference_id
        try:
            manifest = book.manifest(name)
            task = _task(client, record)
            status = str(task.get("status"))
            if status != _COMPLETED:
                fetched.waiting[name] = status
                continue
            yield from _response_labels(answers, task, manifest, book.spool.scene_folder(name), other)
        except (LabelError, RejectedError, SceneError) as error:
            fetched.refused[name] = str(error)
            continue
        fetched.scenes.add(name)


def _task(client: TaskClient, record: StateRecord) -> dict[str, Any]:
    task = client.retry.again(lambda: client.task(record.task_id))
    if task is None:
        raise LabelError(f"{record.reference_id}: the service does not know its task {record.task_id}")
    return task


def _response_labels(
    answers: Answers, task: Mapping[str, Any], manifest: Manifest, folder: Path, other: OtherLabels
) -> Iterator[Label]:
    """Yield what a finished task answers: cuboids frame by frame, or an annotated ``.sfs`` scene."""
    stamps, source = SceneStamps.of(manifest), f"task:{task['task_id']}"
    response = task.get("response")
    given = response if isinstance(response, Mapping) else {}
    points = _url(given.get("point_segmentations"))
    url = _url(given.get("annotations")) or _url(given)
    if not url and not points:
        raise LabelError(f"{stamps.scene}: its task is completed and says no URL of annotations")
    if points:
        other.add_points(stamps, manifest.points, _json(answers.result(task, points), stamps), source)
    if not url:
        return
    content = answers.result(task, url)
    frames = None if is_container(content) else _json(content, stamps)
    if isinstance(frames, list):
        yield from _cuboids(frames, stamps, source, _Linked(manifest, other))
    else:
        tree = tree_of(content, stamps.scene)
        take_other_labels(tree, stamps, folder, source, manifest.points, other)
        yield from labels_of_tree(tree, stamps, folder, source)


def _url(answer: object) -> str:
    url = answer.get("url") if isinstance(answer, Mapping) else None
    return url if isinstance(url, str) else ""


@dataclass(frozen=True)
class _Linked:
    """Takes the boxes on images of one task."""

    manifest: Manifest
    other: OtherLabels

    def add(self, stamps: SceneStamps, frame: int, answer: object, source: str) -> None:
        """Take those of one frame.

        Raises:
            LabelError: They cannot be read, or are of a camera that the scene has not.
        """
        where = f"{stamps.scene}, frame {frame}"
        cameras = {
            sensor.get("camera_index"): name
            for name, sensor in self.manifest.sensors.items()
            if sensor.get("kind") == "camera"
        }
        try:
            for seen in answer:  # type: ignore[attr-defined]
                name = cameras[seen["camera_used"]]
                for box in seen["annotations"]:
                    if box.get("type", "box") == "box":
                        self.other.add_box(stamps, frame, name, task_box(box, source, where))
        except (KeyError, TypeError, AttributeError) as error:
            raise LabelError(f"{where}: boxes on images cannot be read: {error!r}") from None


def _json(content: bytes, stamps: SceneStamps) -> object:
    try:
        return loads(content)
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{stamps.scene}: the answer of its task is neither JSON nor a .sfs file: {error}") from None


def _cuboids(frames: list[Any], stamps: SceneStamps, source: str, linked: _Linked) -> Iterator[Label]:
    if len(frames) != len(stamps.stamps_ns):
        raise LabelError(
            f"{stamps.scene}: its {source.replace(':', ' ')} has annotations of {len(frames)} frames, the scene has "
            f"{len(stamps.stamps_ns)}: it was made of another scene of this id"
        )
    for number, frame in enumerate(frames):
        cuboids = frame.get("cuboids", []) if isinstance(frame, Mapping) else None
        if not isinstance(cuboids, list):
            raise LabelError(f"{stamps.scene}, frame {number}: annotations are {frame!r:.80}")
        linked.add(stamps, number, frame.get("camera_responses", ()), source)
        for cuboid in cuboids:
            if not isinstance(cuboid, Mapping):
                raise LabelError(f"{stamps.scene}, frame {number}: a cuboid is {cuboid!r:.80}")
            track = str(cuboid.get("uuid") or "")
            own = f"{track}-{number:06d}" if track else ""
            yield label_of_cuboid(cuboid, stamps, number, source=source, track=track, label_id=own)


def file_labels(paths: Iterable[Path], book: StateBook, fetched: Fetched, other: OtherLabels) -> Iterator[Label]:
    """Yield the cuboids of annotated ``.sfs`` files; each says in its metadata or by its name which scene it is.

    Boxes on images and classes of points go to ``other``.
    """
    known = set(book.references())
    for path in paths:
        try:
            tree = tree_of(path.read_bytes(), str(path))
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from None
        except LabelError as error:
            fetched.refused[str(path)] = f"{error}; expected an annotated .sfs file or its JSON form"
            continue
        own = tree.get("metadata")
        own = own.get(OWN) if isinstance(own, Mapping) else None
        name = str(own.get("reference_id")) if isinstance(own, Mapping) else path.name.removesuffix(".sfs")
        if name not in known:
            fetched.refused[str(path)] = f"{path}: the spool has no scene {name}"
            continue
        try:
            manifest, folder = book.manifest(name), book.spool.scene_folder(name)
            stamps = SceneStamps.of(manifest)
            take_other_labels(tree, stamps, folder, "sfs", manifest.points, other)
            yield from labels_of_tree(tree, stamps, folder, "sfs")
        except (LabelError, SceneError) as error:
            fetched.refused[name] = str(error)
            continue
        fetched.scenes.add(name)
