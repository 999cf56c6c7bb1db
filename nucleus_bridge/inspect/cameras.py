# SPDX-License-Identifier: Apache-2.0
"""What is known of a recording's cameras: pictures, calibration, frame, and which topics show the same camera."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from nucleus_bridge.config import CameraConfig
from nucleus_bridge.decode import registry
from nucleus_bridge.decode.calibration_check import Versions, implausible
from nucleus_bridge.decode.camera_info import (
    CameraInfo,
    camera_model,
    decode_camera_info,
    is_rectified_topic,
    rectified_from_optical,
)
from nucleus_bridge.decode.interface import Decoder
from nucleus_bridge.errors import CalibrationError, DecodeError, MissingExtraError, TransformError
from nucleus_bridge.formats import registry as scene_formats
from nucleus_bridge.geometry import TransformTree, quaternion
from nucleus_bridge.geometry.optical import view_of
from nucleus_bridge.inspect.clouds import with_stamp
from nucleus_bridge.inspect.lidars import LeftOut, Why
from nucleus_bridge.inspect.pictures import NOT_LOOKED_AT, PictureFacts, picture_facts
from nucleus_bridge.inspect.scan import Scan, Stream
from nucleus_bridge.inspect.transforms import Transforms
from nucleus_bridge.model import FloatArray, Image

_TRANSPORTS = ("compressed", "compressedDepth", "theora", "ffmpeg", "zstd", "h264", "h265", "foxglove", "video")
_OTHER_WORDS = ("disparity", "mask", "segmentation", "confidence")
_DEPTH_WORDS = ("depth", "compressedDepth", *_OTHER_WORDS)
_FILES = ("jpeg", "png")
_BODY_COSINE = 0.9
_SAME_BASELINE_M = 0.005
_MOST_INFOS = 200


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
        why: Why it cannot be used, or None.
        problem: The same in words; '' when it can.
        info: The calibration.
        implausible: What contradicts the pictures in it, or ''.
        changes: How the calibration changes within the recording, or ''.
        pictures: What a sample of its pictures shows.
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
    why: Why | None = None
    problem: str = ""
    info: CameraInfo | None = None
    implausible: str = ""
    changes: str = ""
    pictures: PictureFacts = NOT_LOOKED_AT
    notes: tuple[str, ...] = ()

    @property
    def frame(self) -> str:
        """The frame that its pictures are taken to be in."""
        return self.optical_frame or self.frame_id


def camera_facts(scan: Scan, transforms: Transforms) -> list[CameraFacts]:
    """Look at every image topic."""
    infos = scan.of_kind("calibration")
    return [_facts(stream, infos, transforms) for stream in scan.of_kind("image")]


def infos_without_images(scan: Scan, cameras: list[CameraFacts]) -> list[str]:
    """Return the CameraInfo topics whose images were not recorded."""
    paired = {facts.info_topic for facts in cameras}
    spaces = {base_topic(facts.image_topic) for facts in cameras}
    return [
        stream.name
        for stream in scan.of_kind("calibration")
        if stream.name not in paired and (stream.name.rpartition("/")[0] or "/") not in spaces
    ]


def choose_cameras(cameras: Mapping[str, CameraFacts]) -> tuple[list[str], dict[str, LeftOut]]:
    """Choose one image topic of each camera; say of the others why not."""
    left: dict[str, LeftOut] = {}
    groups: dict[str, list[str]] = {}
    for topic, facts in cameras.items():
        if looks_like_depth(topic) or facts.why is Why.NO_PICTURE:
            what = "a depth image" if holds_depth(topic, facts) else "depth or something else than a picture"
            left[topic] = LeftOut(Why.NO_PICTURE, what)
        elif facts.why is not None:
            left[topic] = LeftOut(facts.why, facts.problem)
        else:
            groups.setdefault(base_topic(topic), []).append(topic)
    chosen = []
    for topics in groups.values():
        topics.sort(key=lambda topic: (cameras[topic].encoding not in _FILES, "rect" in topic, topic))
        chosen.append(topics[0])
        for other in topics[1:]:
            left[other] = LeftOut(Why.SAME_CAMERA, f"the same camera as {topics[0]}", topics[0])
    return sorted(chosen), left


def base_topic(topic: str) -> str:
    """Return an image topic's namespace: without transport and without the image's own name."""
    parts = topic.strip("/").split("/")
    if len(parts) > 1 and parts[-1] in _TRANSPORTS:
        parts.pop()
    return "/" + "/".join(parts[:-1])


def looks_like_depth(topic: str) -> bool:
    """Tell from its name whether a topic carries something else than pictures."""
    return any(word in part for part in topic.split("/") for word in _DEPTH_WORDS)


def holds_depth(topic: str, facts: CameraFacts) -> bool:
    """Tell whether clouds can be made of a topic: by its encoding, unless it is named for something else."""
    if topic.endswith("/compressedDepth"):
        return True
    return facts.encoding in ("16UC1", "32FC1") and not any(word in topic for word in _OTHER_WORDS)


def has_body_axes(tree: TransformTree, device_frame: str, frame: str) -> bool:
    """Whether a camera's frame has x forward and z up, so that its pictures would look to the sky."""
    try:
        pose = tree.lookup(device_frame, frame, 0)
    except TransformError:
        return False
    up = quaternion.rotate(pose.rotation_xyzw, np.array([0.0, 0.0, 1.0]))[2]
    return bool(up > _BODY_COSINE) and not view_of(pose.rotation_xyzw).is_upright and "optical" not in frame


class StereoMount(NamedTuple):
    """Where the second camera of a stereo pair is, in the frame that both claim."""

    frame: str
    baseline_m: float
    xyz: tuple[float, float, float]
    quaternion_xyzw: tuple[float, float, float, float]


def stereo_mounts(cameras: Mapping[str, CameraFacts], chosen: list[str]) -> dict[str, StereoMount]:
    """Find cameras that claim the frame of another one, while P of their CameraInfo tells a baseline.

    P is that of rectified pictures. For raw ones both rectifications R are taken back.
    """
    found = {}
    for topic in chosen:
        facts, info = cameras[topic], cameras[topic].info
        partners = [cameras[other] for other in chosen if other != topic and cameras[other].frame == facts.frame]
        if info is None or not partners or not info.p[0]:
            continue
        baseline = -info.p[3] / info.p[0]
        partner = next((p for p in partners if p.info and p.info.p[0] and not _baseline(p.info)), None)
        if partner is None or abs(baseline) < _SAME_BASELINE_M:
            continue
        mount = _stereo_mount(facts, partner, baseline)
        if mount is not None:
            found[topic] = mount
    return found


def _baseline(info: CameraInfo) -> float:
    baseline = -info.p[3] / info.p[0]
    return baseline if abs(baseline) >= _SAME_BASELINE_M else 0.0


def _stereo_mount(facts: CameraFacts, partner: CameraFacts, baseline: float) -> StereoMount | None:
    shift = np.array([baseline, 0.0, 0.0])
    try:
        own, other = (_rectification(one) for one in (facts, partner))
    except CalibrationError:
        return None
    # other_raw <- other_rectified <- own_rectified <- own_raw
    xyz = quaternion.rotate(quaternion.conjugate(other), shift)
    turn = quaternion.multiply(quaternion.conjugate(other), own)
    x, y, z = (round(float(value), 6) for value in xyz)
    q = [round(float(value), 9) for value in turn]
    return StereoMount(facts.frame, baseline, (x, y, z), (q[0], q[1], q[2], q[3]))


def _rectification(facts: CameraFacts) -> FloatArray:
    """Return by which rotation the rectified camera is turned against the pictures at hand, x y z w."""
    turn = None if facts.info is None or is_rectified_topic(facts.image_topic) else rectified_from_optical(facts.info)
    return np.array([0.0, 0.0, 0.0, 1.0]) if turn is None else quaternion.from_matrix(np.array(turn).reshape(3, 3))


def _facts(stream: Stream, infos: list[Stream], transforms: Transforms) -> CameraFacts:
    topic, frame_id = stream.name, stream.frame_id
    image, problem, cause = _first_image(stream)
    info_stream, pairing = _pair(stream, infos)
    facts = CameraFacts(topic, info_stream.name if info_stream else "", pairing, frame_id)
    if image is None:
        why = Why.NO_PICTURE if cause == "unknown_encoding" and looks_like_depth(topic) else Why.BROKEN
        return replace(facts, why=why, problem=problem)
    pictures = picture_facts(stream)
    facts = replace(facts, size=(image.width, image.height), encoding=image.encoding, pictures=pictures)
    if pictures.is_depth:
        return replace(facts, why=Why.NO_PICTURE, problem="a depth image: 16 bits of distance, not a picture")
    if info_stream is None:
        return replace(
            facts,
            why=Why.NO_CALIBRATION,
            problem=f"no CameraInfo goes with it: record {base_topic(topic)}/camera_info, or set calibration_file "
            "to a camera_info YAML file",
        )
    return _calibrated(facts, info_stream, transforms)


def _first_image(stream: Stream) -> tuple[Image | None, str, str]:
    """Decode messages in their order until one makes a picture."""
    interface = registry.interface_of(stream.info.type_name, "image")
    if interface is None:
        return None, "no message was read", ""
    try:
        return _first_of(interface.decoder(CameraConfig("inspect", stream.name)), stream)
    except MissingExtraError as error:
        return None, str(error), "missing_extra"


def _first_of(decoder: Decoder, stream: Stream) -> tuple[Image | None, str, str]:
    problem, cause = "no message was read", ""
    for message in stream.first:
        if stream.stamps and stream.stamps[0] == 0:
            message = with_stamp(message, message.log_ns)  # noqa: PLW2901 - the driver sets none
        try:
            for image in decoder.decode(message):
                if isinstance(image, Image):
                    return image, "", ""
        except DecodeError as error:
            problem, cause = str(error), error.cause
    return None, problem, cause


def _versions(stream: Stream) -> Versions:
    """Look through the calibrations among the messages that were kept."""
    versions = Versions()
    for message in stream.samples.messages[:_MOST_INFOS]:
        try:
            versions.add(decode_camera_info(message))
        except DecodeError:
            continue
    return versions


def _calibrated(facts: CameraFacts, info_stream: Stream, transforms: Transforms) -> CameraFacts:
    rectified = is_rectified_topic(facts.image_topic)
    info, problem = _first_calibrated(info_stream, rectified=rectified)
    if info is None:
        return replace(facts, why=Why.NO_CALIBRATION, problem=problem)
    optical, notes = _optical_frame(facts, info, transforms)
    width, height = facts.size
    versions = _versions(info_stream)
    facts = replace(
        facts,
        info=info,
        optical_frame=optical,
        notes=notes,
        implausible=implausible(info, width, height, rectified=rectified) or versions.contradiction,
        changes="" if versions.contradiction else versions.change,
    )
    try:
        model = camera_model(info, image_width=width, image_height=height, rectified=rectified)
    except DecodeError as error:
        return replace(facts, why=Why.NO_CALIBRATION, problem=str(error))
    how = "already rectified" if rectified else ""
    written = scene_formats.of(scene_formats.DEFAULT)
    if not written.expresses(model):
        how = f"will be rectified: {model.model} cannot be expressed in a {written.title}"
    if model.scale_factor != 1.0:
        notes = (*notes, f"images are smaller than their calibration by {model.scale_factor:g}")
    return replace(facts, model=model.model, rectified=how, notes=notes)


def _first_calibrated(stream: Stream, *, rectified: bool) -> tuple[CameraInfo | None, str]:
    """Return the first calibration with focal lengths, else the first one; and why there is none."""
    found: CameraInfo | None = None
    problem = f"no CameraInfo was read on {stream.name}"
    for message in (*stream.first, *stream.samples.messages[:_MOST_INFOS]):
        try:
            info = decode_camera_info(message)
        except DecodeError as error:
            problem = str(error) if found is None else problem
            continue
        if (info.p if rectified else info.k)[0] > 0.0:
            return info, ""
        found = found or info
    return found, problem


def _optical_frame(facts: CameraFacts, info: CameraInfo, transforms: Transforms) -> tuple[str, tuple[str, ...]]:
    """Choose the optical frame where the image's own frame will not do."""
    tree = transforms.tree
    frames = set(tree.frames())
    notes: tuple[str, ...] = ()
    if info.frame_id and facts.frame_id and info.frame_id != facts.frame_id:
        notes = (f"images say frame {facts.frame_id!r}, their CameraInfo {info.frame_id!r}",)
    if facts.frame_id in frames:
        optical = sorted(f for f in frames if tree.parent_of(f) == facts.frame_id and "optical" in f)
        if "optical" not in facts.frame_id and len(optical) == 1:
            return optical[0], (*notes, f"{optical[0]!r} hangs below the images' frame {facts.frame_id!r}")
        return "", notes
    if info.frame_id in frames:
        return info.frame_id, (*notes, f"the images' frame {facts.frame_id!r} is in no transform, its CameraInfo's is")
    return "", notes


def _pair(stream: Stream, infos: list[Stream]) -> tuple[Stream | None, str]:
    base = base_topic(stream.name)
    same = [info for info in infos if info.name.rpartition("/")[0] == (base if base != "/" else "")]
    if same:
        return same[0], "the same namespace"
    frame = [info for info in infos if stream.frame_id and info.frame_id == stream.frame_id]
    if len(frame) == 1:
        return frame[0], f"the same frame {stream.frame_id!r}"
    near = [info for info in infos if base != "/" and info.name.startswith(f"{base}/")]
    if len(near) == 1:
        return near[0], "the nearest namespace"
    return None, ""
