# SPDX-License-Identifier: Apache-2.0
"""Transforms, poses and mounts."""

from __future__ import annotations

from collections.abc import Sequence

from nucleus_bridge.warnings.finding import Code, Finding, Weight, length_of_time, number_of, off


def tf_clock_ahead(child: str, ahead_ms: float, speed: float, remedy: str) -> Finding:
    """Transforms whose stamps are later than the time at which they were received."""
    return Finding(
        Code.TF_CLOCK,
        "frame",
        child,
        f"transforms of {child!r} are stamped {length_of_time(ahead_ms)} after they were recorded: their computer's "
        f"clock is ahead, which puts sensors {off(speed, ahead_ms)}",
        remedy,
        is_proven=True,
    )


def tf_clock_behind(
    child: str, behind_ms: float, others_ms: float, speed: float, remedy: str, *, is_proven: bool = False
) -> Finding:
    """Transforms that arrive long after their stamps, unlike the other topics; ``is_proven``: too long for anything."""
    misplaced = f"their computer's clock is behind, which puts sensors {off(speed, behind_ms - others_ms)}"
    return Finding(
        Code.TF_CLOCK,
        "frame",
        child,
        f"transforms of {child!r} are recorded {length_of_time(behind_ms)} after their stamps, other topics "
        f"{length_of_time(others_ms)}: "
        + (misplaced if is_proven else f"either they are computed late, which is harmless, or {misplaced}"),
        remedy if is_proven else f"if it is the clock: {remedy}",
        is_proven=is_proven,
    )


def tf_conflict(child: str, detail: str, remedy: str) -> Finding:
    """Two answers for one transform."""
    return Finding(
        Code.TF_CONFLICT, "frame", child, f"there are two answers for the pose of {child!r}: {detail}", remedy
    )


def tf_sparse(child: str, rate_hz: float, speed: float, error_m: float, error_deg: float) -> Finding:
    """Transforms too far apart in time for how the device moves."""
    return Finding(
        Code.TF_SPARSE,
        "frame",
        child,
        f"transforms of {child!r} come {rate_hz:.1f} times a second while it moves at {speed:.1f} m/s: poses between "
        f"them may be off by {error_m:.2f} m and {error_deg:.1f} degrees",
        "record the transforms of an odometry at 20 Hz or more, or name its topic: pose_names: [ego], "
        "poses.ego.topic: /odometry",
    )


def tf_gap(child: str, gaps: int, longest_s: float, moved_m: float) -> Finding:
    """Gaps in the transforms in which the device may have been anywhere."""
    return Finding(
        Code.TF_GAP,
        "frame",
        child,
        f"transforms of {child!r} have {number_of(gaps, 'gap')} of up to {longest_s:.1f} s, over which it moved up to "
        f"{moved_m:.1f} m; sweeps in them get no pose",
        "record without loss, or raise scene.max_gap_s if it moved evenly in between",
        Weight.LOSS,
    )


def tf_implausible(child: str, why: str) -> Finding:
    """An edge that moves as no vehicle can."""
    return Finding(
        Code.TF_IMPLAUSIBLE,
        "frame",
        child,
        f"transforms of {child!r} cannot be right: {why}",
        "convert a part of the recording, or take poses from elsewhere: pose_names, poses.<name>.topic or file",
    )


def static_changed(child: str, moved_m: float, turned_deg: float, after_s: float) -> Finding:
    """A static transform that changes within a recording."""
    return Finding(
        Code.STATIC_CHANGED,
        "frame",
        child,
        f"the static transform of {child!r} changes by {moved_m:.3f} m and {turned_deg:.2f} degrees {after_s:.1f} s "
        "after its first value; each value holds from its message on, the first one for all before",
        f"one mount for the whole recording: mount_names: [fixed], mounts.fixed.child_frame: {child}, with "
        "parent_frame, xyz and rpy",
    )


def mount_changed(child: str, moved_m: float, turned_deg: float, after_s: float) -> Finding:
    """A mount among the moving transforms that stands still and is all at once another one."""
    return Finding(
        Code.STATIC_CHANGED,
        "frame",
        child,
        f"transforms of {child!r} stand still, and change by {moved_m:.3f} m and {turned_deg:.2f} degrees all at once "
        f"{after_s:.1f} s after the first one: a mount does not move",
        f"one mount for the whole recording: mount_names: [fixed], mounts.fixed.child_frame: {child}, with "
        "parent_frame, xyz and rpy",
    )


def tf_unstamped(child: str, unset: int, total: int) -> Finding:
    """Transforms whose stamps were never set."""
    return Finding(
        Code.TF_CLOCK,
        "frame",
        child,
        f"{unset} of {total} stamps of transforms of {child!r} are 0: what publishes them sets none",
        "have its publisher stamp them, or take poses from elsewhere: pose_names, poses.<name>.topic or file",
    )


def no_pose(frame: str, text: str, remedy: str) -> Finding:
    """There is no pose over time."""
    return Finding(Code.NO_POSE, "frame", frame, text, remedy)


def device_never_moves(world_frame: str, device_frame: str) -> Finding:
    """A conversion in which nothing tells how the device moves."""
    apart = f"only static transforms lie between {world_frame!r} and {device_frame!r}"
    same = f"world_frame and device_frame are both {device_frame!r}"
    return no_pose(
        device_frame,
        f"no pose over time: {same if world_frame == device_frame else apart}; the clouds of a scene fit together only "
        "if it stood still",
        "name a trajectory: pose_names: [ego], poses.ego.file: FILE, or estimate one: nucleus-bridge odometry BAG "
        "--config FILE -o FILE.tum",
    )


def device_stands(topic: str, what: str, way_m: float, device_frame: str) -> Finding:
    """The device stands in the scenes, and a topic proves that it moved."""
    return Finding(
        Code.NO_POSE,
        "topic",
        topic,
        f"no pose over time: {what} move {way_m:.0f} m, the device of the scenes ({device_frame!r}) stands",
        "name a trajectory: world_frame: map, pose_names: [ego], poses.ego.file: FILE, or estimate one: nucleus-bridge "
        "odometry BAG --config FILE -o FILE.tum",
    )


def pose_inverse(name: str, parent: str, child: str, why: str) -> Finding:
    """Parent and child of a source of poses are swapped."""
    return Finding(
        Code.POSE_INVERSE,
        "frame",
        child,
        f"{name} seems to hold poses of {parent!r} in {child!r}, not of {child!r} in {parent!r}: {why}",
        f"{name}.parent_frame: {child}, {name}.child_frame: {parent}",
    )


def transforms_inverse(world_frame: str, device_frame: str, *, is_proven: bool) -> Finding:
    """Transforms that hold the pose of the world in the device where they say the opposite, or may do so."""
    between = f"transforms between {world_frame!r} and {device_frame!r}"
    if is_proven:
        text = f"{between} seem to hold the inverse of what their frames say: by them {device_frame!r} moves sideways"
    else:
        text = f"by {between} {device_frame!r} drives backwards all the time: if it does not, they hold the inverse"
    return Finding(
        Code.POSE_INVERSE,
        "frame",
        device_frame,
        f"{text}, and turned round it moves ahead",
        "exchange parent and child where they are published, or take poses from elsewhere: pose_names, "
        "poses.<name>.topic or file",
        Weight.METRES if is_proven else Weight.LOSS,
    )


def turns_against_course(device_frame: str, off_deg: float, way_m: float) -> Finding:
    """Transforms whose rotation is that of a mirror image."""
    return Finding(
        Code.TF_IMPLAUSIBLE,
        "frame",
        device_frame,
        f"transforms of {device_frame!r} cannot be right: over {way_m:.0f} m its heading turns {off_deg:.0f} degrees "
        "against its course, and with it if left and right are exchanged: the rotation is inverted, or z points down",
        "fix what publishes it, or take poses from elsewhere: pose_names, poses.<name>.topic or file",
    )


def no_mount(frame: str, topic: str, device_frame: str, name: str) -> Finding:
    """A sensor's frame is in no transform although there are transforms."""
    return Finding(
        Code.NO_MOUNT,
        "frame",
        frame,
        f"nothing connects the frame {frame!r} of {topic} with {device_frame!r}: its mount was not recorded",
        f"mount_names: [{name}], mounts.{name}.parent_frame: {device_frame}, mounts.{name}.child_frame: {frame}, with "
        "xyz and rpy, or record /tf_static or /robot_description; where an earlier part of the drive has it, give both "
        "with --merge",
        Weight.LOSS,
    )


def pose_unused(topic: str, type_name: str, count: int, remedy: str) -> Finding:
    """A pose topic that nothing uses while there is no pose."""
    return Finding(
        Code.POSE_UNUSED,
        "topic",
        topic,
        f"{topic} has {number_of(count, 'message')} of {type_name} that give a pose, and no transform does",
        remedy,
    )


def mount_unused(topic: str, frames: Sequence[str], remedy: str) -> Finding:
    """A robot description that knows frames which no transform has."""
    return Finding(
        Code.MOUNT_UNUSED,
        "topic",
        topic,
        f"{topic} knows where {', '.join(map(repr, frames))} is mounted, and nothing uses it",
        remedy,
        Weight.LOSS,
    )


def mount_overrides(child: str, difference: str, topic: str) -> Finding:
    """A mount of the configuration that a transform contradicts."""
    return Finding(
        Code.MOUNT_OVERRIDES,
        "frame",
        child,
        f"{difference} on {topic}",
        "leave the mount out if the recording knows better",
        Weight.NOTE,
    )


def unmounted_body(body: str, device_frame: str) -> Finding:
    """Poses of a body that nothing joins to the device."""
    return Finding(
        Code.NO_MOUNT,
        "frame",
        body,
        f"poses of {body!r} are known, and nothing joins it to {device_frame!r}",
        f"mount_names: [body], mounts.body.parent_frame: {device_frame}, mounts.body.child_frame: {body}, with xyz and "
        f"rpy; or device_frame: {body}",
        Weight.LOSS,
    )
