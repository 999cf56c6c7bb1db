# SPDX-License-Identifier: Apache-2.0
"""Transforms of a recording: which topics, the tree they make, and what in them contradicts itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge import warnings
from nucleus_bridge.errors import TransformError
from nucleus_bridge.geometry import TransformTree, quaternion
from nucleus_bridge.inspect.scan import Scan, Stream, Track, is_static_topic
from nucleus_bridge.model import FloatArray, IntArray
from nucleus_bridge.warnings import Code, Finding

DEFAULT_TOPICS = ("/tf",)
DEFAULT_STATIC_TOPICS = ("/tf_static",)
MAX_GAP_S = 1.0
_SAME_M, _SAME_DEG = 0.01, 0.2
_MOVED_M, _MOVED_DEG = 0.001, 0.05
_ZIGZAG_M, _ZIGZAG_DEG = 0.15, 3.0
_ZIGZAG_M_PER_S2, _ZIGZAG_DEG_PER_S2 = 4.0, 300.0
_ZIGZAG_SHARE, _LEAST_ZIGZAGS = 0.05, 5
_SPARSE_M, _SPARSE_DEG = 0.1, 0.5
_STANDING_M = 0.3
_LEAST_HELD, _MOST_CHANGES, _LEAST_PIECE = 8, 3, 3
_FASTEST_M_S = 150.0
_OTHER_ROBOT_M = 0.5
_LEAST_STILL, _LEAST_MOVING, _MOVING_M_S, _HARDEST_M_S2 = 10, 5, 1.0, 30.0
SENSOR_STEP, EDGE_STEP, VIDEO_STEP = 2, 3, 17
_ON_ITS_WAY_NS, _AGAIN = 1e9, 0.6
"""This many messages in a row below the highest stamp are a step of the clock, not a late message."""


@dataclass(frozen=True)
class Transforms:
    """The transforms that a recording's sensors hang from.

    Attributes:
        tree: All of them.
        tracks: The edges it was made of, as they were published.
        topics: Topics of moving transforms.
        static_topics: Topics of static ones.
        problems: Transforms that cannot be used, each text with how often it came.
        description: Topic of the robot description that filled in what no transform says, or ''.
        pose_topic: Topic of the poses that stand for transforms, or ''.
    """

    tree: TransformTree
    tracks: tuple[Track, ...]
    topics: tuple[str, ...]
    static_topics: tuple[str, ...]
    problems: dict[str, int] = field(default_factory=dict)
    description: str = ""
    pose_topic: str = ""

    def extended(self, tracks: Iterable[Track]) -> Transforms:
        """Return these and further edges."""
        tracks = tuple(tracks)
        for track in tracks:
            for text in _add(self.tree, track, 0):
                self.problems[text] = self.problems.get(text, 0) + 1
        return replace(self, tracks=(*self.tracks, *tracks))

    @property
    def is_default(self) -> bool:
        """Whether they are where everyone has them."""
        return set(self.topics) <= set(DEFAULT_TOPICS) and set(self.static_topics) <= set(DEFAULT_STATIC_TOPICS)

    def above(self, frame: str) -> list[str]:
        """Return a frame and those above it, up to its root."""
        climbed = [frame]
        while climbed[-1] in self.tree.frames():
            parent = self.tree.parent_of(climbed[-1])
            if parent is None or parent in climbed:
                break
            climbed.append(parent)
        return climbed

    def moving_above(self, frame: str) -> list[str]:
        """Return the frames from this one up whose pose in their parent changes over time, the nearest first."""
        above = self.above(frame)
        return [child for child in above[:-1] if not self.tree.is_static(child)]

    def below(self, frame: str) -> set[str]:
        """Return the frames that hang below one."""
        return {other for other in self.tree.frames() if frame in self.above(other)[1:]} if frame else set()

    def tracks_of(self, child: str) -> list[Track]:
        """Return the edges that lead to a frame."""
        return [track for track in self.tracks if track.child == child]


def find_transforms(scan: Scan, sensors: Iterable[Stream], *, offset_ns: int = 0) -> Transforms:
    """Choose the topics of transforms that belong to these sensors, and build their tree.

    ``offset_ns`` is added to the stamps of all of them.
    """
    topics, static_topics = _choose_topics(scan, list(sensors))
    wanted = {*topics, *static_topics}
    tracks = tuple(track for track in scan.tracks.values() if track.topic in wanted)
    tree, problems = TransformTree(), dict(scan.problems)
    for track in tracks:
        for text in _add(tree, track, offset_ns):
            problems[text] = problems.get(text, 0) + 1
    return Transforms(tree, tracks, topics, static_topics, problems)


def _choose_topics(scan: Scan, sensors: list[Stream]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Take the usual topics where they are, else those of the namespace that the sensors are in."""
    streams = [stream.name for stream in scan.of_kind("transforms")]
    chosen = []
    for names, usual in (
        ([name for name in streams if not is_static_topic(name)], DEFAULT_TOPICS),
        ([name for name in streams if is_static_topic(name)], DEFAULT_STATIC_TOPICS),
    ):
        there = tuple(name for name in names if name in usual)
        if not there and len(names) > 1:
            near = [name for name in names if any(stream.name.startswith(f"{_space(name)}/") for stream in sensors)]
            there = _of_one_robot(near, scan, sensors)
        chosen.append(there or tuple(names))
    moving, static = chosen
    if moving and moving[0] not in DEFAULT_TOPICS:  # a namespace of its own: its static ones belong to it
        own = tuple(name for name in streams if is_static_topic(name) and _space(name) == _space(moving[0]))
        static = tuple(dict.fromkeys((*static, *own)))
    return moving, static


def _of_one_robot(topics: list[str], scan: Scan, sensors: list[Stream]) -> tuple[str, ...]:
    """Return the topics of the namespace with the most sensors, where several have transforms of the same frames."""
    children: dict[str, set[str]] = {}
    for topic, _, child in scan.tracks:
        if topic in topics:
            children.setdefault(_space(topic), set()).add(child)
    spaces = sorted({_space(topic) for topic in topics})
    if not any(
        children.get(one, set()) & children.get(other, set()) for one in spaces for other in spaces if one < other
    ):
        return tuple(topics)

    def sensors_in(space: str) -> tuple[int, int]:
        inside = [stream for stream in sensors if stream.name.startswith(f"{space}/")]
        return len(inside), sum("cloud" in stream.kinds for stream in inside)

    chosen = max(spaces, key=sensors_in)
    return tuple(topic for topic in topics if _space(topic) == chosen)


def other_robots(scan: Scan, transforms: Transforms) -> dict[str, str]:
    """Return the namespaces of other robots, with their topic of transforms: the same frames are elsewhere there."""
    spaces = {_space(topic) for topic in transforms.topics}
    chosen = {
        track.child: track for track in transforms.tracks if not track.static and track.topic in transforms.topics
    }
    found = {}
    for track in scan.tracks.values():
        own, space = chosen.get(track.child), _space(track.topic)
        if own is not None and not track.static and space and space not in spaces and _are_apart(own, track):
            found[space] = track.topic
    return found


def _are_apart(one: Track, other: Track) -> bool:
    """Whether two tracks of one frame are in different places at the same time."""
    here, there = motion_of([one]), motion_of([other])
    if len(here.stamps_ns) < 2 or len(there.stamps_ns) < 2:
        return False
    inside = (there.stamps_ns >= here.stamps_ns[0]) & (there.stamps_ns <= here.stamps_ns[-1])
    if not inside.any():
        return False
    stamps = there.stamps_ns[inside] - here.stamps_ns[0]
    expected = np.stack(
        [np.interp(stamps, here.stamps_ns - here.stamps_ns[0], here.positions[:, axis]) for axis in range(3)], axis=1
    )
    return float(np.median(np.linalg.norm(expected - there.positions[inside], axis=1))) > _OTHER_ROBOT_M


def _space(topic: str) -> str:
    return topic.rpartition("/")[0]


def _add(tree: TransformTree, track: Track, offset_ns: int) -> Iterator[str]:
    values = zip(track.stamps.tolist(), track.translations.tolist(), track.rotations.tolist(), strict=True)
    for stamp_ns, translation, rotation in values:
        try:
            tree.add(track.parent, track.child, stamp_ns + offset_ns, translation, rotation, static=track.static)
        except TransformError as error:
            yield f"{track.topic}: {track.parent} -> {track.child}: {error}"


@dataclass(frozen=True)
class Motion:
    """How one edge moves: its samples by stamp, one for each stamp.

    Attributes:
        stamps_ns: Shape (n,).
        positions: Shape (n, 3), metres.
        rotations: Shape (n, 4), unit quaternions.
    """

    stamps_ns: IntArray
    positions: FloatArray
    rotations: FloatArray

    @property
    def steps_s(self) -> FloatArray:
        """Time between neighbours, shape (n - 1,)."""
        return np.asarray(np.diff(self.stamps_ns) / 1e9)

    @property
    def travelled_m(self) -> float:
        """Length of the way."""
        return float(np.linalg.norm(np.diff(self.positions, axis=0), axis=1).sum()) if len(self.positions) > 1 else 0.0

    @property
    def extent_m(self) -> float:
        """Largest side of the box that it moves in."""
        return float(np.ptp(self.positions, axis=0).max()) if len(self.positions) else 0.0

    @property
    def speed(self) -> float:
        """Median speed where it moves, m/s; 0 where it stands."""
        if len(self.positions) < 2:
            return 0.0
        speeds = np.linalg.norm(np.diff(self.positions, axis=0), axis=1) / self.steps_s
        moving = speeds[speeds > 0.1]
        return float(np.median(moving)) if len(moving) else 0.0


def motion_of(tracks: Iterable[Track]) -> Motion:
    """Put the samples of an edge into the order of their stamps; the last of equal stamps counts."""
    tracks = [track for track in tracks if len(track)]
    if not tracks:
        return Motion(np.empty(0, np.int64), np.empty((0, 3)), np.empty((0, 4)))
    stamps = np.concatenate([track.stamps for track in tracks])
    positions = np.concatenate([track.translations for track in tracks])
    rotations = np.concatenate([track.rotations for track in tracks])
    norms = np.linalg.norm(rotations, axis=1)
    good = np.isfinite(positions).all(axis=1) & np.isfinite(norms) & (norms > 0)
    stamps, positions, rotations = stamps[good], positions[good], rotations[good] / norms[good, None]
    order = np.argsort(stamps, kind="stable")
    stamps = stamps[order]
    last = np.append(np.diff(stamps) > 0, True) if len(stamps) else np.empty(0, np.bool_)
    return Motion(stamps[last], positions[order][last], rotations[order][last])


def transform_findings(
    transforms: Transforms, path: Iterable[str], max_gap_s: float = MAX_GAP_S, device: str = ""
) -> list[Finding]:
    """Find what contradicts itself in the edges of these child frames, and in every static transform.

    Args:
        transforms: The transforms.
        path: Child frames of the edges that move.
        max_gap_s: A longer gap ends a scene.
        device: Frame of the device; what hangs below it is mounted.
    """
    found: list[Finding] = []
    mounted = transforms.below(device)
    for child in path:
        by_code: dict[Code, Finding] = {}
        if child in mounted and (moved := _moved_mount(child, transforms.tracks_of(child))) is not None:
            found.append(moved)
        for tracks in _between_steps([track for track in transforms.tracks_of(child) if not track.static]):
            for finding in _moving_findings(child, tracks, max_gap_s):
                by_code.setdefault(finding.code, finding)
        found += by_code.values()
    fixed = sorted({track.child for track in transforms.tracks if track.static})
    for child in fixed:
        static, moving = ([t for t in transforms.tracks_of(child) if t.static is fix] for fix in (True, False))
        found += [one for one in (_static_change(child, static), _both_ways(child, static, moving)) if one is not None]
    return found


def _both_ways(child: str, static: list[Track], moving: list[Track]) -> Finding | None:
    """Name a frame that a static transform and others put in different places."""
    held = motion_of(moving)
    if not len(held.positions):
        return None
    known = motion_of(static)
    metres = np.linalg.norm(held.positions[:, None] - known.positions[None], axis=2).min(axis=1)
    degrees = _angles(held.rotations[:, None], known.rotations[None]).min(axis=1)
    if not ((metres > _SAME_M) | (degrees > _SAME_DEG)).any():
        return None
    topics = [next((track.topic for track in tracks if track.topic), "a static one") for tracks in (static, moving)]
    text = (
        f"a static transform and {len(metres)} on {topics[1]} are up to {float(metres.max()):.2f} m and "
        f"{float(degrees.max()):.1f} degrees apart"
    )
    return warnings.tf_conflict(child, text, f"stop one of the publishers (ros2 topic info -v {topics[1]})")


def _moved_mount(child: str, tracks: list[Track]) -> Finding | None:
    """Name a mount on a topic of moving transforms that stands still and is all at once another one."""
    motion = motion_of([track for track in tracks if not track.static])
    if len(motion.positions) < _LEAST_HELD:
        return None
    metres = np.linalg.norm(np.diff(motion.positions, axis=0), axis=1)
    degrees = _angles(motion.rotations[:-1], motion.rotations[1:])
    changes = np.flatnonzero((metres > _MOVED_M) | (degrees > _MOVED_DEG))
    if not 0 < len(changes) <= _MOST_CHANGES:
        return None
    pieces = np.diff(np.concatenate(([-1], changes, [len(motion.positions) - 1])))
    if pieces.min() < _LEAST_PIECE:
        return None
    at_s = float(motion.stamps_ns[changes[0] + 1] - motion.stamps_ns[0]) / 1e9
    largest = changes[int(np.argmax(metres[changes] + degrees[changes]))]
    return warnings.mount_changed(child, float(metres[largest]), float(degrees[largest]), at_s)


def _moving_findings(child: str, tracks: list[Track], max_gap_s: float) -> Iterator[Finding]:
    """Name what contradicts itself in the samples of one frame between two steps of its clock."""
    stamps = np.concatenate([track.stamps for track in tracks])
    if 2 * int((stamps == 0).sum()) > len(stamps):
        yield warnings.tf_unstamped(child, int((stamps == 0).sum()), len(stamps))
        return
    conflict = _conflict(child, tracks)
    motion = motion_of(tracks)
    if conflict is not None:
        yield conflict
    elif (sparse := _sparse(child, motion)) is not None:
        yield sparse
    if (gap := _gap(child, motion, max_gap_s)) is not None:
        yield gap
    if conflict is None and (why := _impossible(motion)):
        yield warnings.tf_implausible(child, why)


def _between_steps(tracks: list[Track]) -> list[list[Track]]:
    """Cut the tracks of a frame where its clock was set back: stamps that ran through twice contradict each other."""
    cut = [_cut_at_steps(track) for track in tracks]
    if len({len(parts) for parts in cut}) > 1:
        return []  # which parts belong together is not known
    return [list(parts) for parts in zip(*cut, strict=True)]


def _cut_at_steps(track: Track) -> list[Track]:
    parts = []
    while (step := _place_of_step(track.stamps, EDGE_STEP)) is not None:
        parts.append(track.part(slice(0, step)))
        track = track.part(slice(step, None))
    return [*parts, track]


def find_step(stamps: IntArray, in_a_row: int) -> tuple[float, float] | None:
    """Return by how much stamps step back and how long after the first one, in s; None where they do not.

    Args:
        stamps: In the order of the recording, ns.
        in_a_row: This many messages below the highest stamp are a step.
    """
    place = _place_of_step(stamps, in_a_row)
    if place is None:
        return None
    highest = int(stamps[:place].max())
    return (highest - int(stamps[place])) / 1e9, (highest - int(stamps[0])) / 1e9


def _place_of_step(stamps: IntArray, in_a_row: int) -> int | None:
    """Return which message is the first after a step back; None where there is none.

    Messages that were overtaken fill the gaps that they left. After a step of the clock stamps come that were there
    already, or lie before anything that may be on its way so long.

    Args:
        stamps: In the order of the recording, ns.
        in_a_row: This many messages below the highest stamp are a step.
    """
    if len(stamps) <= in_a_row:
        return None
    highest = np.maximum.accumulate(stamps)
    places = np.flatnonzero(np.convolve(stamps < highest, np.ones(in_a_row), "valid") == in_a_row)
    usual = float(np.median(np.abs(np.diff(stamps))))
    for place in places.tolist():
        back = float(highest[place] - stamps[place])
        late = stamps[place : place + in_a_row]
        before = np.sort(stamps[:place])
        right = np.minimum(np.searchsorted(before, late), len(before) - 1)
        nearest = np.minimum(np.abs(before[right] - late), np.abs(before[np.maximum(right - 1, 0)] - late))
        if back > _ON_ITS_WAY_NS or (nearest < _AGAIN * usual).all():
            return int(place)
    return None


def _conflict(child: str, tracks: list[Track]) -> Finding | None:
    parents = sorted({track.parent for track in tracks})
    topics = sorted({track.topic for track in tracks})
    if len(parents) > 1 and _overlap([track.stamps for track in tracks]):
        text = f"it is published in {' and in '.join(map(repr, parents))} over the same time"
        return warnings.tf_conflict(child, text, f"stop one of the publishers (ros2 topic info -v {topics[0]})")
    remedy = f"stop one of the publishers (ros2 topic info -v {topics[0]})"
    if len(topics) > 1:
        remedy = f"transforms.topics: [{topics[0]}]"
    repeated = _repeats(tracks)
    if repeated is not None:
        count, metres, degrees = repeated
        text = f"{count} stamps come twice with other values, up to {metres:.2f} m and {degrees:.1f} degrees apart"
        return warnings.tf_conflict(child, text, remedy)
    motion = motion_of(tracks)
    zigzags = _zigzags(motion)
    if zigzags is not None:
        count, metres, degrees = zigzags
        text = (
            f"it jumps to and fro {count} times in {len(motion.stamps_ns)} samples, by {metres:.2f} m and "
            f"{degrees:.1f} degrees: two nodes publish it"
        )
        return warnings.tf_conflict(child, text, remedy)
    return None


def _overlap(stamps: list[IntArray]) -> bool:
    """Whether several tracks are published over the same time rather than one after the other."""
    spans = sorted((int(s.min()), int(s.max())) for s in stamps if len(s) > 1)
    return any(later[0] < earlier[1] for earlier, later in pairwise(spans))


def _repeats(tracks: list[Track]) -> tuple[int, float, float] | None:
    """Count stamps that come again with another value, and give the largest difference."""
    stamps = np.concatenate([track.stamps for track in tracks])
    positions = np.concatenate([track.translations for track in tracks])
    rotations = np.concatenate([track.rotations for track in tracks])
    order = np.argsort(stamps, kind="stable")
    again = np.flatnonzero(np.diff(stamps[order]) == 0)
    if not len(again):
        return None
    one, other = order[again], order[again + 1]
    metres = np.linalg.norm(positions[one] - positions[other], axis=1)
    degrees = _angles(rotations[one], rotations[other])
    differs = (metres > _SAME_M) | (degrees > _SAME_DEG)
    if not differs.any():
        return None
    return int(differs.sum()), float(metres[differs].max()), float(degrees[differs].max())


def _zigzags(motion: Motion) -> tuple[int, float, float] | None:
    """Count samples that lie far beside the line between their neighbours: no vehicle moves so.

    A correction of a localisation is one step, a bend goes to one side; an edge with two publishers goes to and fro.
    """
    off = _beside(motion)
    if off is None:
        return None
    metres, degrees, half_s = off.metres, off.degrees, off.half_s
    far = off.goes & (metres > _ZIGZAG_M + _ZIGZAG_M_PER_S2 * half_s**2)
    far |= off.turns & (degrees > _ZIGZAG_DEG + _ZIGZAG_DEG_PER_S2 * half_s**2)
    count = int(far.sum())
    if count < max(_LEAST_ZIGZAGS, _ZIGZAG_SHARE * len(metres)):
        return None
    return count, float(np.median(metres[far])), float(np.median(degrees[far]))


class _Beside(NamedTuple):
    """How far inner samples are from the line between their neighbours."""

    metres: FloatArray
    degrees: FloatArray
    half_s: FloatArray
    """Half the time between the neighbours."""
    goes: NDArray[np.bool_]
    """Whether a sample is on the other side than one of its neighbours."""
    turns: NDArray[np.bool_]
    """Whether it is turned to the other side than one of them."""


def _beside(motion: Motion) -> _Beside | None:
    t = motion.stamps_ns
    if len(t) < 5:
        return None
    share = (t[1:-1] - t[:-2]) / (t[2:] - t[:-2])
    expected = motion.positions[:-2] + share[:, None] * (motion.positions[2:] - motion.positions[:-2])
    turned = quaternion.slerp(motion.rotations[:-2], motion.rotations[2:], share)
    aside = motion.positions[1:-1] - expected
    rest = quaternion.multiply(quaternion.conjugate(turned), motion.rotations[1:-1])
    return _Beside(
        metres=np.asarray(np.linalg.norm(aside, axis=1)),
        degrees=_angles(turned, motion.rotations[1:-1]),
        half_s=np.asarray((t[2:] - t[:-2]) / 2e9),
        goes=_opposed(aside),
        turns=_opposed(rest[:, :3] * np.sign(rest[:, 3:])),
    )


def _opposed(vectors: FloatArray) -> NDArray[np.bool_]:
    """Return which vectors point away from the one before or the one after, shape (n, 3)."""
    against = (vectors[1:] * vectors[:-1]).sum(axis=1) < 0
    found = np.zeros(len(vectors), np.bool_)
    found[1:] |= against
    found[:-1] |= against
    return found


def _sparse(child: str, motion: Motion) -> Finding | None:
    """Say where straight lines between samples are too far from the way: a quarter of what leaving one out does."""
    off = _beside(motion)
    if off is None or motion.travelled_m < 1.0:
        return None
    metres, degrees = (float(np.percentile(values, 75)) / 4 for values in (off.metres, off.degrees))
    if metres < _SPARSE_M and degrees < _SPARSE_DEG:
        return None
    rate = 1 / float(np.median(motion.steps_s))
    if rate > 20:
        return None  # noise, or a rough road: more transforms would not help
    return warnings.tf_sparse(child, rate, motion.speed, metres, degrees)


def _gap(child: str, motion: Motion, max_gap_s: float) -> Finding | None:
    steps = motion.steps_s
    if len(steps) < 2:
        return None
    long = np.flatnonzero((steps[1:] > max_gap_s) & (steps[1:] > 3 * steps[:-1])) + 1
    if not len(long):
        return None
    moved = np.linalg.norm(motion.positions[long + 1] - motion.positions[long], axis=1)
    far = max(float(moved.max()), motion.speed * float(steps[long].max()) if motion.extent_m > _STANDING_M else 0.0)
    if far < _STANDING_M:
        return None
    return warnings.tf_gap(child, len(long), float(steps[long].max()), far)


def _impossible(motion: Motion) -> str:
    """Say what no vehicle can do; '' where nothing is of that kind."""
    if len(motion.positions) < _LEAST_STILL:
        return ""
    if motion.speed > _FASTEST_M_S:
        return f"it moves at {motion.speed:.0f} m/s: are its positions in metres?"
    return _frozen(motion)


def _frozen(motion: Motion) -> str:
    """Say where an edge stands still all at once, to the last digit, although it is sent on."""
    still = (np.diff(motion.positions, axis=0) == 0).all(axis=1) & (np.diff(motion.rotations, axis=0) == 0).all(axis=1)
    if not still.any():
        return ""
    speeds = np.linalg.norm(np.diff(motion.positions, axis=0), axis=1) / motion.steps_s
    for begin in np.flatnonzero(still[1:] & ~still[:-1]) + 1:
        rest = still[begin:]
        count = int(np.argmin(rest)) if not rest.all() else len(rest)
        before = speeds[max(0, begin - _LEAST_MOVING) : begin]  # a correction of an odometry is one step alone
        slowing = speeds[begin - 1] / motion.steps_s[begin]
        was_moving = len(before) == _LEAST_MOVING and float(before.min()) > _MOVING_M_S
        if count >= _LEAST_STILL and was_moving and slowing > _HARDEST_M_S2:
            since_s = float(motion.stamps_ns[begin] - motion.stamps_ns[0]) / 1e9
            return (
                f"it stands still to the last digit from {since_s:.1f} s on, for {count} samples, after "
                f"{speeds[begin - 1]:.1f} m/s: what computes it has stopped"
            )
    return ""


def _static_change(child: str, tracks: list[Track]) -> Finding | None:
    logs = np.concatenate([track.logs for track in tracks])
    order = np.argsort(logs, kind="stable")
    positions = np.concatenate([track.translations for track in tracks])[order]
    rotations = np.concatenate([track.rotations for track in tracks])[order]
    metres = np.linalg.norm(positions - positions[0], axis=1)
    degrees = _angles(rotations, np.broadcast_to(rotations[0], rotations.shape))
    changed = np.flatnonzero((metres > _MOVED_M) | (degrees > _MOVED_DEG))
    if not len(changed):
        return None
    after_s = float(logs[order][changed[0]] - logs[order][0]) / 1e9
    return warnings.static_changed(child, float(metres.max()), float(degrees.max()), after_s)


def _angles(one: FloatArray, other: FloatArray) -> FloatArray:
    """Return the angle between rotations in degrees, shape (n,)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.abs((one * other).sum(axis=-1)) / (np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1))
    return np.asarray(np.degrees(2 * np.arccos(np.clip(np.nan_to_num(cosine, nan=1.0), 0.0, 1.0))))


def draw_tree(transforms: Transforms, scan: Scan) -> str:
    """Draw the tree, a frame a line."""
    tree = transforms.tree
    children: dict[str | None, list[str]] = {}
    for frame in tree.frames():
        children.setdefault(tree.parent_of(frame), []).append(frame)
    roots = children.get(None, [])
    lines: list[str] = []
    if len(roots) > 1:
        lines.append(f"{len(roots)} parts that nothing connects: {', '.join(roots)}")
    drawn: set[str] = set()

    def draw(frame: str, lead: str, branch: str, below: str) -> None:
        drawn.add(frame)
        lines.append(f"{lead}{branch}{frame}{_note(transforms, scan, frame)}")
        kids = [kid for kid in children.get(frame, []) if kid not in drawn]
        for kid in kids:
            last = kid == kids[-1]
            draw(kid, lead + below, "└─ " if last else "├─ ", "   " if last else "│  ")

    for root in roots:
        draw(root, "", "", "")
    lines += [f"{frame}: in a loop of transforms" for frame in tree.frames() if frame not in drawn]
    return "\n".join(lines) or "no transforms"


def tree_parts(tree: TransformTree) -> list[list[str]]:
    """Group the frames by the root they hang from."""
    groups: dict[str, list[str]] = {}
    for frame in tree.frames():
        climbed = [frame]
        while (parent := tree.parent_of(climbed[-1])) is not None and parent not in climbed:
            climbed.append(parent)
        groups.setdefault(climbed[-1], []).append(frame)
    return [groups[root] for root in sorted(groups)]


def _note(transforms: Transforms, scan: Scan, frame: str) -> str:
    tracks = transforms.tracks_of(frame)
    if not tracks:
        return ""
    if all(track.static for track in tracks):
        return "  static"
    stamps = np.unique(np.concatenate([track.stamps for track in tracks if not track.static]))
    if len(stamps) < 2:
        return "  moving, 1 sample"
    steps = np.diff(stamps) / 1e9
    first, last = (stamps[0] - scan.start_ns) / 1e9, (stamps[-1] - scan.start_ns) / 1e9
    return (
        f"  moving, {1 / np.median(steps):.0f} Hz, {first:+.1f} to {last:+.1f} s of {scan.read_s:.1f} s"
        f", longest gap {steps.max() * 1e3:.0f} ms"
    )
