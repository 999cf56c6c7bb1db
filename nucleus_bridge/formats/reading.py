# SPDX-License-Identifier: Apache-2.0
"""What the readers of several formats need: a scene's files, and poses and cameras out of JSON records."""

from __future__ import annotations

import io
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from nucleus_bridge.errors import InputError, InvalidTransformError, SceneError
from nucleus_bridge.formats import registry
from nucleus_bridge.formats.content import SceneFrame, SceneImage, Track
from nucleus_bridge.formats.interface import Place, SceneReader
from nucleus_bridge.model import CameraModel, FloatArray, GpsPose
from nucleus_bridge.spool.manifest import MANIFEST_NAME, Manifest

DISTORTION = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6", "lx", "ly", "xi")
"""Every coefficient that a record of a camera may have."""
MERGED_CLOUD = "lidar"
"""Name of the merged cloud of several lidars."""

_FARTHEST_M = 1e9
_LATEST_NS = 2**63 - 1
_LARGEST_NUMBER = 1e9
_SPREAD_BYTES = 2048
"""Position and fix stand before or behind the points, within this much of a file's ends."""
_POSITION = re.compile(rb'"device_position":(\{[^{}]*\})')
_FIX = re.compile(rb'"device_gps_pose":(\{[^{}]*\})')


def open_scene(folder: Path | str) -> SceneReader:
    r"""Open a sealed scene of any format.

    Args:
        folder: Of the scene, such as ``spool/scenes/drive-...``.

    Returns:
        A reader: its length is the number of frames, ``frame(number)`` a ``SceneFrame`` with the points in scene
        coordinates, shape (n, 3), metres, ``for frame in scene`` reads each, and ``image(frame.images[0])`` returns the
        bytes of an image's file.

    Raises:
        InputError: There is no scene, or its format is unknown.
        SceneError: It is damaged.

    Examples:
        >>> from nucleus_bridge import convert_bag
        >>> scene = open_scene(convert_bag("drive", "drive.yaml", "spool").scenes[0].folder)
        >>> len(scene), scene.lidar, scene.cameras
        (40, 'top', ('front', 'rear'))
        >>> sum(len(frame.images) for frame in scene)
        80
        >>> frame = scene.frame(0)
        >>> frame.points.xyz.shape[1], frame.position, [image.camera for image in frame.images]
        (3, array([0., 0., 0.]), ['front', 'rear'])
        >>> scene.image(frame.images[0])[:2]
        b'\xff\xd8'
    """
    folder = Path(folder)
    if not (folder / MANIFEST_NAME).is_file():
        raise InputError(f"{folder} is not a scene: it has no {MANIFEST_NAME}; give a folder below SPOOL/scenes")
    manifest = Manifest.read(folder)
    if manifest.format not in registry.names():
        raise InputError(f"{folder}: the format {manifest.format!r:.80} is not known")
    return registry.of(manifest.format).read(folder, manifest)


def cloud_sensor_of(manifest: Manifest) -> str:
    """Return the name of a scene's cloud."""
    lidars = [name for name, sensor in manifest.sensors.items() if sensor.get("kind") == "lidar"]
    return lidars[0] if len(lidars) == 1 else MERGED_CLOUD


class SealedFiles(ABC):
    """The files of a sealed scene; no path leads out of it. What a reader adds is said in ``SceneReader``."""

    lidar: str
    cameras: Sequence[str]
    metadata: Mapping[str, Any]

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._top = folder.resolve()
        self._folders: dict[Path, bool] = {}

    @abstractmethod
    def __len__(self) -> int:
        """Count the frames."""

    @abstractmethod
    def frame(self, index: int, most_points: int | None = None) -> SceneFrame:
        """Read one frame with its points."""

    def __iter__(self) -> Iterator[SceneFrame]:
        """Read all frames, one after the other."""
        for index in range(len(self)):
            yield self.frame(index)

    def read(self, path: str) -> bytes:
        """Return a file's content.

        Raises:
            SceneError: It is missing, outside of the scene, or cannot be read.
        """
        parts = PurePosixPath(path).parts
        inside = bool(parts) and path.isprintable() and ".." not in parts and not path.startswith("/")
        try:
            if not inside or self._leads_out(self.folder / path):
                raise SceneError(f"{self.folder}: the path {path!r:.200} leads out of the scene")
            return (self.folder / path).read_bytes()
        except OSError as error:
            raise SceneError(f"{self.folder}: {path} cannot be read: {error.strerror}") from None

    def _leads_out(self, place: Path) -> bool:
        """Whether a link leads out of the scene; a folder is looked at once."""
        if place.parent not in self._folders:
            parent = place.parent.resolve()
            self._folders[place.parent] = parent == self._top or self._top in parent.parents
        return not self._folders[place.parent] or (place.is_symlink() and self._top not in place.resolve().parents)

    def image(self, image: SceneImage) -> bytes:
        """Return an image's file.

        Raises:
            SceneError: It is missing, outside of the scene, or cannot be read.
        """
        return self.read(image.path)

    def in_order(self, cameras: Iterable[str]) -> tuple[str, ...]:
        """Sort cameras as the manifest numbers them."""
        sensors = self.manifest.sensors
        return tuple(sorted(cameras, key=lambda name: (int(sensors.get(name, {}).get("camera_index", 999)), name)))

    @property
    def cloud_sensor(self) -> str:
        """Name of the cloud."""
        return cloud_sensor_of(self.manifest)

    @contextmanager
    def reading(self, path: str, what: str) -> Iterator[None]:
        """Name the file in whatever is wrong with it.

        Raises:
            SceneError: Something is.
        """
        try:
            yield
        except SceneError as error:
            raise SceneError(f"{self.folder / path}: {error}") from None
        except KeyError as error:
            raise SceneError(f"{self.folder / path}: {what}: it has no {error.args[0]!r:.80}") from None
        except (TypeError, ValueError, IndexError, AttributeError, OverflowError, InvalidTransformError) as error:
            raise SceneError(f"{self.folder / path}: {what} ({type(error).__name__}: {error})") from None


def read_pose(position: Any, heading: Any) -> tuple[FloatArray, FloatArray]:  # noqa: ANN401 - as it was parsed
    """Return a position, shape (3,), and a heading x y z w, shape (4,).

    Raises:
        SceneError: They are not a pose.
        KeyError: A number is missing; TypeError, ValueError: or something else.
    """
    where = np.array([float(position[axis]) for axis in "xyz"])
    turned = np.array([float(heading[axis]) for axis in "xyzw"])
    is_rotation = 0.4 < float(np.abs(turned).max()) < 1.1
    if not is_rotation or not (np.abs(where) < _FARTHEST_M).all():
        raise SceneError("a position is not finite or far too large, or a heading is not a rotation")
    return where, turned


def read_stamp(value: Any) -> int:  # noqa: ANN401 - as it was parsed
    """Return a stamp in nanoseconds.

    Raises:
        SceneError: It is before 0, or needs more than 63 bits.
        TypeError, ValueError, OverflowError: It is not a number.
    """
    stamp_ns = int(value)
    if not 0 <= stamp_ns <= _LATEST_NS:
        raise SceneError("a stamp is before 0, or needs more than 63 bits")
    return stamp_ns


def read_gps(record: Any) -> GpsPose | None:  # noqa: ANN401 - as it was parsed
    """Return a pose on the globe, or None where there is none.

    Raises:
        KeyError: A number is missing; TypeError, ValueError: or something else.
    """
    return None if record is None else GpsPose(*(float(record[key]) for key in ("lat", "lon", "bearing")))


def read_image(camera: str, path: str, record: Mapping[str, Any], models: Collection[str]) -> SceneImage:
    """Return what a record says of an image's camera; keys that are not known are passed over.

    Args:
        camera: Its name.
        path: Of the image.
        record: What is said.
        models: Names of the camera models that the format knows.

    Raises:
        SceneError: Its camera parameters cannot be used.
    """
    try:
        lens = {key: float(record[key]) for key in ("fx", "fy", "cx", "cy")}
        distortion = {key: float(value) for key in DISTORTION if (value := record.get(key)) is not None}
        scale_factor, skew = float(record.get("scale_factor", 1.0)), float(record.get("skew") or 0.0)
        position, heading = read_pose(record["position"], record["heading"])
        stamp_ns = read_stamp(record["timestamp"])
        index, priority = int(record.get("camera_index", 0)), int(record.get("priority", 0))
        name = str(record.get("camera_model", "brown_conrady"))
    except SceneError as error:
        raise SceneError(f"the camera parameters of {path} cannot be used: {error}") from None
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        text = f"the camera parameters of {path} cannot be used ({type(error).__name__}: {error})"
        raise SceneError(text) from None
    if name not in models:
        raise SceneError(f"the camera model of {path} is {name!r:.60}, not one of {', '.join(models)}")
    numbers = (*lens.values(), *distortion.values(), skew, scale_factor)
    if not all(abs(number) < _LARGEST_NUMBER for number in numbers) or scale_factor <= 0:
        raise SceneError(f"the camera parameters of {path} cannot be used (a number is not finite or far too large)")
    model = CameraModel(name, 0, 0, **lens, skew=skew, distortion=distortion, scale_factor=scale_factor)
    return SceneImage(camera, path, stamp_ns, position, heading, model, index, priority)


def json_track(folder: Place, paths: Iterable[str]) -> Track:
    """Read where the device was from the ends of JSON files that say so.

    Raises:
        OSError: A file cannot be read.
        SceneError: What it says is not a position.
    """
    positions: list[tuple[float, float, float]] = []
    fixes: list[tuple[float, float]] = []
    for path in paths:
        text = _ends(below(folder, path))
        try:
            positions += [(x, y, z) for x, y, z in _last(_POSITION, "xyz", text)]
            fixes += [(lat, lon) for lat, lon in _last(_FIX, ("lat", "lon"), text)]
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise SceneError(f"{path}: its position cannot be read ({type(error).__name__}: {error})") from None
    return Track(tuple(positions), tuple(fixes))


def below(folder: Place, path: str) -> Place:
    """Return a file of a scene by its path."""
    for part in path.split("/"):
        folder = folder / part
    return folder


def _ends(place: Place) -> bytes:
    with place.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - _SPREAD_BYTES))
        tail = file.read()
        if _POSITION.search(tail):
            return tail
        file.seek(0)
        return file.read(_SPREAD_BYTES)


def _last(pattern: re.Pattern[bytes], keys: Sequence[str], text: bytes) -> list[list[float]]:
    """Return the numbers of the last object that matches, in a list; an empty one where there is none."""
    found = pattern.findall(text)
    record = json.loads(found[-1]) if found else None
    return [] if record is None else [[float(record[key]) for key in keys]]
