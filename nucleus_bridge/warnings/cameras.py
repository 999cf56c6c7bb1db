# SPDX-License-Identifier: Apache-2.0
"""Calibrations of cameras, and images."""

from __future__ import annotations

from collections.abc import Sequence

from nucleus_bridge.warnings.finding import Code, Finding, Subject, Weight, number_of


def camera_info_implausible(topic: str, why: str, name: str = "<name>") -> Finding:
    """A calibration that contradicts the image or itself."""
    return Finding(
        Code.CAMERA_INFO_IMPLAUSIBLE,
        "topic",
        topic,
        f"the calibration on {topic} is implausible: {why}",
        f"cameras.{name}.calibration_file: a camera_info YAML of this camera at this size",
    )


def camera_info_changes(topic: str, change: str, name: str = "<name>") -> Finding:
    """A calibration that becomes another one within a recording."""
    return Finding(
        Code.CAMERA_INFO_CHANGES,
        "topic",
        topic,
        f"the calibration on {topic} changes {change}; each one holds from its stamp on, the first one for all before",
        f"one calibration for the whole recording: cameras.{name}.calibration_file: a camera_info YAML of this camera",
        Weight.LOSS,
    )


def camera_body_frame(frame: str, topic: str, remedy: str) -> Finding:
    """Images in a frame whose z axis points up."""
    return Finding(
        Code.CAMERA_BODY_FRAME,
        "frame",
        frame,
        f"{topic} is in {frame!r}, whose z axis points up: a body frame (x forward), not an optical one (z forward)",
        remedy,
    )


def camera_mount(topic: str, why: str) -> Finding:
    """A camera whose mount looks wrong."""
    return Finding(
        Code.CAMERA_MOUNT, "topic", topic, f"{topic}: {why}", "look at a scene: nucleus-bridge preview SCENE"
    )


def calibration_suspect(subject: Subject, name: str, about: str, why: str, remedy: str) -> Finding:
    """A camera whose images would fit the clouds better with another calibration."""
    return Finding(
        Code.CALIBRATION_SUSPECT,
        subject,
        name,
        f"the calibration of {about} is suspect: {why}",
        remedy or "look at a scene: nucleus-bridge preview SCENE",
    )


def calibration_not_measured(subject: Subject, name: str, about: str, why: str) -> Finding:
    """A camera of which nobody knows whether it fits the clouds."""
    return Finding(
        Code.CALIBRATION_NOT_MEASURED,
        subject,
        name,
        f"the calibration of {about} was not measured: {why}",
        "look at a scene: nucleus-bridge preview SCENE; or measure it on a recording that drives past poles and walls",
        Weight.NOTE,
    )


def stereo_one_frame(topic: str, frame: str, baseline_m: float, remedy: str) -> Finding:
    """Two cameras of a stereo pair in one frame."""
    return Finding(
        Code.STEREO_ONE_FRAME,
        "topic",
        topic,
        f"{topic} is in the frame {frame!r} of the other camera of its pair, and P of its CameraInfo says that it is "
        f"{baseline_m:.3f} m beside it",
        remedy,
    )


def image_mosaic(topic: str, text: str, remedy: str) -> Finding:
    """A Bayer mosaic in an image file."""
    return Finding(Code.IMAGE_MOSAIC, "topic", topic, f"{topic}: {text}", remedy)


def unsaid_mosaic(topic: str, patterns: Sequence[str], remedy: str) -> Finding:
    """A gray picture that may be a mosaic of two patterns, the two greens of which are alike."""
    text = f"its gray pictures look like a Bayer mosaic ({' or '.join(patterns)}), which their encoding does not say"
    return image_mosaic(topic, text, remedy)


def image_orientation(topic: str, value: int) -> Finding:
    """A JPEG that tells viewers to turn it."""
    return Finding(
        Code.IMAGE_ORIENTATION,
        "topic",
        topic,
        f"images of {topic} carry the EXIF orientation {value}, which would turn them away from their calibration; the "
        "tag is reset in what is written",
        "turn the tag off in the driver",
        Weight.NOTE,
    )


def image_damaged(topic: str, damaged: int, looked_at: int, why: str) -> Finding:
    """Images that decode in part only."""
    return Finding(
        Code.IMAGE_DAMAGED,
        "topic",
        topic,
        f"{damaged} of {looked_at} images of {topic} that were decoded are damaged: {why}",
        "nucleus-bridge convert --verify-images leaves damaged ones out",
        Weight.LOSS,
    )


def images_left_out(topic: str, count: int, why: str) -> Finding:
    """Images that are damaged and therefore in no scene."""
    return Finding(
        Code.IMAGE_DAMAGED,
        "topic",
        topic,
        f"{number_of(count, 'image')} of {topic} cannot be decoded as a whole and {'is' if count == 1 else 'are'} left "
        f"out: {why}",
        f"look at the camera's driver or link; ros2 topic bw {topic} shows what arrives",
        Weight.LOSS,
    )


def image_dark(topic: str, largest: int, bits: int, name: str = "<name>") -> Finding:
    """16-bit images that use a part of their range."""
    return Finding(
        Code.IMAGE_DARK,
        "topic",
        topic,
        f"16-bit images of {topic} have no value above {largest}: they seem to have {bits} significant bits and would "
        "come out dark",
        f"cameras.{name}.bit_depth: {bits}",
        Weight.LOSS,
    )


def camera_unused(topic: str, why: str, remedy: str) -> Finding:
    """A camera of which no image reaches a frame."""
    return Finding(
        Code.CAMERA_UNUSED, "topic", topic, f"no image of {topic} reaches a frame: {why}", remedy, Weight.LOSS
    )


_WHY_EMPTY = {
    "black": "the lens is covered, the exposure is too short, or the driver sends empty pictures",
    "white": "the exposure is too long, or the driver sends empty pictures",
}


def image_empty(topic: str, looked_at: int, what: str) -> Finding:
    """Pictures that show nothing: ``what`` is black, white or of one colour."""
    why = _WHY_EMPTY.get(what, "no camera sees that; the driver sends empty pictures")
    return Finding(
        Code.IMAGE_DARK if what == "black" else Code.IMAGE_BLANK,
        "topic",
        topic,
        f"all of {looked_at} images of {topic} that were looked at are {what}: {why}",
        "look at the camera, or leave it out of camera_names",
        Weight.LOSS,
    )
