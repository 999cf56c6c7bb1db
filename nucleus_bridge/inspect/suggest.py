# SPDX-License-Identifier: Apache-2.0
"""Choose a configuration by what a recording showed: sensors, frames, clocks, offsets, each with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from nucleus_bridge import warnings
from nucleus_bridge.config.settings import SyncConfig, TransformsConfig
from nucleus_bridge.decode.unreadable import unreadable
from nucleus_bridge.errors import TransformError
from nucleus_bridge.geometry import quaternion
from nucleus_bridge.inspect.cameras import (
    camera_facts,
    choose_cameras,
    holds_depth,
    infos_without_images,
    stereo_mounts,
)
from nucleus_bridge.inspect.clocks import Given, Limits, compare_clocks, heading_offset_ms
from nucleus_bridge.inspect.clouds import cloud_facts, radar_problem
from nucleus_bridge.inspect.frozen import frozen_in_scan
from nucleus_bridge.inspect.lidars import LeftOut, Why, choose_lidars, derived_findings, names_for
from nucleus_bridge.inspect.mounting import forward_deg
from nucleus_bridge.inspect.poses import choose_frames, with_description, with_poses
from nucleus_bridge.inspect.satellites import fixes_of, judge_satellites, positions_of
from nucleus_bridge.inspect.scan import Scan, Stream
from nucleus_bridge.inspect.silent import Sent, silence_findings
from nucleus_bridge.inspect.suggest_cameras import put_camera, put_mounts
from nucleus_bridge.inspect.suggest_lidars import in_metres, put_lidar, put_point_fields
from nucleus_bridge.inspect.suggestion import Reference, Suggestion, device_track, put_clock, put_offset
from nucleus_bridge.inspect.transforms import Transforms, find_transforms, other_robots, transform_findings
from nucleus_bridge.model import FloatArray, IntArray
from nucleus_bridge.pipeline.ground_motion import GroundMotion
from nucleus_bridge.warnings import Finding

_SYNC = SyncConfig()


def suggest(scan: Scan) -> Suggestion:
    """Choose a configuration by what a scan saw."""
    clouds = {stream.name: stream for stream in scan.of_kind("cloud")}
    sensors = [*clouds.values(), *scan.of_kind("image"), *scan.of_kind("radar")]
    facts = {topic: cloud_facts(stream, scan.companions) for topic, stream in clouds.items()}
    transforms = _transforms(scan, sensors, 0)
    facts = {topic: in_metres(found, clouds[topic].frame_id, transforms) for topic, found in facts.items()}
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
    made.findings += transform_findings(transforms, moving, device=made.frames.device)
    made.findings += derived_findings(made.left_out)
    _name_sensors(made, scan, chosen, pictures)
    _frames(made)
    reference = Reference(made, scan, chosen)
    made.put("lidar_names", list(made.lidar_names.values()), _order_reason(chosen))
    for topic, name in made.lidar_names.items():
        put_lidar(made, name, clouds[topic], reference)
    if made.camera_names:
        made.put("camera_names", list(made.camera_names.values()))
    mounts = stereo_mounts(made.cameras, list(made.camera_names))
    for topic, name in made.camera_names.items():
        put_camera(made, name, scan.streams[topic], reference, mounts.get(topic))
    _radars(made, scan, reference)
    put_mounts(made, mounts)
    _unmounted(made, scan)
    _forward_steps(made)
    doubtful = {f.name for f in made.findings if f.code is warnings.Code.SENSOR_CLOCK}
    late = [f for f in made.findings if f.code is warnings.Code.LATE_MESSAGES and f.name not in doubtful]
    if late:
        made.put("sync.wait_s", max(float(f.remedy.partition(": ")[2]) for f in late), late[0].text)
    _gps(made, scan)
    _note_motion(made, scan)
    _frozen(made, scan)
    made.findings += silence_findings(_sent(made, scan), made.findings)
    put_point_fields(made)
    made.findings = [_addressed(made, finding) for finding in made.findings]
    return made


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


def _forward_steps(made: Suggestion) -> None:
    """End scenes where a clock was set forward: nothing is interpolated across a gap of that length."""
    key, _, limit = next((f.remedy for f in made.clocks.forward_steps if f.remedy.startswith("scene.")), "").partition(
        ": "
    )
    if limit:
        made.put(key, float(limit), made.clocks.forward_steps[0].text)
    made.findings += [f.remedied() if limit else f for f in made.clocks.forward_steps]


def _radars(made: Suggestion, scan: Scan, reference: Reference) -> None:
    radars = made.names["radars"]
    if radars and made.lidar_names:
        made.put("radar_names", list(radars.values()))
        for topic, name in radars.items():
            stream, key = scan.streams[topic], f"radars.{name}"
            made.put(f"{key}.topic", topic, f"{made.radars[topic]} detections a scan, frame {stream.frame_id!r}")
            put_clock(made, key, topic)
            put_offset(made, key, stream, reference, "median of its stamps against the sweeps', spread {spread:.1f} ms")


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
        put_clock(made, "gps", found.fix_topic)
        if found.heading_topic and (apart_ms := heading_offset_ms(made.clocks, found.fix_topic, found.heading_topic)):
            made.put("gps.heading_clock_offset_ms", apart_ms, "their clock is not that of the fixes")


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


def _sent(made: Suggestion, scan: Scan) -> Iterator[Sent]:
    """Yield when the chosen sensors sent; the first lidar is what frames are made from."""
    for number, topic in enumerate((*made.lidar_names, *made.camera_names, *made.names["radars"])):
        yield Sent(topic, made.section_of(topic) if number else "", made.clocks.corrected(scan.streams[topic]))


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
        is_used = finding.name in (made.values.get("gps.topic"), made.values.get("gps.heading_topic"))
        return addressed.remedied() if is_used or made.section_of(finding.name) else addressed
    return addressed
