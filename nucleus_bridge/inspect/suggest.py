# SPDX-License-Identifier: Apache-2.0
"""Choose a configuration by what a recording showed: sensors, frames, clocks, offsets, each with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from nucleus_bridge import warnings
from nucleus_bridge.config import Config, config_from_values
from nucleus_bridge.config.settings import SyncConfig, TransformsConfig
from nucleus_bridge.decode.unreadable import unreadable
from nucleus_bridge.errors import TransformError
from nucleus_bridge.geometry import quaternion
from nucleus_bridge.inspect.cameras import (
    CameraFacts,
    StereoMount,
    camera_facts,
    choose_cameras,
    has_body_axes,
    holds_depth,
    infos_without_images,
    stereo_mounts,
)
from nucleus_bridge.inspect.clocks import Clocks, Given, Limits, compare_clocks
from nucleus_bridge.inspect.clouds import CloudFacts, cloud_facts, radar_problem, usable_points
from nucleus_bridge.inspect.frozen import frozen_in_scan
from nucleus_bridge.inspect.lidars import LeftOut, Why, choose_lidars, derived_findings, names_for
from nucleus_bridge.inspect.mounting import forward_deg
from nucleus_bridge.inspect.point_times import Times
from nucleus_bridge.inspect.poses import Frames, choose_frames, with_description, with_poses
from nucleus_bridge.inspect.satellites import fixes_of, judge_satellites, positions_of
from nucleus_bridge.inspect.scan import Scan, Stream
from nucleus_bridge.inspect.seam import Seam, open_seam
from nucleus_bridge.inspect.sweeps import Parts, corrected_by_evidence, corrected_by_name, find_parts, poses_in
from nucleus_bridge.inspect.transforms import Transforms, find_transforms, other_robots, transform_findings
from nucleus_bridge.inspect.units import UNIT_NAMES, mounted_height, scale_of
from nucleus_bridge.model import FloatArray, IntArray
from nucleus_bridge.pipeline.ground_motion import GroundMotion
from nucleus_bridge.warnings import Code, Finding

_SYNC = SyncConfig()
_MAX_TRACK = 200
_LEAST_SECTORS = 6  # of eight, that a lidar which turns sees something in
_WRONG_POSES = (Code.TF_CONFLICT, Code.TF_IMPLAUSIBLE, Code.POSE_INVERSE)


@dataclass
class Suggestion:
    """A configuration for a recording and how it came about.

    Attributes:
        values: Parameters by dotted name.
        reasons: Comment lines by dotted name.
        extras: Lines that only need to be uncommented, each group with its reason first.
        frames: World, device and what is missing between them.
        transforms: The transforms that the sensors hang from.
        clocks: What the comparison of clocks gave.
        findings: Warnings.
        missing: What stands in the way of a full scene, and how to get it.
        lidars: What was seen of each cloud topic.
        cameras: What was seen of each image topic.
        names: Name of each chosen topic, by group (``lidars``, ``cameras``, ``radars``).
        left_out: Why a sensor topic was not chosen.
    """

    transforms: Transforms
    values: dict[str, object] = field(default_factory=dict)
    reasons: dict[str, list[str]] = field(default_factory=dict)
    extras: list[list[str]] = field(default_factory=list)
    frames: Frames = field(default_factory=Frames)
    clocks: Clocks = field(default_factory=Clocks)
    findings: list[Finding] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    lidars: dict[str, CloudFacts] = field(default_factory=dict)
    cameras: dict[str, CameraFacts] = field(default_factory=dict)
    radars: dict[str, int] = field(default_factory=dict)
    names: dict[str, dict[str, str]] = field(default_factory=dict)
    left_out: dict[str, LeftOut] = field(default_factory=dict)

    @property
    def lidar_names(self) -> dict[str, str]:
        """Name of each chosen cloud topic."""
        return self.names.get("lidars", {})

    @property
    def camera_names(self) -> dict[str, str]:
        """Name of each chosen image topic."""
        return self.names.get("cameras", {})

    def config(self) -> Config | None:
        """Return the checked configuration; None when there is no lidar to build on."""
        return config_from_values(self.values) if self.lidar_names else None

    def put(self, key: str, value: object, *reasons: str) -> None:
        """Choose a value for a reason."""
        self.values[key] = value
        self.reasons[key] = [reason for reason in reasons if reason]

    def section_of(self, topic: str) -> str:
        """Return the section of the configuration that a topic has, such as ``lidars.top``, or ''."""
        return next((f"{group}.{names[topic]}" for group, names in self.names.items() if topic in names), "")


def suggest(scan: Scan) -> Suggestion:
    """Choose a configuration by what a scan saw."""
    clouds = {stream.name: stream for stream in scan.of_kind("cloud")}
    sensors = [*clouds.values(), *scan.of_kind("image"), *scan.of_kind("radar")]
    facts = {topic: cloud_facts(stream, scan.companions) for topic, stream in clouds.items()}
    transforms = _transforms(scan, sensors, 0)
    facts = {topic: _in_metres(found, clouds[topic].frame_id, transforms) for topic, found in facts.items()}
    made = Suggestion(transforms, lidars=facts)
    moving = _moving_frames(transforms, sensors)
    poses = {stream.name: Given("poses.ego") for stream in scan.of_kind("pose")}
    made.clocks = compare_clocks(scan, transforms, made.lidars, moving, Limits(_SYNC.wait_s), poses)
    if made.clocks.transforms_offset_ms:
        offset_ns = round(made.clocks.transforms_offset_ms * 1e6)
        made.transforms = transforms = _transforms(scan, sensors, offset_ns)
    robots = other_robots(scan, transforms)
    own = {topic: facts for topic, facts in made.lidars.items() if not _robot_of(topic, robots)}
    chosen, made.left_out = choose_lidars(scan, transforms, own)
    made.cameras = {facts.image_topic: facts for facts in camera_facts(scan, transforms)}
    pictures, left = choose_cameras({t: facts for t, facts in made.cameras.items() if not _robot_of(t, robots)})
    made.left_out.update(left)
    for topic in (*made.lidars, *made.cameras):
        if robot := _robot_of(topic, robots):
            made.left_out[topic] = LeftOut(
                Why.OTHER_ROBOT, f"of another robot, whose transforms are on {robots[robot]}"
            )
    _missing(made, scan, chosen)
    made.frames = choose_frames(scan, transforms, clouds[chosen[0]] if chosen else None)
    made.findings += made.clocks.findings
    made.findings += transform_findings(transforms, moving)
    made.findings += derived_findings(made.left_out)
    _name_sensors(made, scan, chosen, pictures)
    _frames(made)
    reference = _Reference(made, scan, chosen)
    made.put("lidar_names", list(made.lidar_names.values()), _order_reason(chosen))
    for topic, name in made.lidar_names.items():
        _lidar(made, name, clouds[topic], reference)
    if made.camera_names:
        made.put("camera_names", list(made.camera_names.values()))
    mounts = stereo_mounts(made.cameras, list(made.camera_names))
    for topic, name in made.camera_names.items():
        _camera(made, name, scan.streams[topic], reference, mounts.get(topic))
    _radars(made, scan, reference)
    _mounts(made, mounts)
    _unmounted(made, scan)
    _forward_steps(made)
    doubtful = {f.name for f in made.findings if f.code is warnings.Code.SENSOR_CLOCK}
    late = [f for f in made.findings if f.code is warnings.Code.LATE_MESSAGES and f.name not in doubtful]
    if late:
        made.put("sync.wait_s", max(float(f.remedy.partition(": ")[2]) for f in late), late[0].text)
    _gps(made, scan)
    _note_motion(made, scan)
    _frozen(made, scan)
    _point_fields(made)
    made.findings = [_addressed(made, finding) for finding in made.findings]
    return made


def _in_metres(facts: CloudFacts, frame: str, transforms: Transforms) -> CloudFacts:
    """Return what clouds show in metres, where a lidar writes another unit."""
    if facts.is_radar:
        return facts
    scale = scale_of(facts.clouds, mounted_height(transforms.tree, frame))
    return facts if scale == 1.0 else facts.scaled(scale)


def _robot_of(topic: str, robots: Mapping[str, str]) -> str:
    """Return the namespace of another robot that a topic is in, or ''."""
    return next((space for space in robots if topic.startswith(f"{space}/")), "")


def _transforms(scan: Scan, sensors: list[Stream], offset_ns: int) -> Transforms:
    """Put together what says where frames are: transforms, then a robot description, then a topic of poses."""
    found = with_description(scan, find_transforms(scan, sensors, offset_ns=offset_ns))
    return with_poses(scan, found, sensors)


def _moving_frames(transforms: Transforms, sensors: Iterable[Stream]) -> list[str]:
    """Return the child frames of every moving edge above a sensor; where sensors hang from none, of every one."""
    found: dict[str, None] = {}
    for stream in sensors:
        found.update(dict.fromkeys(transforms.moving_above(stream.frame_id)))
    return list(found) or sorted({track.child for track in transforms.tracks if not track.static})


def _missing(made: Suggestion, scan: Scan, chosen: list[str]) -> None:
    if not chosen:
        strange = [
            f"{stream.name} is {stream.info.type_name}: {known.remedy}"
            for stream in scan.streams.values()
            if stream.info.encoding == "cdr"
            and stream.info.count
            and (known := unreadable(stream.info.type_name)) is not None
            and known.kind == "cloud"
        ]
        strange += [
            f"{topic} is a depth image, of which clouds are made where it is configured: lidar_names: [depth], "
            f"lidars.depth.topic: {topic}"
            for topic, facts in made.cameras.items()
            if holds_depth(topic, facts)
        ]
        more = f" ({'; '.join(strange)})" if strange else ""
        made.missing.append(f"a lidar: no topic has usable clouds, and every frame needs one{more}")
    problems: dict[str, list[str]] = {}
    for topic, out in made.left_out.items():
        if topic in made.cameras and out.why in (Why.BROKEN, Why.NO_CALIBRATION):
            space = topic.rpartition("/")[0] or topic
            problems.setdefault(out.text.replace(space, "<their namespace>"), []).append(topic)
            facts = made.cameras[topic]
            if out.why is Why.NO_CALIBRATION and facts.info_topic:
                made.findings.append(warnings.camera_info_implausible(facts.info_topic, facts.implausible or out.text))
    made.missing += [f"{', '.join(topics)}: {problem}" for problem, topics in problems.items()]
    for topic in infos_without_images(scan, list(made.cameras.values())):
        made.missing.append(f"{topic}: a calibration was recorded, the images that it belongs to were not")


def _name_sensors(made: Suggestion, scan: Scan, chosen: list[str], pictures: list[str]) -> None:
    taken = {"lidar"} if len(chosen) > 1 else set()
    made.names["lidars"] = names_for(chosen, "lidar", taken)
    taken = set(made.lidar_names.values()) | {"lidar"}
    made.names["cameras"] = names_for(pictures, "camera", taken)
    taken |= set(made.camera_names.values())
    radars = []
    for stream in scan.of_kind("radar"):
        topic = stream.name
        if topic in made.lidars and not made.lidars[topic].is_radar:
            continue
        problem, made.radars[topic] = radar_problem(stream)
        if problem:
            made.left_out[topic] = LeftOut(Why.BROKEN, problem)
        else:
            made.left_out.pop(topic, None)
            radars.append(topic)
    made.names["radars"] = names_for(radars, "radar", taken)


def _order_reason(chosen: list[str]) -> str:
    if len(chosen) < 2:
        return ""
    return f"the first has the most points a sweep and sets the frames; all {len(chosen)} are merged into one cloud"


def _frames(made: Suggestion) -> None:
    frames, transforms = made.frames, made.transforms
    if not made.lidar_names:
        return
    made.put("world_frame", frames.world, *frames.world_reasons)
    made.put("device_frame", frames.device, *frames.device_reasons)
    made.findings += frames.findings
    made.missing[:0] = frames.missing
    made.extras += frames.extras
    for key, value, reason in frames.values:
        made.put(key, value, reason)
    if not transforms.is_default:
        if transforms.topics:
            made.put("transforms.topics", list(transforms.topics), "the transforms that the sensors hang from")
        if transforms.static_topics:
            made.put("transforms.static_topics", list(transforms.static_topics), "their mounts")
    if transforms.description and transforms.description != TransformsConfig().urdf_topic:
        made.put("transforms.urdf", transforms.description, "it knows mounts that no transform says")
    offset = made.clocks.transforms_offset_ms
    if offset:
        made.put("transforms.clock_offset_ms", offset, made.clocks.transforms_reason)
        made.findings[:] = [
            f.remedied() if f.code is warnings.Code.TF_CLOCK and f.is_proven else f for f in made.findings
        ]


class _Reference:
    """The stamps that frames will have."""

    def __init__(self, made: Suggestion, scan: Scan, chosen: list[str]) -> None:
        self.stream = scan.streams[chosen[0]] if chosen else None
        self.times: IntArray = np.empty(0, np.int64)
        self.period_ns = 0.0
        self.parts: dict[str, Parts] = {}
        for topic in chosen:
            parts = find_parts(made.lidars[topic], scan.streams[topic].period_ns)
            if parts is not None:
                self.parts[topic] = parts
        if self.stream is None:
            return
        self.times = np.sort(made.clocks.corrected(self.stream))
        if self.stream.name in self.parts and len(self.times):
            groups = self.times // round(self.parts[self.stream.name].turn_ms * 1e6)
            self.times = self.times[np.append(True, np.diff(groups) > 0)]
        self.period_ns = float(np.median(np.diff(self.times))) if len(self.times) > 1 else 0.0


def _forward_steps(made: Suggestion) -> None:
    """End scenes where a clock was set forward: nothing is interpolated across a gap of that length."""
    key, _, limit = next((f.remedy for f in made.clocks.forward_steps if f.remedy.startswith("scene.")), "").partition(
        ": "
    )
    if limit:
        made.put(key, float(limit), made.clocks.forward_steps[0].text)
    made.findings += [f.remedied() if limit else f for f in made.clocks.forward_steps]


def _clock(made: Suggestion, key: str, topic: str) -> None:
    correction = made.clocks.corrections.get(topic)
    if correction is None:
        return
    if correction.by_log:
        made.put(f"{key}.stamp_source", "log", correction.reason)
    elif correction.offset_ms:
        made.put(f"{key}.clock_offset_ms", correction.offset_ms, correction.reason)


def _lidar(made: Suggestion, name: str, stream: Stream, reference: _Reference) -> None:
    facts, key, topic = made.lidars[stream.name], f"lidars.{name}", stream.name
    others = [f"{other} ({out.text})" for other, out in made.left_out.items() if other in made.lidars]
    made.put(
        f"{key}.topic",
        topic,
        f"{facts.points} points a sweep, frame {stream.frame_id!r}",
        f"left out: {'; '.join(others)}" if others else "",
    )
    _clock(made, key, topic)
    if facts.scale != 1.0:
        finding = warnings.cloud_units(topic, UNIT_NAMES[facts.scale], f"{key}.scale: {facts.scale}")
        made.put(f"{key}.scale", facts.scale, finding.text)
        made.findings.append(finding.remedied())
    made.put(f"{key}.intensity_field", facts.intensity_field, facts.intensity_reason)
    made.put(f"{key}.intensity_max", facts.intensity_max)
    _point_times(made, key, stream, facts)
    _moment(made, key, topic)
    _deskewed(made, key, topic, facts)
    parts = reference.parts.get(topic)
    if parts is not None:
        line = f"{key}.accumulate_ms: {parts.turn_ms}"
        finding = warnings.sweep_in_parts(topic, parts.count, parts.degrees, line)
        made.put(f"{key}.accumulate_ms", parts.turn_ms, finding.text)
        made.findings.append(finding.remedied())
    if stream is not reference.stream:
        _pair(made, key, stream, reference, "median of its stamps against the first lidar's, spread {spread:.1f} ms")


def _point_times(made: Suggestion, key: str, stream: Stream, facts: CloudFacts) -> None:
    times, topic = facts.times, stream.name
    period_ms = stream.period_ns / 1e6
    usable = times.verdict is Times.GOOD
    made.put(f"{key}.time_field", times.field if usable else "none", str(times), *facts.notes)
    if usable:
        reference = "absolute" if times.is_absolute else "stamp"
        turn = f" of {period_ms:.1f} ms" if period_ms else ""
        made.put(f"{key}.time_unit", times.unit, f"with it a sweep takes {times.span_ms:.1f} ms{turn}")
        made.put(f"{key}.time_reference", reference)
    if times.verdict is Times.NO_UNIT:
        span = f"{times.raw[0]:g} to {times.raw[1]:g}"
        finding = warnings.point_time_span(topic, times.field, span, period_ms, f"{key}.time_field: none")
        made.findings.append(finding)
    elif times.verdict is Times.CONSTANT and _turns(topic, facts):
        remedy = f"{key}.time_field: none, if its driver cannot write them"
        made.findings.append(warnings.point_times_equal(topic, times.field, period_ms, remedy))
    elif times.verdict is Times.FAR:
        apart = times.first_ms if times.first_ms > 0 else times.last_ms
        made.findings.append(warnings.point_time_far(topic, times.field, apart, f"{key}.time_field: none"))
    if usable and times.outliers:
        share = times.outliers / times.looked_at
        made.findings.append(warnings.point_time_outliers(topic, times.field, times.outliers, share, times.farthest_ms))


def _turns(topic: str, facts: CloudFacts) -> bool:
    """Whether a cloud is a raw sweep of a lidar that turns: it has rings and reaches all around."""
    if "ring" not in facts.names or corrected_by_name(topic) or not facts.clouds:
        return False
    xyz, _ = usable_points(facts.clouds[0])
    sectors = np.floor(np.arctan2(xyz[:, 1], xyz[:, 0]) / (np.pi / 4))
    return len(np.unique(sectors)) >= _LEAST_SECTORS


def _moment(made: Suggestion, key: str, topic: str) -> None:
    by_log = made.clocks.corrections.get(topic)
    if by_log is not None and by_log.by_log:
        made.put(f"{key}.stamp", "end", "a cloud is recorded when its sweep is over")
        return
    moment, reason = made.clocks.moments.get(topic, ("start", "as most drivers do; `end` if yours stamps its end"))
    made.put(f"{key}.stamp", moment, reason)
    if moment != "start":
        made.findings[:] = [
            f.remedied() if f.code is warnings.Code.STAMP_END and f.name == topic else f for f in made.findings
        ]


def _deskewed(made: Suggestion, key: str, topic: str, facts: CloudFacts) -> None:
    if not facts.times.is_good:
        return
    word = corrected_by_name(topic)
    why = f"its name says {word}" if word else ""
    if not why and made.frames.moves:
        shift_ns = round(getattr(made.clocks.corrections.get(topic), "offset_ms", 0.0) * 1e6)
        frame = facts.clouds[0].sweep.frame_id
        poses_of = poses_in(made.transforms.tree, made.frames.world, frame, shift_ns)
        why = corrected_by_evidence(facts, facts.times, poses_of)
        if not why:
            _seam(made, key, topic, open_seam(facts, facts.times, poses_of))
    if why:
        finding = warnings.already_deskewed(topic, why, f"{key}.deskew: false")
        made.put(f"{key}.deskew", False, finding.text)
        made.findings.append(finding.remedied())


def _seam(made: Suggestion, key: str, topic: str, seam: Seam | None) -> None:
    """Name what keeps the turns of a lidar from closing; two answers for a pose would explain anything."""
    if seam is None or any(f.code in _WRONG_POSES for f in made.findings):
        return
    if seam.change == "mirrored":
        made.findings.append(warnings.axes_mirrored(topic, seam.as_given, seam.changed))
        return
    words = "ran backwards" if seam.change == "backwards" else "were twice as long"
    remedy = f"{key}.time_field: none" if seam.change == "backwards" else "fix the driver: times must cover the turn"
    field = made.lidars[topic].times.field
    made.findings.append(warnings.point_time_suspect(topic, field, seam.as_given, words, seam.changed, remedy))


def _camera(made: Suggestion, name: str, stream: Stream, reference: _Reference, mount: StereoMount | None) -> None:
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
    _clock(made, key, topic)
    _pictures(made, key, name, facts)
    if reference.stream is not None:
        _pair(
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
    if seen.damaged:
        made.findings.append(warnings.image_damaged(topic, seen.damaged, seen.looked_at, seen.damage))
    if seen.orientation != 1:
        made.findings.append(warnings.image_orientation(topic, seen.orientation))
    if seen.largest and seen.bits < 16:
        finding = warnings.image_dark(topic, seen.largest, seen.bits, name)
        made.put(f"{key}.bit_depth", seen.bits, finding.text)
        made.findings.append(finding.remedied())
    if seen.is_black:
        made.findings.append(warnings.image_black(topic, seen.looked_at))
    if seen.stated_mosaic:
        text = f"its files hold a Bayer mosaic ({seen.stated_mosaic}), as their format says; colours are restored"
        made.findings.append(warnings.image_mosaic(topic, text, f"{key}.bayer: {seen.stated_mosaic}").remedied())
    elif seen.mosaics:
        finding = warnings.unsaid_mosaic(topic, seen.mosaics, f"{key}.bayer: {seen.mosaics[0]}")
        made.findings.append(finding)
        made.extras.append([f"{finding.text.partition(': ')[2]}; if so, uncomment:", finding.remedy])


def _radars(made: Suggestion, scan: Scan, reference: _Reference) -> None:
    radars = made.names["radars"]
    if radars and made.lidar_names:
        made.put("radar_names", list(radars.values()))
        for topic, name in radars.items():
            stream, key = scan.streams[topic], f"radars.{name}"
            made.put(f"{key}.topic", topic, f"{made.radars[topic]} detections a scan, frame {stream.frame_id!r}")
            _clock(made, key, topic)
            _pair(made, key, stream, reference, "median of its stamps against the sweeps', spread {spread:.1f} ms")


def _mounts(made: Suggestion, mounts: dict[str, StereoMount]) -> None:
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


def _unmounted(made: Suggestion, scan: Scan) -> None:
    """Name the chosen sensors that nothing connects with the device, and offer the lines of their mounts."""
    tree, device = made.transforms.tree, made.frames.device
    if not tree.frames() or device not in tree.frames():
        return
    lines: list[str] = []
    names = []
    for names_of_group in made.names.values():
        for topic, name in names_of_group.items():
            frame = made.cameras[topic].frame if topic in made.cameras else scan.streams[topic].frame_id
            try:
                made.transforms.tree.chain(device, frame)
            except TransformError:
                made.findings.append(warnings.no_mount(frame, topic, device, name))
                names.append(name)
                key = f"mounts.{name}"
                lines += [f"{key}.parent_frame: {device}", f"{key}.child_frame: {frame}"]
                lines += [f"{key}.xyz: [0.0, 0.0, 0.0]", f"{key}.rpy: [0.0, 0.0, 0.0]"]
    if names:
        what = (
            f"Mounts that were not recorded: say where each sensor is in {device!r}, metres and radians, and uncomment:"
        )
        made.extras.append([what, f"mount_names: [{', '.join(names)}]", *lines])


def _pair(made: Suggestion, key: str, stream: Stream, reference: _Reference, measured: str) -> None:
    """Write when a sensor's samples are wanted, counted from the reference's stamps."""
    times = np.sort(made.clocks.corrected(stream))
    steps = np.diff(times)
    period_ns = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    offset, spread = stamp_offset_ms(times, period_ns, reference.times, reference.period_ns)
    made.put(f"{key}.offset_ms", offset, measured.format(spread=spread))
    period_ms = min(reference.period_ns or 1e8, period_ns or 1e8) / 1e6
    tolerance = round(float(np.clip(max(period_ms / 2, spread), 1.0, 5_000.0)), 1)
    made.put(f"{key}.tolerance_ms", tolerance, "half the shorter period")


def stamp_offset_ms(times: IntArray, period_ns: float, sweeps: IntArray, sweep_period_ns: float) -> tuple[float, float]:
    """Return how far stamps are from the nearest of the reference, and 95 % of the spread around that, in ms.

    The offset is 0 where it is below a millisecond or too irregular to mean anything.
    """
    if not len(times) or len(sweeps) < 2:
        return 0.0, 0.0
    place = np.clip(np.searchsorted(times, sweeps), 1, max(1, len(times) - 1))
    pairs = np.stack([times[np.minimum(place, len(times) - 1)], times[place - 1]]) - sweeps
    nearest = pairs[np.abs(pairs).argmin(axis=0), np.arange(len(sweeps))] / 1e6
    near = nearest[np.abs(nearest) <= sweep_period_ns / 1e6]
    if not len(near):
        return 0.0, 0.0
    median = float(np.median(near))
    spread = float(np.percentile(np.abs(near - median), 95))
    period_ms = min(sweep_period_ns, period_ns or sweep_period_ns) / 1e6
    if abs(median) < 1.0 or spread > period_ms / 4:
        return 0.0, float(np.percentile(np.abs(near), 95))
    return round(median, 1), spread


def _point_fields(made: Suggestion) -> None:
    names = list(made.lidar_names.values())
    if not names:
        return
    fields = ["intensity"] if all(made.values[f"lidars.{name}.intensity_field"] for name in names) else []
    more = ["device"] if len(names) > 1 else []
    made.put(
        "point_fields",
        [*fields, *more],
        "device numbers the lidars" if more else "",
        "" if fields else "no intensity: not every lidar has one",
        "alternatives: time (each point's own), is_ground (with lidars.<name>.ground_field)",
    )


def _gps(made: Suggestion, scan: Scan) -> None:
    tree, world, device = made.transforms.tree, made.frames.world, made.frames.device

    def places(stamps_ns: IntArray) -> FloatArray:
        return tree.lookup_many(world, device, stamps_ns).translations

    def yaw_of(frame: str) -> float:
        try:
            x = quaternion.rotate(tree.lookup(device, frame, 0).rotation_xyzw, np.array([1.0, 0.0, 0.0]))
        except TransformError:
            return 0.0
        return float(np.degrees(np.arctan2(x[1], x[0])))

    moves = bool(made.frames.moves and world and device)
    found = judge_satellites(scan, positions_of(places) if moves else _nowhere, _ahead_deg(made), yaw_of)
    made.findings += found.findings
    made.left_out.update(found.left_out)
    if found.fix_topic:
        made.put("gps.topic", found.fix_topic, "has fixes")
        made.put("gps.heading_topic", found.heading_topic, *found.reasons)
        _clock(made, "gps", found.fix_topic)


def _note_motion(made: Suggestion, scan: Scan) -> None:
    """Where nothing says how the device moves, say by how much fixes prove that it did."""
    for stream in scan.of_kind("fix") if made.frames.standing else ():
        motion = GroundMotion()
        for fix in fixes_of(stream)[0]:
            motion.add(fix, (0.0, 0.0, 0.0))
        if motion.stands:
            text = made.frames.standing
            proven = f"{text}; the fixes of {stream.name} move {motion.stood_m:.0f} m"
            made.missing = [
                proven + known.removeprefix(text) if known.startswith(text) else known for known in made.missing
            ]
            made.findings = [replace(f, text=proven) if f.text == text else f for f in made.findings]
            made.frames.standing = proven
            return


def _nowhere(_stamps_ns: IntArray) -> FloatArray | None:
    return None


def device_track(made: Suggestion) -> tuple[FloatArray, FloatArray]:
    """Sample the device's poses over the time that was read: positions (n, 3) and rotations (n, 4)."""
    stamps = np.unique(
        np.concatenate([np.empty(0, np.int64), *(t.stamps for t in made.transforms.tracks if not t.static)])
    ) + round(made.clocks.transforms_offset_ms * 1e6)
    picked = stamps[:: max(1, len(stamps) // _MAX_TRACK)] if len(stamps) else np.zeros(1, np.int64)
    positions, rotations = [], []
    for stamp_ns in picked.tolist():
        try:
            pose = made.transforms.tree.lookup(made.frames.world, made.frames.device, stamp_ns)
        except TransformError:
            continue
        positions.append(pose.translation)
        rotations.append(pose.rotation_xyzw)
    return np.array(positions).reshape(-1, 3), np.array(rotations).reshape(-1, 4)


def _frozen(made: Suggestion, scan: Scan) -> None:
    """Name lidars and cameras that had stopped while the device moved on."""

    def place_of(topic: str, stamp_ns: int) -> FloatArray | None:
        correction = made.clocks.corrections.get(topic)
        offset_ns = round(1e6 * correction.offset_ms) if correction else 0
        try:
            pose = made.transforms.tree.lookup(made.frames.world, made.frames.device, stamp_ns + offset_ns)
        except TransformError:
            return None
        return pose.translation

    clouds = {topic: made.lidars[topic] for topic in made.lidar_names}
    made.findings += frozen_in_scan(scan, clouds, made.camera_names, place_of)


def _ahead_deg(made: Suggestion) -> float:
    """Return the azimuth in the device frame towards which it moves; 0 where it hardly does."""
    positions, rotations = device_track(made)
    ahead = forward_deg(positions, rotations)
    if ahead or len(positions) < 2:
        return ahead
    steps = np.diff(positions, axis=0)
    local = quaternion.rotate(quaternion.conjugate(rotations[:-1]), steps).sum(axis=0)
    return 180.0 if local[0] < 0 and abs(local[0]) > 2 * abs(local[1]) else 0.0


def _addressed(made: Suggestion, finding: Finding) -> Finding:
    """Put the names that the configuration has into a remedy."""
    section = made.section_of(finding.name)
    if not section:
        group = "lidars" if finding.name in made.lidars else "cameras" if finding.name in made.cameras else "gps"
        section = group if group == "gps" else f"{group}.<name>"
    remedy = finding.remedy.replace("<sensor>", section).replace("lidars.<name>", section)
    addressed = replace(finding, remedy=remedy)
    if finding.code is warnings.Code.SENSOR_CLOCK and finding.name in made.clocks.corrections:
        return addressed.remedied() if made.section_of(finding.name) else addressed
    return addressed
