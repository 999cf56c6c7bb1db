# SPDX-License-Identifier: Apache-2.0
"""What the few sweeps and pictures that were kept on their way through the pipeline show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import cv2
import numpy as np

from nucleus_bridge import warnings
from nucleus_bridge.config import CameraConfig, Config, LidarConfig
from nucleus_bridge.decode.calibration_check import Versions
from nucleus_bridge.decode.image_checks import damage_of, emptiness_of, significant_bits
from nucleus_bridge.decode.navsat import Fix
from nucleus_bridge.geometry import TransformTree, transforms
from nucleus_bridge.inspect.clouds import Cloud, CloudFacts
from nucleus_bridge.inspect.mounting import pose_findings
from nucleus_bridge.inspect.point_times import UNITS_NS, PointTimes, Times
from nucleus_bridge.inspect.satellites import track_contradiction
from nucleus_bridge.inspect.seam import Seam, open_seam, seam_finding
from nucleus_bridge.inspect.sweeps import corrected_by_evidence, corrected_by_name, find_parts
from nucleus_bridge.inspect.units import UNIT_NAMES, mounted_height, scale_of
from nucleus_bridge.model import FloatArray, IntArray, Sweep, Trajectory
from nucleus_bridge.pipeline.evidence import Evidence
from nucleus_bridge.pipeline.kept_samples import MovedSweep, SeenPictures
from nucleus_bridge.warnings import Finding

_LEAST_PICTURES = 3
_UNITS = {unit_ns: unit for unit, unit_ns in UNITS_NS.items()}


def sample_findings(evidence: Evidence, config: Config, tree: TransformTree) -> Iterator[Finding]:
    """Name sweeps in parts, clouds that are corrected already, fixes of elsewhere, and pictures that will be dark."""
    yield from _of_device(evidence, config)
    for lidar in config.lidars:
        yield from _in_parts(evidence, lidar)
        yield from _corrected(evidence, lidar)
        yield from _units(evidence, lidar, tree)
    kept = evidence.samples.fixes.items
    places = {one.fix.stamp_ns: (*one.place, 0.0) for one in kept}

    def positions(stamps_ns: IntArray) -> FloatArray:
        return np.array([places[stamp_ns] for stamp_ns in stamps_ns.tolist()])

    if why := track_contradiction(sorted((one.fix for one in kept), key=_stamp), positions):
        yield warnings.gps_track_implausible(config.gps.topic, len(kept), why)
    for camera in config.cameras:
        yield from _of_pictures(evidence, camera)
        versions = evidence.samples.calibrations.get(camera.name)
        if versions is not None and not camera.calibration_file:
            yield from _of_versions(versions, camera)


def _of_pictures(evidence: Evidence, camera: CameraConfig) -> Iterator[Finding]:
    seen = evidence.samples.pictures.get(camera.name)
    if seen is None:
        return
    if not camera.bit_depth:
        yield from _dark(seen, camera)
    if not seen.shows:
        yield from _empty(seen, camera)
    yield from _damaged(seen, camera)


def _of_versions(versions: Versions, camera: CameraConfig) -> Iterator[Finding]:
    if why := versions.contradiction:
        yield warnings.camera_info_implausible(camera.info_topic, why, camera.name)
    elif versions.change:
        yield warnings.camera_info_changes(camera.info_topic, versions.change, camera.name)


def _of_device(evidence: Evidence, config: Config) -> list[Finding]:
    """Name poses that no vehicle has; a scene's frames may be of several epochs, but not in a few that are kept."""
    poses = evidence.samples.poses.items
    positions = np.array([pose.translation for pose in poses]).reshape(-1, 3)
    turns = np.array([pose.rotation_xyzw for pose in poses]).reshape(-1, 4)
    return pose_findings(config.world_frame, config.device_frame, positions, turns)


def _stamp(fix: Fix) -> int:
    return fix.stamp_ns


def _in_parts(evidence: Evidence, lidar: LidarConfig) -> Iterator[Finding]:
    sweeps, topic = evidence.samples.first.get(lidar.topic, []), evidence.topics.get(lidar.topic)
    if topic is None or lidar.accumulate_ms:
        return
    steps = np.diff(np.sort(topic.stamps))
    steps = steps[steps > 0]
    if not len(steps):
        return
    clouds = tuple(Cloud(sweep.stamp_ns, sweep.stamp_ns, sweep) for sweep in sweeps)
    parts = find_parts(CloudFacts(clouds=clouds), float(np.median(steps)))
    if parts is not None:
        remedy = f"lidars.{lidar.name}.accumulate_ms: {parts.turn_ms}"
        yield warnings.sweep_in_parts(lidar.topic, parts.count, parts.degrees, remedy)


def _units(evidence: Evidence, lidar: LidarConfig, tree: TransformTree) -> Iterator[Finding]:
    sweeps = evidence.samples.first.get(lidar.topic, [])
    if not sweeps:
        return
    clouds = (Cloud(sweep.stamp_ns, sweep.stamp_ns, sweep) for sweep in sweeps)
    scale = scale_of(clouds, mounted_height(tree, sweeps[0].frame_id))
    if scale != 1.0:
        remedy = f"lidars.{lidar.name}.scale: {scale * lidar.scale:g}"
        yield warnings.cloud_units(lidar.topic, UNIT_NAMES[scale], remedy)


def _corrected(evidence: Evidence, lidar: LidarConfig) -> Iterator[Finding]:
    kept = evidence.samples.moved.get(lidar.name)
    if kept is None or not kept.items:
        return
    if kept.judged_at != kept.taken:
        kept.finding = _of_moved(kept.items, lidar)
        kept.judged_at = kept.taken
    if kept.finding is not None:
        yield kept.finding


def _of_moved(kept: list[MovedSweep], lidar: LidarConfig) -> Finding | None:
    word, section = corrected_by_name(lidar.topic), f"lidars.{lidar.name}"
    why, seam = (f"its name says {word}", None) if word else _by_evidence(kept)
    if why:
        return warnings.already_deskewed(lidar.topic, why, f"{section}.deskew: false")
    return None if seam is None else seam_finding(lidar.topic, section, kept[0].sweep.time_field or "", seam)


def _by_evidence(kept: list[MovedSweep]) -> tuple[str, Seam | None]:
    """Say why sweeps are corrected already; else what would close their turns, if they do not."""
    alike = [moved for moved in kept if moved.sweep.points.dtype == kept[0].sweep.points.dtype]
    times = _times(alike[0].sweep)
    if not times.unit:
        return "", None  # of no unit that columns have; its driver knows when it measured
    poses = {id(moved.sweep): moved.poses for moved in alike}

    def poses_of(cloud: Cloud, stamps_ns: IntArray) -> Trajectory | None:
        return transforms.continued(poses[id(cloud.sweep)], stamps_ns)

    clouds = tuple(Cloud(moved.sweep.stamp_ns, moved.sweep.base_ns, moved.sweep) for moved in alike)
    facts = CloudFacts(clouds=clouds)
    why = corrected_by_evidence(facts, times, poses_of)
    return (why, None) if why else ("", open_seam(facts, times, poses_of))


def _times(sweep: Sweep) -> PointTimes:
    """Return what the times of a sweep mean: they count from what stands for its stamp."""
    first, last = ((at_ns - sweep.stamp_ns) / 1e6 for at_ns in (sweep.first_ns, sweep.last_ns))
    unit = _UNITS.get(sweep.time_unit_ns, "")
    return PointTimes(Times.GOOD, sweep.time_field or "", unit=unit, first_ms=first, last_ms=last)


def _empty(seen: SeenPictures, camera: CameraConfig) -> Iterator[Finding]:
    if seen.small_judged_at != seen.small.taken:
        decoded = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in seen.small.items]
        found: Counter[str] = Counter(emptiness_of(picture) for picture in decoded if picture is not None)
        seen.empty_in_small = None if found[""] else found
        seen.small_judged_at = seen.small.taken
    if seen.empty_in_small is None:
        return
    kinds = seen.empty + seen.empty_in_small
    if kinds.total() >= _LEAST_PICTURES:
        yield warnings.image_empty(camera.image_topic, kinds.total(), kinds.most_common(1)[0][0])


def _damaged(seen: SeenPictures, camera: CameraConfig) -> Iterator[Finding]:
    if seen.jpegs_judged_at != seen.jpegs.taken:
        files = dict.fromkeys((*seen.jpegs.items, *([seen.smallest] if seen.smallest else [])))
        known = seen.jpeg_damages
        seen.jpeg_damages = {data: known[data] if data in known else damage_of(data) for data in files}
        damages = [damage for damage in seen.jpeg_damages.values() if damage]
        seen.damage = len(damages), len(files), damages[0] if damages else ""
        seen.jpegs_judged_at = seen.jpegs.taken
    if seen.damage[0]:
        yield warnings.image_damaged(camera.image_topic, *seen.damage)


def _dark(seen: SeenPictures, camera: CameraConfig) -> Iterator[Finding]:
    if seen.judged_at != seen.files.taken:
        decoded = (cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) for data in seen.files.items)
        largest = [int(picture.max()) for picture in decoded if picture is not None and picture.dtype == np.uint16]
        seen.in_files, seen.judged_at = (len(largest), max(largest, default=0)), seen.files.taken
    looked_at, largest_of_all = seen.looked_at + seen.in_files[0], max(seen.largest, seen.in_files[1])
    bits = significant_bits(largest_of_all)
    if looked_at >= _LEAST_PICTURES and largest_of_all and bits < 16:
        yield warnings.image_dark(camera.image_topic, largest_of_all, bits, camera.name)
