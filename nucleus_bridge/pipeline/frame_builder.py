# SPDX-License-Identifier: Apache-2.0
"""From matched messages to a posed frame: waits for transforms, calibrations and fixes, never guesses.

Frames leave in order. A frame whose poses are not there yet waits; once message time has passed its deadline the
frame, or the image concerned, is given up and counted with the reason. Transforms may arrive a little later than
that: those stamped up to the deadline count, whatever arrived first, and later ones never.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from nucleus_bridge.config import Config
from nucleus_bridge.errors import TransformError
from nucleus_bridge.geometry import TransformTree
from nucleus_bridge.model import Frame, Payload
from nucleus_bridge.pipeline.calibrations import Calibrations
from nucleus_bridge.pipeline.gps import GpsTrack
from nucleus_bridge.pipeline.posing import LossReport, Need, Obstacle, Poser
from nucleus_bridge.pipeline.synchroniser import Match
from nucleus_bridge.poses.feed import PoseFeed
from nucleus_bridge.warnings import Finding

GRACE_SHARE = 0.25
"""How much later than a frame's deadline an earlier transform may arrive, as a share of ``sync.wait_s``."""

DESCRIPTION_WAITS = "transforms that would replace those of the robot description"


@dataclass(frozen=True)
class Candidate:
    """A posed frame with what the scene splitter needs to know of the time before it."""

    frame: Frame
    residuals_ns: dict[str, int]
    hole_ns: int
    jump_m: float


@dataclass(frozen=True)
class Wait:
    """How long a frame waited, and for what.

    Attributes:
        waited_ns: Message time from the frame's stamp to its decision.
        obstacle: What it waited for, or "" when it was for nothing but its images.
    """

    waited_ns: int = 0
    obstacle: str = ""


@dataclass(frozen=True)
class Waiting:
    """A match in the queue with the frames and stamps its poses are asked for."""

    match: Match[Payload]
    needs: tuple[Need, ...]


class FrameBuilder:
    """Gives matches their poses, calibrations and GPS pose.

    Attributes:
        bytes_held: Size of the messages of the frames that wait.
        is_patient: Whether frames wait until their time is over, without a look at what is missing: where they wait for
            something else anyway.
    """

    def __init__(
        self,
        config: Config,
        tree: TransformTree,
        poses: PoseFeed,
        calibrations: Calibrations,
        gps: GpsTrack,
        lost: LossReport,
    ) -> None:
        self._config = config
        self._tree = tree
        self._poses = poses
        self._also_awaited: Callable[[int], object] = _nothing
        self._poser = Poser(config, tree, calibrations, gps, lost)
        self._queue: deque[Waiting] = deque()
        self._grace_ns = round(config.sync.wait_s * 1e9 * GRACE_SHARE)
        self._blocker: Obstacle | None = None
        self._missing: object = None
        self._longest = Wait()
        self._previous_ns: int | None = None
        self._dropped = False
        self._hole_ns = 0
        self.bytes_held = 0
        self.is_patient = False

    def wait_for(self, missing: Callable[[int], object]) -> None:
        """Let frames wait for something else, too: ``missing`` says what there is none of yet at a stamp."""
        self._also_awaited = missing

    def restart(self) -> None:
        """Forget what came before; the queue must be empty."""
        self._poser.restart()
        self._previous_ns = None
        self._dropped = False
        self._hole_ns = 0

    def push(self, match: Match[Payload]) -> None:
        """Queue a match."""
        self._queue.append(Waiting(match, self._poser.needs(match)))
        self.bytes_held += match.size

    def take_after(self, stamp_ns: int) -> list[Match[Payload]]:
        """Give back the matches of sweeps that are later than a stamp."""
        taken = [waiting.match for waiting in self._queue if waiting.match.anchor.stamp_ns > stamp_ns]
        self._queue = deque(waiting for waiting in self._queue if waiting.match.anchor.stamp_ns <= stamp_ns)
        self._blocker = self._missing = None
        self.bytes_held -= sum(match.size for match in taken)
        return taken

    def ready(self, message_time_ns: int, *, everything: bool = False) -> Iterator[Candidate]:
        """Yield the frames that are complete, or whose time is over, in order."""
        while self._queue:
            deadline_ns = self._queue[0].match.deadline_ns
            over = everything or message_time_ns >= deadline_ns + self._grace_ns
            if not over and (self.is_patient or self._is_blocked(transforms_alone=message_time_ns >= deadline_ns)):
                return
            candidate = self.pop_oldest(message_time_ns)
            if candidate is not None:
                yield candidate

    def pop_oldest(self, message_time_ns: int) -> Candidate | None:
        """Build the oldest frame with what is there; None when it had to be dropped."""
        if self._poses.is_unsettled:
            self._poses.settle()
        waiting = self._queue.popleft()
        waited_ns = message_time_ns - waiting.match.anchor.stamp_ns
        if waited_ns > self._longest.waited_ns:
            self._longest = Wait(waited_ns, _text(self._missing) if self._missing else "")
        self._blocker = self._missing = None
        self.bytes_held -= waiting.match.size
        match = waiting.match
        stamp_ns = match.anchor.stamp_ns
        self._hole_ns = max(self._hole_ns, match.hole_ns)
        frame, residuals = self._poser.build(match)
        if frame is None:
            self._dropped = True
            return None
        hole_ns = self._hole_ns
        if self._dropped and self._previous_ns is not None:
            hole_ns = max(hole_ns, stamp_ns - self._previous_ns)
        previous_ns = self._previous_ns
        self._previous_ns, self._dropped, self._hole_ns = stamp_ns, False, 0
        return Candidate(frame, residuals, hole_ns, self._jump(previous_ns, stamp_ns))

    def complete(self, frame: Frame) -> Frame:
        """Give a frame that is wanted what it was built without, where events select frames.

        Raises:
            TransformError: A pose that was there is gone.
        """
        return self._poser.complete(frame)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is implausible about calibrations that frames were made with."""
        return tuple(self._poser.findings.values())

    @property
    def has_frames(self) -> bool:
        """Whether a frame waits."""
        return bool(self._queue)

    @property
    def oldest_ns(self) -> int | None:
        """Stamp of the oldest frame that waits for its poses, or None."""
        return self._queue[0].match.anchor.stamp_ns if self._queue else None

    def obstacle(self) -> str:
        """Say what the oldest frame waits for; empty when no frame waits."""
        found = (obstacle() for obstacle in self._obstacles()) if self._queue else iter(())
        missing = next((answer for answer in found if answer), None)
        return "" if missing is None else _text(missing)

    def take_longest_wait(self) -> Wait:
        """Return the longest wait that has ended since this was asked the last time."""
        longest, self._longest = self._longest, Wait()
        return longest

    def _obstacles(self, *, transforms_alone: bool = False) -> Iterator[Obstacle]:
        waiting = self._queue[0]
        yield from self._poser.obstacles(waiting.match, waiting.needs, transforms_alone=transforms_alone)
        if not transforms_alone:
            yield self._unsettled
            yield partial(self._also_awaited, waiting.match.anchor.stamp_ns)

    def _unsettled(self) -> str:
        return DESCRIPTION_WAITS if self._poses.is_unsettled else ""

    def _is_blocked(self, *, transforms_alone: bool) -> bool:
        """Whether something is missing that may still come; the last obstacle is looked at first."""
        if not transforms_alone and self._blocker is not None and (missing := self._blocker()):
            self._missing = missing
            return True
        for obstacle in self._obstacles(transforms_alone=transforms_alone):
            if missing := obstacle():
                self._blocker, self._missing = obstacle, missing
                return True
        return False

    def _jump(self, previous_ns: int | None, stamp_ns: int) -> float:
        if previous_ns is None:
            return 0.0
        return self._tree.largest_jump(self._config.world_frame, self._config.device_frame, previous_ns, stamp_ns)


def _nothing(_stamp_ns: int) -> object:
    return None


def _text(missing: object) -> str:
    return str(missing) if isinstance(missing, TransformError | str) else "a CameraInfo, a fix or a heading"
