# SPDX-License-Identifier: Apache-2.0
"""Choose the parameters of cameras by what their images and calibrations showed."""

from __future__ import annotations

from nucleus_bridge import warnings
from nucleus_bridge.inspect.cameras import CameraFacts, StereoMount, has_body_axes
from nucleus_bridge.inspect.lidars import Why
from nucleus_bridge.inspect.scan import Stream
from nucleus_bridge.inspect.suggestion import Reference, Suggestion, put_clock, put_offset


def put_camera(made: Suggestion, name: str, stream: Stream, reference: Reference, mount: StereoMount | None) -> None:
    """Choose the parameters of a camera; ``mount`` is its place beside the other one of a stereo pair."""
    facts, key, topic = made.cameras[stream.name], f"cameras.{name}", stream.name
    same = [other for other, out in made.left_out.items() if out.why is Why.SAME_CAMERA and out.other == topic]
    made.put(
        f"{key}.image_topic",
        topic,
        f"{facts.size[0]} x {facts.size[1]} {facts.encoding}, frame {facts.frame_id!r}",
        f"alternatives: {', '.join(same)}" if same else "",
    )
    made.put(f"{key}.info_topic", facts.info_topic, f"{facts.pairing}; {facts.model}", facts.rectified)
    if mount is not None:
        child = f"{name}_optical_by_baseline"
        made.put(f"{key}.optical_frame", child, "its own frame, made of the baseline in P: see mounts")
    else:
        made.put(f"{key}.optical_frame", facts.optical_frame, *(facts.notes or ("empty: the images' own frame id",)))
    if has_body_axes(made.transforms.tree, made.frames.device, facts.frame):
        finding = warnings.camera_body_frame(facts.frame, topic, f"{key}.frame_convention: body")
        made.put(f"{key}.frame_convention", "body", finding.text)
        made.findings.append(finding.remedied())
    put_clock(made, key, topic)
    _pictures(made, key, name, facts)
    if reference.stream is not None:
        put_offset(
            made,
            key,
            stream,
            reference,
            "median of image stamp - nearest sweep stamp; 95 % deviate by at most {spread:.1f} ms",
        )
    made.put(f"{key}.required", False, "true drops frames without an image of this camera")


def _pictures(made: Suggestion, key: str, name: str, facts: CameraFacts) -> None:
    topic, seen = facts.image_topic, facts.pictures
    if facts.implausible:
        made.findings.append(warnings.camera_info_implausible(facts.info_topic, facts.implausible, name))
    if facts.changes:
        made.findings.append(warnings.camera_info_changes(facts.info_topic, facts.changes, name))
    if seen.damaged:
        made.findings.append(warnings.image_damaged(topic, seen.damaged, seen.looked_at, seen.damage))
    if seen.orientation != 1:
        made.findings.append(warnings.image_orientation(topic, seen.orientation))
    if seen.largest and seen.bits < 16:
        finding = warnings.image_dark(topic, seen.largest, seen.bits, name)
        made.put(f"{key}.bit_depth", seen.bits, finding.text)
        made.findings.append(finding.remedied())
    if seen.emptiness:
        made.findings.append(warnings.image_empty(topic, seen.looked_at, seen.emptiness))
    if seen.stated_mosaic:
        text = f"its files hold a Bayer mosaic ({seen.stated_mosaic}), as their format says; colours are restored"
        made.findings.append(warnings.image_mosaic(topic, text, f"{key}.bayer: {seen.stated_mosaic}").remedied())
    elif seen.mosaics:
        finding = warnings.unsaid_mosaic(topic, seen.mosaics, f"{key}.bayer: {seen.mosaics[0]}")
        made.findings.append(finding)
        made.extras.append([f"{finding.text.partition(': ')[2]}; if so, uncomment:", finding.remedy])


def put_mounts(made: Suggestion, mounts: dict[str, StereoMount]) -> None:
    """Write the mounts of stereo pairs in one frame."""
    names = []
    for topic, mount in mounts.items():
        name = made.camera_names[topic]
        child, key = f"{name}_optical_by_baseline", f"mounts.{name}"
        finding = warnings.stereo_one_frame(
            topic,
            mount.frame,
            mount.baseline_m,
            f"cameras.{name}.optical_frame: {child}, mount_names: [{name}], {key}.parent_frame: {mount.frame}, "
            f"{key}.child_frame: {child}, {key}.xyz: {list(mount.xyz)}",
        )
        names.append(name)
        made.put("mount_names", list(names), "mounts that no transform says")
        made.put(f"{key}.parent_frame", mount.frame, finding.text)
        made.put(f"{key}.child_frame", child)
        made.put(f"{key}.xyz", list(mount.xyz), f"the baseline: {mount.baseline_m:.4f} m")
        if abs(mount.quaternion_xyzw[3]) < 1.0 - 1e-9:
            made.put(f"{key}.quaternion_xyzw", list(mount.quaternion_xyzw), "both rectifications R taken back")
        made.findings.append(finding.remedied())
