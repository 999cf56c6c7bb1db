# SPDX-License-Identifier: Apache-2.0
"""The seam for scene formats: what a format does, and what it is handed and gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

from nucleus_bridge.formats.content import Buffer, SceneFrame, SceneImage, Track
from nucleus_bridge.formats.rules.findings import Findings
from nucleus_bridge.formats.rules.folder import SceneFolder
from nucleus_bridge.model import CameraModel, Scene
from nucleus_bridge.spool.manifest import FileRecord, Manifest

UploadKind = Literal["dataset", "annotation_task", "scene_task"]
"""What a scene becomes at the service: a scene of a Nucleus dataset, a task with a frame file an attachment, or a task
whose one attachment is the scene."""


class OpenFolder(Protocol):
    """The folder of a scene that is being written.

    Attributes:
        folder: Where it is; what was written there may be read.
    """

    @property
    def folder(self) -> Path: ...  # noqa: D102 - see above

    def write(self, path: str, buffers: Iterable[Buffer]) -> FileRecord:
        """Write one file, piece by piece, and describe it; its folder is created when needed."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file that was written."""
        ...


@dataclass(frozen=True)
class SceneStart:
    """What is known of a scene at its first frame.

    Attributes:
        scene: Its identity, frames and offset.
        cloud_sensor: Under which name the points of all lidars go.
        options: What the configuration says under the format's own name.
    """

    scene: Scene
    cloud_sensor: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FramePart:
    """What came of a frame.

    Attributes:
        files: The files that hold it, besides its images; a format that closes into one file may take them up then.
        entry: What closing the scene needs to know of it. It is pickled on its way from a worker process.
        left_out: Points that the format's own options left out: numbers by lidar and cause.
    """

    files: tuple[FileRecord, ...]
    entry: Any = None
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class WholeScene:
    """All frames of a scene, as it is closed.

    Attributes:
        start: What was known at its first frame.
        entries: What ``write_frame`` said of each frame, in their order.
        files: What was written of them, images included.
        sensors: What the manifest says of each sensor.
        metadata: Of the scene.
        item_metadata: Of the items of each frame; empty where there are none. Formats without items leave them out.
    """

    start: SceneStart
    entries: Sequence[Any]
    files: Sequence[FileRecord]
    sensors: Mapping[str, Mapping[str, Any]]
    metadata: Mapping[str, Any]
    item_metadata: Sequence[Mapping[str, Any]] = ()


class SceneReader(Protocol):
    """A sealed scene that is read frame by frame; one a format, for whoever reads scenes.

    Attributes:
        folder: Where it is.
        manifest: What it holds.
        lidar: Name of its cloud.
        cameras: Names of its cameras, in their order.
        metadata: Of the scene, as configured.
    """

    folder: Path
    manifest: Manifest
    lidar: str
    cameras: Sequence[str]
    metadata: Mapping[str, Any]

    def __len__(self) -> int:
        """Count the frames."""
        ...

    def frame(self, index: int, most_points: int | None = None) -> SceneFrame:
        """Read one frame with its points.

        Args:
            index: Which one.
            most_points: Read only this many points, the same ones each time, where that is quicker.

        Raises:
            SceneError: A file of it is missing or damaged.
        """
        ...

    def __iter__(self) -> Iterator[SceneFrame]:
        """Read all frames, one after the other."""
        ...

    def image(self, image: SceneImage) -> bytes:
        """Return an image's file.

        Raises:
            SceneError: It is missing.
        """
        ...


class Place(Protocol):
    """A file or folder that may be far away."""

    def __truediv__(self, name: str, /) -> Place:
        """Return a place in this folder."""
        ...

    def open(self, mode: Literal["rb"], /) -> BinaryIO:
        """Open a file to be read at any position."""
        ...


@dataclass(frozen=True)
class Upload:
    """What an uploader has to know of a format.

    Attributes:
        kind: What its scenes become at the service.
        claim: Name of the manifest in the object store, one a format: a scene may be there in several.
        advised_points: Points of a frame above which the service's tools become slow; 0: nothing is advised.
        advised_bytes: Size of a scene above which they do; 0: nothing is advised.
    """

    kind: UploadKind
    claim: str
    advised_points: int = field(default=0, kw_only=True)
    advised_bytes: int = field(default=0, kw_only=True)


@dataclass(frozen=True)
class TaskUpload(Upload):
    """A format whose scenes become tasks, a frame file an attachment.

    Attributes:
        attachment_type: As the service calls the format.
        frame_path: Names a frame's file by its number.
        image_paths: Lists the paths of the images that a frame file names. Raises SceneError: it is not a frame file.
        with_image_urls: Replaces those paths by URLs and nothing else. Raises SceneError: one has no URL.
    """

    attachment_type: str
    frame_path: Callable[[int], str]
    image_paths: Callable[[bytes], list[str]]
    with_image_urls: Callable[[bytes, Mapping[str, str]], bytes]

    @property
    def form(self) -> Mapping[str, str]:
        """What a request says of its attachments' form."""
        return {"attachment_type": self.attachment_type}

    def attachments(self, frames: int) -> tuple[str, ...]:
        """Name the files that a scene of so many frames has attached."""
        return tuple(map(self.frame_path, range(frames)))


@dataclass(frozen=True)
class SceneTaskUpload(Upload):
    """A format whose scenes become tasks with one attachment, which holds everything.

    Attributes:
        scene_format: As the service calls the format.
        path: The file in the scene's folder.
    """

    scene_format: str
    path: str

    @property
    def form(self) -> Mapping[str, str]:
        """What a request says of its attachment's form."""
        return {"scene_format": self.scene_format}

    def attachments(self, frames: int) -> tuple[str, ...]:
        """Name the one file, whatever the number of frames."""
        del frames
        return (self.path,)


class SceneFormat(Protocol):
    """One format of scenes. Has no state, and is pickled by reference or value to worker processes.

    One that has room for a single calibration of each camera says so by an attribute ``holds_one_calibration``, which
    is true: then a change begins a new scene. One whose scenes are bounded by their length rather than by
    ``scene.max_items`` says the length by an attribute ``longest_ns``.

    Attributes:
        name: As ``scene.format`` and the manifest say it.
        title: In a sentence: "which a ... cannot hold".
        upload: What its scenes are for, or None where no uploader takes them.
        holds_radar: Whether it has a place for radar detections; they are only counted otherwise.
        holds_annotations: Whether recorded detections become annotations of a scene; they are not read otherwise.
        holds_metadata: Whether it has a place for the scene's metadata; else the manifest keeps them.
        loses: What of a drive it does not keep, so that no other format can be made of it; empty for nothing.
        rules: What ``check`` looks at: descriptions by the rules' stable names, in the order of documentation.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - see above
    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def upload(self) -> Upload | None: ...  # noqa: D102
    @property
    def holds_radar(self) -> bool: ...  # noqa: D102
    @property
    def holds_annotations(self) -> bool: ...  # noqa: D102
    @property
    def holds_metadata(self) -> bool: ...  # noqa: D102
    @property
    def loses(self) -> str: ...  # noqa: D102
    @property
    def rules(self) -> Mapping[str, str]: ...  # noqa: D102

    def expresses(self, model: CameraModel) -> bool:
        """Return whether it can say what a camera's intrinsics are; images of others are rectified."""
        ...

    def image_path(self, camera: str, number: int, suffix: str) -> str:
        """Name an image's file in the scene's folder."""
        ...

    def write_frame(self, start: SceneStart, frame: SceneFrame, folder: OpenFolder) -> FramePart:
        """Write a frame, whose images are written already. A pure function, run by any process and in any order.

        Args:
            start: The scene.
            frame: The frame.
            folder: Where to.

        Raises:
            InputError: The frame holds what the format cannot.
        """
        ...

    def close(self, whole: WholeScene, folder: OpenFolder) -> Sequence[FileRecord]:
        """Write what completes a scene, once, after its last frame; returns all files that it consists of."""
        ...

    def read(self, folder: Path, manifest: Manifest) -> SceneReader:
        """Open a sealed scene.

        Raises:
            SceneError: It is damaged.
        """
        ...

    def track(self, folder: Place, manifest: Manifest) -> Track:
        """Read where the device was, without reading the points.

        Raises:
            OSError: A file cannot be read.
            SceneError: What it says is not a position.
        """
        ...

    def check(
        self,
        folder: SceneFolder,
        manifest: Mapping[str, object],
        listed: Mapping[str, FileRecord],
        findings: Findings,
    ) -> None:
        """Check a sealed scene against ``rules``.

        Args:
            folder: The scene's files.
            manifest: The manifest as it was parsed, whatever is in it.
            listed: The files that it lists, as far as they can be checked further.
            findings: Where the outcome goes.
        """
        ...


def image_path(camera: str, number: int, suffix: str) -> str:
    """Name an image's file as most formats do."""
    return f"{camera}/{number:06d}{suffix}"
