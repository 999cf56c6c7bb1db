# SPDX-License-Identifier: Apache-2.0
"""Poses from a trajectory file: checked when it is opened, handed out in the order of their stamps."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from nucleus_bridge import warnings
from nucleus_bridge.config import PoseConfig
from nucleus_bridge.decode.cdr import strip_slashes
from nucleus_bridge.decode.interface import Reset
from nucleus_bridge.errors import ConfigError
from nucleus_bridge.geometry.local_level import GlobeOrigin
from nucleus_bridge.model import FloatArray, IntArray, Message
from nucleus_bridge.poses import plausibility
from nucleus_bridge.poses.source import Edge, PoseTopic, Rank
from nucleus_bridge.poses.trajectory_formats import read_trajectory
from nucleus_bridge.warnings import Code, Finding, Weight

LEAD_NS = 120_000_000_000
"""From how long before the first stamp that is asked for poses are handed out: what the tree keeps."""
ESTIMATED = "# estimated by nucleus-bridge odometry: relative to its first sweep, drifts, lies nowhere on the globe"
"""First line of a file whose poses are estimated from the lidar."""
_BLOCK = 256
_MAX_TILT_DEG = 45.0
_FORWARD_DEG, _DOWN_DEG = 70.0, 135.0


class FilePoses:
    """One moving edge of the tree from a file (a ``PoseSource``); 64 bytes of memory a pose.

    Args:
        settings: ``poses.<name>`` with a file.
        world_frame: Parent where the settings name none.
        device_frame: Child where the settings name none.
        base_dir: What the paths are relative to.

    Attributes:
        spacing: Rate, gaps, order and duplicates of the file.
        origin: Where the local level frame of an INS file lies, or None.
        of_device: Poses of the device in the other frame, shape (n, 7); None where the file is about other frames.
        is_estimated: Whether ``nucleus-bridge odometry`` wrote it.
        findings: What is odd about the file.

    Raises:
        ConfigError: The file cannot be used; naming the parameter, what is wrong and what to set.
    """

    rank: Rank = "transform"
    names_body = True

    def __init__(self, settings: PoseConfig, world_frame: str, device_frame: str, base_dir: Path) -> None:
        self.name = f"poses.{settings.name}"
        self.parent = strip_slashes(settings.parent_frame or world_frame)
        self.child = strip_slashes(settings.child_frame or device_frame)
        if self.parent == self.child:
            raise ConfigError(
                f"{self.name}: its poses would be those of {self.child!r} in itself; set world_frame to the frame that "
                f"they are in, such as map, or {self.name}.parent_frame"
            )
        self._file = base_dir / settings.file
        read = read_trajectory(settings, base_dir)
        self.origin: GlobeOrigin | None = read.origin
        with self._file.open(encoding="utf-8", errors="replace") as file:
            self.is_estimated = file.readline(len(ESTIMATED) + 1).rstrip("\n") == ESTIMATED
        self._stamps_ns, self._poses, self.spacing = plausibility.in_order(read.stamps_ns, read.poses)
        self._stamps_ns = self._stamps_ns + round(settings.clock_offset_ms * 1e6)
        self._next: int | None = None
        self.of_device = of_device = self._of_device(strip_slashes(device_frame))
        self.findings = (
            *self._spacing_findings(),
            *self._attitude_findings(of_device, is_order_assumed=read.has_quaternions and not settings.columns),
        )

    @property
    def topics(self) -> Mapping[str, PoseTopic]:
        """Return nothing: it reads no topic."""
        return {}

    @property
    def span_ns(self) -> tuple[int, int]:
        """First and last stamp."""
        return int(self._stamps_ns[0]), int(self._stamps_ns[-1])

    @property
    def trajectory(self) -> tuple[IntArray, FloatArray]:
        """All stamps, shape (n,), and poses, shape (n, 7)."""
        return self._stamps_ns, self._poses

    def check_overlap(self, first_ns: int, last_ns: int) -> None:
        """Check that some pose lies in a recording.

        Raises:
            ConfigError: There is none; with what would explain it.
        """
        problem = plausibility.no_overlap(self.name, self.span_ns, (first_ns, last_ns))
        if problem:
            raise ConfigError(f"{problem} ({self._file})")

    def initial(self) -> Iterable[Edge]:
        """Yield nothing: poses are asked for by ``until``."""
        return ()

    def edges(self, message: Message) -> Iterable[Edge]:  # noqa: ARG002 - it reads no topic
        """Yield nothing: it reads no topic."""
        return ()

    def until(self, stamp_ns: int) -> Iterator[Edge]:
        """Yield the poses up to and including the first one at or after a stamp, each once."""
        if self._next is None:
            self._next = max(bisect_right(self._stamps_ns, stamp_ns - LEAD_NS) - 1, 0)
        end = min(bisect_left(self._stamps_ns, stamp_ns) + 1, len(self._stamps_ns))
        while self._next < end:
            begin, self._next = self._next, min(self._next + _BLOCK, end)
            block = slice(begin, self._next)
            edge = partial(Edge, self.parent, self.child, static=False)
            for stamp, pose in zip(self._stamps_ns[block].tolist(), self._poses[block].tolist(), strict=True):
                yield edge(stamp_ns=stamp, translation=tuple(pose[:3]), rotation_xyzw=tuple(pose[3:]))

    def reset(self, why: Reset) -> None:  # noqa: ARG002 - whatever the reason
        """Begin again at the next stamp that is asked for."""
        self._next = None

    def _of_device(self, device: str) -> FloatArray | None:
        """Return the device's poses in the other frame, or None where the file is about other frames."""
        if self.child == device:
            return self._poses
        return plausibility.inverse(self._poses) if self.parent == device else None

    def _spacing_findings(self) -> Iterator[Finding]:
        spacing = self.spacing
        if spacing.duplicates:
            text = f"{self._file.name} has {spacing.duplicates} stamps again; the last pose of each counts"
            yield Finding(Code.POSE_DUPLICATES, "frame", self.child, text, f"check {self._file}", Weight.NOTE)
        if spacing.gaps:
            text = (
                f"{self._file.name} has {spacing.gaps} {'gap' if spacing.gaps == 1 else 'gaps'}, "
                f"the longest of {spacing.longest_s:.3f} s at {spacing.rate_hz:.1f} Hz"
            )
            yield Finding(Code.POSE_GAPS, "frame", self.child, text, f"check {self._file}", Weight.LOSS)

    def _attitude_findings(self, of_device: FloatArray | None, *, is_order_assumed: bool) -> Iterator[Finding]:
        if of_device is None:
            return
        w_first = (
            f"{self.name}.columns: ['stamp=1', 'x=2', 'y=3', 'z=4', 'qw=5', 'qx=6', 'qy=7', 'qz=8'] "
            "(by the columns of your file)"
        )
        frame, tilt = self.child, plausibility.tilt_deg(of_device)
        if is_order_assumed and plausibility.is_w_first(of_device):
            raise ConfigError(
                f"{self.name}.file: {self._file} has quaternions with w first: read as x y z w the vehicle leans by "
                f"{tilt:.0f} degrees, read as w x y z it stands upright; set {w_first}"
            )
        if is_order_assumed and plausibility.may_be_w_first(of_device):
            text = f"by {self._file.name} the device drives backwards all the time; with w first it drives forwards"
            yield Finding(Code.POSE_ATTITUDE, "frame", frame, text, w_first, Weight.NOTE)
        elif tilt > _MAX_TILT_DEG:
            text = f"by {self._file.name} the z axis of the device is {tilt:.0f} degrees from up"
            remedy = f"{self.name}.child_frame: the frame whose poses these are{_axes(tilt)}"
            yield Finding(Code.POSE_ATTITUDE, "frame", frame, text, remedy)
        elif plausibility.is_inverse(of_device):
            why = f"by {self._file.name} the device moves sideways, and turned round it does not"
            yield warnings.pose_inverse(self.name, self.parent, frame, why)
        elif plausibility.may_be_inverse(of_device):
            why = f"by {self._file.name} the device drives backwards all the time, and turned round it drives forwards"
            yield warnings.pose_inverse(self.name, self.parent, frame, why).remedied()


def _axes(tilt_deg: float) -> str:
    """Say which bodies have a z axis at an angle from up."""
    if tilt_deg > _DOWN_DEG:
        return " (with its mount; the z axis of many an INS points down)"
    return " (with its mount; a camera's z axis points forward)" if tilt_deg > _FORWARD_DEG else " (with its mount)"
