# SPDX-License-Identifier: Apache-2.0
"""Sensor-fusion scenes as formats: one file a frame, JSON or protocol buffers, and image files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats import point_json
from nucleus_bridge.formats.content import Buffer, SceneFrame, Track
from nucleus_bridge.formats.interface import (
    FramePart,
    OpenFolder,
    Place,
    SceneFormat,
    SceneReader,
    SceneStart,
    TaskUpload,
    WholeScene,
    image_path,
)
from nucleus_bridge.formats.point_reading import POINT_RULES
from nucleus_bridge.formats.reading import json_track
from nucleus_bridge.formats.sensor_fusion import frame_json, frame_protobuf, point_protobuf
from nucleus_bridge.formats.sensor_fusion.frame_file import (
    COEFFICIENTS,
    FRAME_FOLDER,
    ReadFrame,
    read_json_frame,
    read_protobuf_frame,
)
from nucleus_bridge.formats.sensor_fusion.lidar_frame import protobuf_track
from nucleus_bridge.model import CameraModel
from nucleus_bridge.spool.manifest import FileRecord, Manifest

if TYPE_CHECKING:
    from nucleus_bridge.formats.rules.findings import Findings
    from nucleus_bridge.formats.rules.folder import SceneFolder

PointEncoder = Callable[..., Buffer]


@dataclass(frozen=True)
class SensorFusionFormat:
    """Scenes for lidar annotation tasks, in one of two encodings.

    Attributes:
        suffix: How frame files end.
        attachment_type: As the service calls the encoding.
        encode_points: Points to bytes, by columns.
        encode_frame: A frame and its points' bytes to a document in pieces.
        read_file: A document to what it says.
        image_urls: Lists the ``image_url`` of every image of a document.
        replace_image_urls: Replaces them.
        read_track: Reads where the device was from frame files.
        keys_are_ordered: Whether a document has its keys in an order.
        form_rules: The rules of a point's form that the encoding does not keep by itself.
        loses: What the encoding does not keep.
    """

    name: str
    suffix: str
    attachment_type: str
    encode_points: PointEncoder
    encode_frame: Callable[[SceneFrame, Buffer], Sequence[Buffer]]
    read_file: ReadFrame
    image_urls: Callable[[bytes], list[str]]
    replace_image_urls: Callable[[bytes, Callable[[str], str]], bytes]
    read_track: Callable[[Place, Sequence[str]], Track]
    keys_are_ordered: bool
    form_rules: tuple[str, ...]
    loses: str = ""

    title = "sensor-fusion scene"
    holds_radar = True
    holds_annotations = False
    holds_metadata = False

    @property
    def upload(self) -> TaskUpload:
        """What its scenes are for."""
        return TaskUpload(
            "annotation_task",
            f"manifest.{self.name}.json",
            self.attachment_type,
            self.frame_path,
            self.image_urls,
            self.with_image_urls,
        )

    @property
    def rules(self) -> Mapping[str, str]:
        """What ``check`` looks at."""
        from nucleus_bridge.formats.sensor_fusion.rules import FUSION_RULES  # noqa: PLC0415 - not while rendering

        return FUSION_RULES

    def expresses(self, model: CameraModel) -> bool:
        """Return whether it can say what a camera's intrinsics are."""
        return model.model in COEFFICIENTS

    def image_path(self, camera: str, number: int, suffix: str) -> str:
        """Name an image's file."""
        return image_path(camera, number, suffix)

    def frame_path(self, number: int) -> str:
        """Name a frame's file."""
        return f"{FRAME_FOLDER}/{number:06d}{self.suffix}"

    def write_frame(self, start: SceneStart, frame: SceneFrame, folder: OpenFolder) -> FramePart:
        """Write the frame's file."""
        del start
        document = self.encode_frame(frame, self.encode_points(**frame.points.columns()))
        return FramePart((folder.write(self.frame_path(frame.number), document),))

    def close(self, whole: WholeScene, folder: OpenFolder) -> Sequence[FileRecord]:
        """Add nothing: the manifest says the rest."""
        del folder
        return tuple(whole.files)

    def read(self, folder: Path, manifest: Manifest) -> SceneReader:
        """Open a sealed scene."""
        from nucleus_bridge.formats.sensor_fusion.reader import SensorFusionReader  # noqa: PLC0415 - not while rendering

        return SensorFusionReader(folder, manifest, self.read_file, is_exact=not self.loses)

    def track(self, folder: Place, manifest: Manifest) -> Track:
        """Read where the device was."""
        paths = [record.path for record in manifest.files if record.path.startswith(f"{FRAME_FOLDER}/")]
        return self.read_track(folder, paths)

    def check(
        self,
        folder: SceneFolder,
        manifest: Mapping[str, object],
        listed: Mapping[str, FileRecord],
        findings: Findings,
    ) -> None:
        """Check a sealed scene."""
        from nucleus_bridge.formats.sensor_fusion.rules import Encoding, check_fusion  # noqa: PLC0415 - as above

        encoding = Encoding(self.suffix, self.read_file, self.form_rules, self.keys_are_ordered)
        check_fusion(folder, manifest, listed, findings, encoding)

    def with_image_urls(self, document: bytes, urls: Mapping[str, str]) -> bytes:
        """Replace every ``image_url`` of a frame and nothing else: points are neither decoded nor encoded.

        Args:
            document: A frame file.
            urls: The URL of each image by its path in the scene; further entries are ignored.

        Raises:
            SceneError: An image is not in ``urls``, or the file is not a frame of this format.
        """

        def url_of(path: str) -> str:
            if path not in urls:
                raise SceneError(f"the frame names the image {path!r}, which has no URL")
            return urls[path]

        return self.replace_image_urls(document, url_of)


SENSOR_FUSION_JSON: SceneFormat = SensorFusionFormat(
    "sensor_fusion_json",
    ".json",
    "json",
    point_json.encode_points,
    frame_json.encode_frame,
    read_json_frame,
    frame_json.image_urls,
    frame_json.replace_image_urls,
    json_track,
    keys_are_ordered=True,
    form_rules=tuple(POINT_RULES),
)
SENSOR_FUSION_PROTOBUF: SceneFormat = SensorFusionFormat(
    "sensor_fusion_protobuf",
    ".pb",
    "protobuf",
    point_protobuf.encode_points,
    frame_protobuf.encode_frame,
    read_protobuf_frame,
    frame_protobuf.image_urls,
    frame_protobuf.replace_image_urls,
    protobuf_track,
    keys_are_ordered=False,
    form_rules=("point-keys-and-order",),
    loses="coordinates, poses and GPS are 32-bit floats and stamps have steps of 256 ns",
)
