# SPDX-License-Identifier: Apache-2.0
"""Scene files with something in a place where it does not belong: found or refused, never a traceback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bags import recording, write_config

from nucleus_bridge.config import load_config
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.errors import BridgeError, LabelError
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.formats.sfs.container import open_tree, write_tree
from nucleus_bridge.formats.sfs.reader import read_track
from nucleus_bridge.formats.sfs.scene_tree import SCENE_FILE
from nucleus_bridge.labels.label import SceneStamps
from nucleus_bridge.labels.sfs_labels import labels_of_tree, tree_of
from nucleus_bridge.validate.scenes import validate_path

PATH = {"timestamps": [0, 100_000], "values": [[4.0, 2.0, 1.5, 1.0, 2.0, 0.0, 0.0, 0.0, 10.0]] * 2}
ATTRIBUTE = {"name": "parked", "timestamps": [0], "values": ["no"], "static": False}
ANNOTATIONS = [
    {"id": "a", "type": "cuboid", "label": "car", "stationary": False, "path": PATH, "attributes": [ATTRIBUTE]},
    {"id": "b", "type": "attributes", "parent_id": "a", "attributes": [ATTRIBUTE]},
]
JUNK: dict[str, Any] = {
    "bytes": np.zeros(3, np.uint8),
    "rows": np.zeros((2, 2), np.float32),
    "null": None,
    "negative": -1,
    "huge": 10**299,
    "text": "\ud800",
    "lists": [[1] * 7],
    "mixed": [1, "a", None],
    "objects": {"a": {"b": 1}},
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("junk")
    bag = recording(frames=2).write(folder / "bag")
    (made,) = convert_bag(bag, load_config(write_config(folder), ["scene.format=sfs"]), folder / "spool").scenes
    return Path(made.folder)


def copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: copied(entry) for key, entry in value.items()}
    return [copied(entry) for entry in value] if isinstance(value, list) else value


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value, of long lists the first one."""
    if path:
        yield path
    entries: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        if not (isinstance(value, list) and key and len(path) > 2):
            yield from places(entry, (*path, key))


def use(folder: Path, content: bytes, stamps: SceneStamps) -> None:
    """Do with a scene what the commands do."""
    (folder / SCENE_FILE).write_bytes(content)
    assert validate_path(folder)
    try:
        read_track(folder / SCENE_FILE)  # type: ignore[arg-type]
        reader = open_scene(folder)
        for index in range(len(reader)):
            for image in reader.frame(index).images:
                reader.image(image)
    except BridgeError:
        pass
    for place in (folder, folder / "gone"):
        with contextlib.suppress(LabelError):
            list(labels_of_tree(tree_of(content, SCENE_FILE), stamps, place, "sfs"))


@pytest.mark.parametrize("junk", JUNK)
def test_junk_in_any_place_is_found_or_refused(scene: Path, tmp_path: Path, junk: str) -> None:
    folder = tmp_path / scene.name
    folder.mkdir()
    (folder / "manifest.json").write_bytes((scene / "manifest.json").read_bytes())
    stamps = SceneStamps.of(open_scene(scene).manifest)
    good = {**open_tree(scene / SCENE_FILE), "annotations": ANNOTATIONS}
    tried = 0
    for place in places(good):
        tree = copied(good)
        parent = tree
        for key in place[:-1]:
            parent = parent[key]
        parent[place[-1]] = JUNK[junk]
        try:
            use(folder, b"".join(bytes(piece) for piece in write_tree(tree)), stamps)
        except Exception as error:
            raise AssertionError(f"{junk} at {'/'.join(map(str, place))}: {error!r}") from error
        tried += 1
    assert tried > 100


def test_labels_of_a_file_that_is_cut_behind_its_header_are_refused(scene: Path) -> None:
    content = b"".join(bytes(piece) for piece in write_tree({**open_tree(scene / SCENE_FILE), "annotations": []}))
    with pytest.raises(LabelError, match="cut"):
        tree_of(content[: content.index(b"\0")], SCENE_FILE)
    assert tree_of(b'{"annotations":[],"$items":[]}', SCENE_FILE)["annotations"] == []


def own(*path: Any) -> tuple[Any, ...]:
    return ("metadata", "nucleus_bridge", *path)


PATH_OF = ("annotations", 0, "path")
NOT_IN_ORDER: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "no pose of the device": (own("device", "poses"), [], "sfs-own"),
    "a device's pose without rotation": (own("device", "poses"), [[1, 2, 3], [1, 2, 3]], "sfs-own"),
    "a stamp of the device beyond 64 bits": (own("device", "stamps_ns"), [1, 2**70], "sfs-own"),
    "a sensor's stamps are missing": (own("sensors", "front", "stamps_ns"), [], "sfs-own"),
    "a sensor's frame is none": (own("sensors", "front", "frames"), [0, 7], "sfs-own"),
    "a lens beyond 32 bits": (("sensors", 1, "intrinsics", "distortion", "params"), [1e300], "sfs-lenses"),
    "a cuboid without size": ((*PATH_OF, "values", 0), [0.0, 2, 1, 0, 0, 0, 0, 0, 0], "sfs-annotations"),
    "a cuboid far away": ((*PATH_OF, "values", 0), [1.0, 2, 1, 1e30, 0, 0, 0, 0, 0], "sfs-annotations"),
    "a cuboid's stamps fall": ((*PATH_OF, "timestamps"), [100_000, 0], "sfs-annotations"),
    "a cuboid's stamp is a fraction": ((*PATH_OF, "timestamps"), [0, 0.5], "sfs-annotations"),
}


@pytest.mark.parametrize("name", [None, *NOT_IN_ORDER])
def test_validate_notices_what_readers_would_stumble_over(scene: Path, tmp_path: Path, name: str | None) -> None:
    folder = tmp_path / scene.name
    folder.mkdir()
    (folder / "manifest.json").write_bytes((scene / "manifest.json").read_bytes())
    tree = copied({**open_tree(scene / SCENE_FILE), "annotations": ANNOTATIONS})
    rule = set()
    if name is not None:
        path, value, expected = NOT_IN_ORDER[name]
        parent, rule = tree, {expected}
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = value
    (folder / SCENE_FILE).write_bytes(b"".join(bytes(piece) for piece in write_tree(tree)))
    (report,) = validate_path(folder)
    assert {result.rule for result in report.rules if not result.ok and result.rule.startswith("sfs-")} == rule
