# SPDX-License-Identifier: Apache-2.0
"""Frame by frame to a verdict on every camera: which frames are looked at, and what is said of them in the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.calibration.fit import FINE_DEG, NUMBERS, Fit, Motion, grid
from nucleus_bridge.calibration.looks import Look, look_at, rotation_of, vector_of
from nucleus_bridge.calibration.measure import MOST_RIVAL, Kind, Measurement, measure
from nucleus_bridge.calibration.scans import Scanner
from nucleus_bridge.formats.content import SceneFrame
from nucleus_bridge.geometry import quaternion, transforms
from nucleus_bridge.model import FloatArray, Transform

Array = NDArray[Any]
State = Literal["agrees", "suspect", "not_measured"]
_NOT_ASKED = "it was not asked for"
Curve = list[float | None]

MOST_FRAMES = 12
AT_ONCE = 48
"""So many images of a camera are judged together: where all are looked at, a recording is judged part by part."""
SHIFTS_MS = (-150, -125, -100, -75, -50, -25, 0, 25, 50, 75, 100, 125, 150)
"""The time shifts at which the page draws the score."""
_FEWEST_FRAMES = 3
_FEWEST_EDGES, _FEWEST_A_FRAME = 200, 20
_STILL_M, _STILL_DEG = 0.15, 1.0
"""A frame whose device is nearer than this to that of the frame looked at last shows the same once more."""
_MOVED_M, _MOVED_DEG = 1.0, 5.0
_ALIKE_M, _ALIKE_DEG = 0.02, 0.1
"""Cameras whose mounts are nearer to each other than this are one camera."""
_TIME_TOLD_MPS = 1.0
_MOST_UNSEEN_DEG = (1.0, 1.0, 1.2)
"""Pitch, yaw and roll: a calibration that may be farther off without being seen does not agree."""


@dataclass(frozen=True)
class Correction:
    """What would fit better, as it moves the camera in its own optical frame (x right, y down, z ahead).

    Attributes:
        kind: What is wrong if this is right: ``rotation``, ``shift``, ``time``, or ``mount`` for turn and shift.
        rotation_deg: Rotation vector of the camera: pitch up, yaw to the right, roll clockwise.
        shift_m: By how much the camera sits elsewhere.
        time_ms: What its stamps lack.
    """

    kind: Kind
    rotation_deg: tuple[float, float, float]
    shift_m: tuple[float, float, float]
    time_ms: float

    @property
    def angle_deg(self) -> float:
        """Return by how much the camera is turned."""
        return math.sqrt(sum(angle * angle for angle in self.rotation_deg))

    @property
    def distance_m(self) -> float:
        """Return by how much the camera is moved."""
        return math.sqrt(sum(shift * shift for shift in self.shift_m))

    def applied_to(self, frame_from_camera: Transform) -> Transform:
        """Return a camera's pose in any frame as it should be."""
        turn = rotation_of(np.radians(self.rotation_deg))
        return transforms.compose(frame_from_camera, Transform(np.array(self.shift_m), turn))

    @property
    def words(self) -> str:
        """Describe it in words."""
        parts = []
        pitch, yaw, roll = self.rotation_deg
        turns = [
            f"{abs(angle):.1f} degrees {way[angle > 0]}"
            for angle, way in ((yaw, ("to the left", "to the right")), (pitch, ("down", "up")),
                               (roll, ("counter-clockwise", "clockwise")))
            if abs(angle) >= 0.05
        ]  # fmt: skip
        if turns:
            parts.append("turned by " + " and ".join(turns))
        right, down, ahead = self.shift_m
        moves = [
            f"{abs(shift) * 100:.0f} cm {way[shift > 0]}"
            for shift, way in ((right, ("to the left", "to the right")), (down, ("up", "down")),
                               (ahead, ("back", "ahead")))
            if abs(shift) >= 0.005
        ]  # fmt: skip
        if moves:
            parts.append("moved by " + " and ".join(moves))
        if abs(self.time_ms) >= 0.5:
            parts.append(f"stamped {abs(self.time_ms):.0f} ms {'later' if self.time_ms > 0 else 'earlier'}")
        return " and ".join(parts)


@dataclass(frozen=True)
class Within:
    """How far a calibration may be off without being seen; None where that could not be measured at all."""

    pitch_deg: float | None
    yaw_deg: float | None
    roll_deg: float | None
    right_m: float | None
    down_m: float | None
    ahead_m: float | None
    time_ms: float | None


@dataclass(frozen=True)
class Verdict:
    """What the images of a camera say about its calibration.

    Attributes:
        camera: Its name.
        state: ``agrees``, ``suspect`` or ``not_measured``.
        text: The same for people, with figures.
        frames: Images that were looked at.
        edges: Edges of the clouds that were compared with them.
        score: How well they meet, in the spread of chance.
        best_score: How well they would meet with ``correction``, or with a correction too small to matter.
        within: How far each number may be off unseen; None unless it agrees.
        correction: What would fit better; None unless it is suspect.
        curve: Share of the best score at each of ``SHIFTS_MS``.
    """

    camera: str
    state: State
    text: str
    frames: int
    edges: int
    score: float | None = None
    best_score: float | None = None
    within: Within | None = None
    correction: Correction | None = None
    curve: Curve = field(default_factory=lambda: [None] * len(SHIFTS_MS))

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        fix = self.correction
        return {
            "camera": self.camera,
            "state": self.state,
            "text": self.text,
            "frames": self.frames,
            "edges": self.edges,
            "score": self.score,
            "best_score": self.best_score,
            "within": None if self.within is None else dict(vars(self.within)),
            "correction": None if fix is None else {
                "kind": fix.kind,
                "rotation_deg": list(fix.rotation_deg),
                "shift_m": list(fix.shift_m),
                "time_ms": fix.time_ms,
                "angle_deg": round(fix.angle_deg, 3),
                "distance_m": round(fix.distance_m, 3),
            },
        }  # fmt: skip


Track = list[tuple[int, Transform]]


@dataclass
class Seen:
    """What was seen of a camera since it was judged last.

    Attributes:
        tracks: Where it was in every frame, a scene after the other.
        looks: The images that are compared, each with its track and its place on it.
        judged: What was said of earlier images.
    """

    tracks: list[Track] = field(default_factory=lambda: [[]])
    looks: list[tuple[Track, int, Look]] = field(default_factory=list)
    judged: list[Verdict] = field(default_factory=list)

    def judge(self, camera: str) -> None:
        """Say what the images show, and forget them."""
        with np.errstate(all="ignore"):
            self.judged.append(_judge(camera, self))
        self.tracks, self.looks = [self.tracks[-1][-1:]], []

    def is_alike(self, other: Seen) -> bool:
        """Whether the images of another scene are of the same kind."""
        if not self.looks or not other.looks:
            return True
        one, two = self.looks[0][2], other.looks[0][2]
        return one.shape == two.shape and one.model == two.model


@dataclass
class _Sampling:
    """Which frames are looked at, over all scenes that are judged together."""

    scanner: Scanner
    most: int | None
    stride: float
    count: int = 0
    due: float = 0.0
    looked_at: int = 0
    is_distorted: bool = False


class CalibrationCheck:
    """Compares clouds and images of a scene's frames, given one after the other.

    Some of them are looked at, spread evenly, none of which shows what the last one showed; or all of these.
    """

    def __init__(self, expected: int, most: int | None = MOST_FRAMES, *, is_deskewed: bool = True) -> None:
        """Take what is known beforehand.

        Args:
            expected: How many frames there will be, more or less, with those of scenes that are judged together.
            most: How many of them may be looked at; None for all, 0 if nothing is measured.
            is_deskewed: Whether clouds that do not say where their lidar was were moved to one instant.
        """
        stride = max(1.0, expected / most) if most else 1.0
        self._sampling = _Sampling(Scanner(is_deskewed=is_deskewed), most, stride)
        self._last: Transform | None = None
        self.cameras: dict[str, Seen] = {}

    def for_next_scene(self) -> CalibrationCheck:
        """Return a check of the next scene of the same recording, which is judged together with this one."""
        other = CalibrationCheck(1)
        other._sampling = self._sampling
        self.scanner.new_scene()
        return other

    def note_distorted(self) -> None:
        """Take note that the clouds are as the moving lidar measured them, since nothing says when each point was."""
        self._sampling.is_distorted = True

    @property
    def is_distorted(self) -> bool:
        """Whether the lidar's motion is still in the clouds."""
        return self._sampling.is_distorted

    @property
    def scanner(self) -> Scanner:
        """What finds the edges of the clouds."""
        return self._sampling.scanner

    def wants_next(self) -> bool:
        """Whether the next frame may be one that is looked at."""
        now = self._sampling
        return now.most is None or (now.count >= now.due and now.looked_at < now.most)

    def shows_more(self, position: FloatArray, heading_xyzw: FloatArray) -> bool:
        """Whether a device there sees something else than in the frame that was looked at last."""
        return self._last is None or not _is_near(self._last, position, heading_xyzw, _STILL_M, _STILL_DEG)

    def add(self, frame: SceneFrame, pictures: Mapping[str, tuple[Array, int]]) -> None:
        """Take a frame.

        Args:
            frame: The frame; with all of its points where it may be wanted.
            pictures: Where it may be wanted, its gray pictures by camera, perhaps smaller than their files have them,
                and their width in their files.
        """
        now = self._sampling
        now.scanner.passed(frame)
        if pictures and not self.shows_more(frame.position, frame.heading_xyzw):
            pictures = {}
            now.due = now.count + max(1.0, now.stride / 2)
        with np.errstate(all="ignore"):  # a damaged scene may say anything
            self._look(frame, pictures)
        if pictures:
            now.looked_at += 1
            now.due = max(now.due, now.count + 1 - now.stride) + now.stride
            self._last = Transform(frame.position, frame.heading_xyzw)
        now.count += 1

    def _look(self, frame: SceneFrame, pictures: Mapping[str, tuple[Array, int]]) -> None:
        scans = self.scanner.of(frame) if pictures else []
        for image in frame.images:
            seen = self.cameras.setdefault(image.camera, Seen())
            pose = Transform(image.position, image.heading_xyzw)
            if image.camera in pictures:
                if len(seen.looks) >= AT_ONCE:
                    seen.judge(image.camera)
                gray, width = pictures[image.camera]
                look = look_at(gray, width, image.stamp_ns, pose, image.model, scans)
                seen.looks.append((seen.tracks[-1], len(seen.tracks[-1]), look))
            seen.tracks[-1].append((image.stamp_ns, pose))

    def verdicts(self, progress: Callable[[float], None] | None = None) -> list[Verdict]:
        """Say what was seen of each camera."""
        return verdicts_together([self], [{}], progress)[0]

    @property
    def is_deep(self) -> bool:
        """Whether all frames are looked at."""
        return self._sampling.most is None

    @property
    def is_asked(self) -> bool:
        """Whether anything is to be measured."""
        return self._sampling.most != 0


def verdicts_together(
    checks: Sequence[CalibrationCheck],
    mounts: Sequence[Mapping[str, Transform | None]],
    progress: Callable[[float], None] | None = None,
) -> list[list[Verdict]]:
    """Judge the cameras of several scenes of one recording; those that are mounted alike are judged together.

    Args:
        checks: One a scene.
        mounts: Where the cameras of each scene are on the device, as far as that is known.
        progress: Is told how far it is, 0 to 1.

    Returns:
        For each scene the verdicts on its cameras.
    """
    found: list[dict[str, Verdict]] = [{} for _ in checks]
    everything = [(scene, camera) for scene, check in enumerate(checks) for camera in check.cameras]
    for done, (first, camera) in enumerate(everything):
        if camera not in found[first]:
            seen, mount = checks[first].cameras[camera], mounts[first].get(camera)
            alike = [first] + [
                scene
                for scene in range(first + 1, len(checks))
                if camera in checks[scene].cameras
                and camera not in found[scene]
                and _is_same_place(mount, mounts[scene].get(camera))
                and seen.is_alike(checks[scene].cameras[camera])
            ]
            verdict = _verdict_on(camera, [checks[scene] for scene in alike])
            for scene in alike:
                found[scene][camera] = verdict
        if progress:
            progress((done + 1) / len(everything))
    return [list(verdicts.values()) for verdicts in found]


def _verdict_on(camera: str, checks: Sequence[CalibrationCheck]) -> Verdict:
    """Judge a camera by what was seen of it in some scenes."""
    if not checks[0].is_asked:
        return Verdict(camera, "not_measured", _NOT_ASKED, 0, 0)
    parts = [check.cameras[camera] for check in checks]
    whole = Seen(*([item for part in parts for item in getattr(part, name)] for name in ("tracks", "looks", "judged")))
    whole.judge(camera)
    verdict = _worst(whole.judged)
    return _doubted(verdict) if checks[0].is_distorted else verdict


def _doubted(verdict: Verdict) -> Verdict:
    """Take back what a cloud whose points have no times cannot tell: how old each part of it is."""
    fix = verdict.correction
    if fix is None or fix.kind != "time":
        return verdict
    text = (
        f"edges of the clouds would fit its images better if it were {fix.words}, but the lidar's points have no "
        "times: the part of a sweep that the camera sees may be that much older or younger than the stamp"
    )
    return replace(verdict, state="not_measured", text=text, correction=None)


def _is_same_place(one: Transform | None, other: Transform | None) -> bool:
    if one is None or other is None:
        return False
    return _is_near(one, other.translation, other.rotation_xyzw, _ALIKE_M, _ALIKE_DEG)


def _worst(parts: Sequence[Verdict]) -> Verdict:
    """Make one verdict of those on parts of a recording: the worst of them, with the images of all."""
    if len(parts) == 1:
        return parts[0]
    states = [part.state for part in parts]
    state: State = next(state for state in ("suspect", "agrees", "not_measured") if state in states)
    alike = [part for part in parts if part.state == state]
    typical = sorted(alike, key=lambda part: part.best_score or 0.0)[len(alike) // 2]
    text = f"{typical.text}, as in {len(alike)} of {len(parts)} parts of the recording"
    frames, edges = sum(part.frames for part in parts), sum(part.edges for part in parts)
    return replace(typical, text=text, frames=frames, edges=edges)


def _is_near(one: Transform, position: FloatArray, heading_xyzw: FloatArray, metres: float, degrees: float) -> bool:
    turn = quaternion.multiply(quaternion.conjugate(one.rotation_xyzw), heading_xyzw)
    angle = math.degrees(float(np.linalg.norm(vector_of(turn))))
    return float(np.linalg.norm(position - one.translation)) < metres and angle < degrees


def _judge(camera: str, seen: Seen) -> Verdict:
    looks = [one for one in seen.looks if len(one[2].points) >= _FEWEST_A_FRAME]
    edges = sum(len(look.points) for _, _, look in looks)
    why = _why_not(seen, looks, edges)
    if why:
        return Verdict(camera, "not_measured", why, len(seen.looks), edges)
    first = looks[0][2]
    looks = [one for one in looks if one[2].shape == first.shape and one[2].model == first.model]
    motions = [_motion(track, place) for track, place, _ in looks]
    fit = Fit([look for _, _, look in looks], motions)
    measured = measure(fit)
    speed = float(np.median([np.linalg.norm(motion.velocity) for motion in motions]))
    verdict = _verdict(camera, len(looks), measured, tells_time=speed >= _TIME_TOLD_MPS)
    verdict.curve[:] = _curve(fit, measured.best_score)
    return verdict


def _why_not(seen: Seen, looks: Sequence[tuple[Track, int, Look]], edges: int) -> str:
    """Say why nothing can be measured; '' where it can be tried."""
    count = sum(map(len, seen.tracks))
    if count < _FEWEST_FRAMES:
        return f"{count} {'image' if count == 1 else 'images'} cannot tell a chance from a fit"
    if not any(_moves(track) for track in seen.tracks):
        moved = max(_farthest(track) for track in seen.tracks)
        return f"the camera moved {moved:.1f} m: all images show the same"
    if edges < _FEWEST_EDGES or len(looks) < _FEWEST_FRAMES:
        few = f"{edges} {'edge' if edges == 1 else 'edges'}"
        return f"the clouds have {few} within {len(seen.looks)} images, too few to tell"
    return ""


def _farthest(track: Track) -> float:
    """Return how far a camera came from where it was first."""
    places = [pose.translation for _, pose in track]
    return max((float(np.linalg.norm(place - places[0])) for place in places), default=0.0)


def _moves(track: Track) -> bool:
    first = track[0][1] if track else None
    return first is not None and not all(
        _is_near(first, pose.translation, pose.rotation_xyzw, _MOVED_M, _MOVED_DEG) for _, pose in track
    )


def _motion(track: Track, place: int) -> Motion:
    """Return how a camera moves at one of its images, from those before and after it."""
    (before_ns, before), (after_ns, after) = track[max(0, place - 1)], track[min(len(track) - 1, place + 1)]
    seconds = (after_ns - before_ns) / 1e9
    if seconds <= 0:
        return Motion(np.zeros(3), np.zeros(3))
    turn = quaternion.multiply(quaternion.conjugate(before.rotation_xyzw), after.rotation_xyzw)
    velocity = (after.translation - before.translation) / seconds
    here = quaternion.conjugate(track[place][1].rotation_xyzw)
    return Motion(quaternion.rotate(here, velocity), vector_of(turn) / seconds)


def _curve(fit: Fit, best_score: float) -> Curve:
    scores = fit.scores(FINE_DEG, np.zeros(NUMBERS), grid({6: [shift / 1e3 for shift in SHIFTS_MS]}))
    return [round(float(score) / max(best_score, 1e-6), 4) for score in scores]


def _verdict(camera: str, frames: int, measured: Measurement, *, tells_time: bool) -> Verdict:
    figures: dict[str, Any] = {
        "frames": frames,
        "edges": measured.edges,
        "score": round(measured.score, 2),
        "best_score": round(measured.best_score, 2),
    }
    seen = f"{measured.edges} edges in {frames} images"
    if not measured.is_clear:
        text = f"edges of the clouds fit the images nowhere clearly better than elsewhere ({seen})"
        return Verdict(camera, "not_measured", text, **figures)
    if measured.is_off:
        fix = _correction(measured)
        share = measured.score / max(measured.best_score, 1e-6)
        text = (
            f"edges of the clouds would fit its images better if it were {fix.words}: as it is calibrated they fit "
            f"{max(share, 0.0):.0%} as well ({seen})"
        )
        return Verdict(camera, "suspect", text, correction=fix, **figures)
    if measured.is_doubtful:
        text = (
            f"edges of the clouds may fit its images better if it were {_correction(measured).words}, but not in all "
            f"parts of the images alike ({seen})"
        )
        return Verdict(camera, "not_measured", text, **figures)
    within = _within(measured, tells_time=tells_time)
    blind = list(_blind(within, measured.rivals))
    if blind:
        return Verdict(camera, "not_measured", f"{' and '.join(blind)} ({seen})", **figures)
    text = f"edges of the clouds fit its images: {_told(within)} ({seen})"
    return Verdict(camera, "agrees", text, within=within, **figures)


def _blind(within: Within, rivals: tuple[float, float]) -> Iterator[str]:
    """Say which turns could be larger than those that matter without being seen."""
    sizes = (within.pitch_deg, within.yaw_deg, within.roll_deg)
    found = list(zip(("pitch", "yaw", "roll"), sizes, _MOST_UNSEEN_DEG, (*rivals, 0.0), strict=True))
    nothing = [name for name, size, _, rival in found if size is None or rival > MOST_RIVAL]
    if nothing:
        yield f"nothing tells its {' and '.join(nothing)}"
    for name, size, most, _ in found:
        if name not in nothing and size is not None and size > most:
            yield f"its {name} may be off by {size:.1f} degrees unseen"


def _correction(measured: Measurement) -> Correction:
    """Turn how points would have to move into how the camera would have to."""
    at = measured.best.at
    turn = rotation_of(-at[:3])
    shift = quaternion.rotate(turn, -at[3:6])
    pitch, yaw, roll = (round(float(angle), 2) + 0.0 for angle in np.degrees(-at[:3]))
    right, down, ahead = (round(float(value), 3) + 0.0 for value in shift)
    return Correction(measured.best.kind, (pitch, yaw, roll), (right, down, ahead), round(float(at[6]) * 1e3, 1) + 0.0)


def _within(measured: Measurement, *, tells_time: bool) -> Within:
    pitch, yaw, roll = (None if size is None else round(math.degrees(size), 1) for size in measured.within[:3])
    right, down, ahead = (None if size is None else round(size, 2) for size in measured.within[3:6])
    time = measured.within[6]
    return Within(pitch, yaw, roll, right, down, ahead, None if time is None or not tells_time else round(time * 1e3))


def _told(within: Within) -> str:
    angles = {"pitch": within.pitch_deg, "yaw": within.yaw_deg, "roll": within.roll_deg}
    parts = [f"{name} within {size:.1f} degrees" for name, size in angles.items() if size is not None]
    parts += _named("place within {:.2f} m", [within.right_m, within.down_m, within.ahead_m])
    parts += _named("stamps within {:.0f} ms", [within.time_ms])
    return ", ".join(parts)


def _named(text: str, sizes: Sequence[float | None]) -> Iterator[str]:
    known = [size for size in sizes if size is not None]
    if len(known) == len(sizes):
        yield text.format(max(known))
