# SPDX-License-Identifier: Apache-2.0
"""What one camera publishes: images, the CameraInfo that goes with them, and whether the two agree."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from nucleus_bridge.convert import IMAGE, INFO
from nucleus_bridge.decode.camera_info import CameraInfo, camera_model, decode_camera_info, is_rectified_topic
from nucleus_bridge.decode.image import decode_image
from nucleus_bridge.decode.rectify import expressible
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.inspect.scan import Scan, Stream

_TRANSPORTS = ("compressed", "compressedDepth", "theora", "ffmpeg", "zstd")
_DEPTH_WORDS = ("depth", "disparity", "compressedDepth", "mask", "segmentation", "confidence")


@dataclass(frozen=True)
class CameraFacts:
    """One image topic with the calibration it is paired with.

    Attributes:
        image_topic: Its topic.
        info_topic: CameraInfo topic, or ''.
        pairing: Why these two.
        frame_id: ``header.frame_id`` of the images.
        optical_frame: What ``optical_frame`` should be; '' when the image's own frame will do.
        size: Width and height in pixels.
        encoding: ``jpeg``, ``png`` or of raw pixels.
        model: Distortion model as the scene will have it, or as published.
        rectified: Whether pictures have to be, or are, rectified: in words, or ''.
        problem: Why it cannot be used; '' when it can.
        notes: What else a person should know.
    """

    image_topic: str
    info_topic: str = ""
    pairing: str = ""
    frame_id: str = ""
    optical_frame: str = ""
    size: tuple[int, int] = (0, 0)
    encoding: str = ""
    model: str = ""
    rectified: str = ""
    problem: str = ""
    notes: tuple[str, ...] = ()


def camera_facts(scan: Scan) -> list[CameraFacts]:
    """Look at every image topic."""
    infos = scan.of_type(INFO)
    return [_facts(stream, infos, scan) for stream in scan.of_type(IMAGE)]


def base_topic(topic: str) -> str:
    """Return an image topic's namespace: without transport and without the image's own name."""
    parts = topic.strip("/").split("/")
    if parts[-1] in _TRANSPORTS:
        parts.pop()
    return "/" + "/".join(parts[:-1])


def looks_like_depth(topic: str) -> bool:
    """Tell from its name whether a topic carries something else than pictures."""
    return any(word in part for part in topic.split("/") for word in _DEPTH_WORDS)


def _facts(stream: Stream, infos: list[Stream], scan: Scan) -> CameraFacts:
    topic = stream.info.name
    frame_id = stream.frame_id
    problem, image = "no message was read", None
    for message in stream.first:
        try:
            image = decode_image(message)
            break
        except DecodeError as error:
            problem = str(error)
    info_stream, pairing = _pair(stream, infos)
    info_topic = info_stream.info.name if info_stream else ""
    if image is None:
        return CameraFacts(topic, info_topic, pairing, frame_id, problem=problem)
    facts = CameraFacts(topic, info_topic, pairing, frame_id, size=(image.width, image.height), encoding=image.encoding)
    if info_stream is None:
        return _with(
            facts,
            problem=f"no CameraInfo goes with it: record {base_topic(topic)}/camera_info, or set calibration_file "
            "to a camera_info YAML file",
        )
    return _calibrated(facts, info_stream, scan)


def _calibrated(facts: CameraFacts, info_stream: Stream, scan: Scan) -> CameraFacts:
    info: CameraInfo | None = None
    problem = f"no CameraInfo was read on {facts.info_topic}"
    for message in info_stream.first:
        try:
            info = decode_camera_info(message)
            break
        except DecodeError as error:
            problem = str(error)
    if info is None:
        return _with(facts, problem=problem)
    optical, notes = _optical_frame(facts, info, scan)
    rectified = is_rectified_topic(facts.image_topic)
    try:
        model = camera_model(info, image_width=facts.size[0], image_height=facts.size[1], rectified=rectified)
    except DecodeError as error:
        return _with(facts, problem=str(error), optical_frame=optical, notes=notes)
    how = "already rectified" if rectified else ""
    if not expressible(model):
        how = f"will be rectified: {model.model} cannot be expressed in a Nucleus scene"
    if model.scale_factor != 1.0:
        notes = (*notes, f"images are smaller than their calibration by {model.scale_factor:g}")
    return _with(facts, model=model.model, rectified=how, optical_frame=optical, notes=notes)


def _optical_frame(facts: CameraFacts, info: CameraInfo, scan: Scan) -> tuple[str, tuple[str, ...]]:
    """Choose the optical frame where the image's own frame will not do."""
    frames = set(scan.tree.frames())
    notes: tuple[str, ...] = ()
    if info.frame_id and facts.frame_id and info.frame_id != facts.frame_id:
        notes = (f"images say frame {facts.frame_id!r}, their CameraInfo {info.frame_id!r}",)
    if facts.frame_id in frames:
        optical = sorted(f for f in frames if scan.tree.parent_of(f) == facts.frame_id and "optical" in f)
        if "optical" not in facts.frame_id and len(optical) == 1:
            return optical[0], (*notes, f"{optical[0]!r} hangs below the images' frame {facts.frame_id!r}")
        return "", notes
    if info.frame_id in frames:
        return info.frame_id, (*notes, f"the images' frame {facts.frame_id!r} is in no transform, its CameraInfo's is")
    return "", notes


def _pair(stream: Stream, infos: list[Stream]) -> tuple[Stream | None, str]:
    base = base_topic(stream.info.name)
    same = [info for info in infos if info.info.name.rpartition("/")[0] == (base if base != "/" else "")]
    if same:
        return same[0], "the same namespace"
    frame = [info for info in infos if stream.frame_id and info.frame_id == stream.frame_id]
    if len(frame) == 1:
        return frame[0], f"the same frame {stream.frame_id!r}"
    near = [info for info in infos if base != "/" and info.info.name.startswith(f"{base}/")]
    if len(near) == 1:
        return near[0], "the nearest namespace"
    return None, ""


def _with(facts: CameraFacts, **changes: Any) -> CameraFacts:  # noqa: ANN401 - as ``replace`` takes them
    return replace(facts, **changes)
