# SPDX-License-Identifier: Apache-2.0
"""Event-time matching: to each sweep of the reference lidar the nearest sample of every other sensor.

Decisions depend on stamps alone. A stream's newest stamp is its watermark. An anchor (a reference sweep) is closed
once the next anchor is known and every stream has reached its wanted stamp, or once message time, the newest
stamp of any sensor, is ``wait_ns`` past all that could match it.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from nucleus_bridge.causes import Cause

Item = TypeVar("Item")

LossSink = Callable[[str, Cause, int], None]
"""Takes stream, cause and stamp of a sample that will not be used."""

FOREIGN_CLOCK_NS = 60_000_000_000
"""A stream this far from the reference lidar's clock has no say in what time it is."""


@dataclass(frozen=True)
class StreamSpec:
    """How a sensor is matched: wanted stamp = anchor + ``offset_ns``, at most ``tolerance_ns`` away."""

    name: str
    offset_ns: int
    tolerance_ns: int


@dataclass(frozen=True, order=True)
class Sample(Generic[Item]):
    """One message of a stream, ordered by stamp and then by arrival."""

    stamp_ns: int
    arrival: int
    size: int = field(compare=False)
    item: Item = field(compare=False)


@dataclass(frozen=True)
class Match(Generic[Item]):
    """An anchor with what belongs to it.

    Attributes:
        anchor: The reference sweep.
        samples: By stream name; streams without a sample in tolerance are absent.
        residuals_ns: |stamp - wanted stamp| of each sample.
        hole_ns: Longest gap between neighbouring sweeps since the anchor before.
        deadline_ns: Message time at which nothing more is waited for.
    """

    anchor: Sample[Item]
    samples: dict[str, Sample[Item]]
    residuals_ns: dict[str, int]
    hole_ns: int
    deadline_ns: int

    @property
    def size(self) -> int:
        """Bytes held by the anchor and its samples."""
        return self.anchor.size + sum(sample.size for sample in self.samples.values())


class _Stream(Generic[Item]):
    def __init__(self, spec: StreamSpec) -> None:
        self.spec = spec
        self.samples: deque[Sample[Item]] = deque()
        self.restart()

    def restart(self) -> None:
        self.samples.clear()
        self.watermark_ns = -1
        self.taken_ns = -1
        self.suspended_ns: int | None = None
        self.given_up_ns: tuple[int, int] | None = None

    def has_passed(self, anchor_ns: int) -> bool:
        """Whether nothing is to come that an anchor may want."""
        wanted_ns = anchor_ns + self.spec.offset_ns
        if self.suspended_ns is not None and self.suspended_ns <= wanted_ns + self.spec.tolerance_ns:
            return False
        return self.watermark_ns >= wanted_ns

    def insert(self, sample: Sample[Item]) -> None:
        if not self.samples or self.samples[-1] < sample:
            self.samples.append(sample)
        else:
            insort(self.samples, sample)
        self.watermark_ns = max(self.watermark_ns, sample.stamp_ns)


@dataclass(frozen=True)
class _Anchor(Generic[Item]):
    sample: Sample[Item]
    last_ns: int
    hole_ns: int

    def __lt__(self, other: _Anchor[Item]) -> bool:
        return self.sample < other.sample


class Synchroniser(Generic[Item]):
    """Matches streams to the sweeps of one reference stream.

    Attributes:
        thinning: Of the sweeps that the stride leaves, every n-th is kept; 1 unless there is too much to do.
        overtaken_ns: How long after samples were given up for want of a sweep the sweep that wanted them came; the
            longest such time, 0 where there is none.
    """

    def __init__(self, reference: str, specs: list[StreamSpec], wait_ns: int, stride: int, lost: LossSink) -> None:
        self._reference = reference
        self._streams: dict[str, _Stream[Item]] = {spec.name: _Stream(spec) for spec in specs}
        self._wait_ns = wait_ns
        self._stride = stride
        self.thinning = 1
        self.overtaken_ns = 0
        self._lost = lost
        self._reach_ns = max([0, *(spec.offset_ns + spec.tolerance_ns for spec in specs)])
        self._arrivals = 0
        self.restart()

    def restart(self) -> None:
        """Forget everything; what was not matched must have been taken out before."""
        self._anchors: deque[_Anchor[Item]] = deque()
        self._sweeps = 0
        self._newest_sweep_ns = -1
        self._hole_ns = 0
        self._closed_ns = -1
        self._first_closed_ns: int | None = None
        self._suspended_ns: int | None = None
        self.message_time_ns = -1
        self.bytes_held = 0
        for stream in self._streams.values():
            stream.restart()

    def add_anchor(self, stamp_ns: int, last_ns: int, size: int, item: Item) -> None:
        """Take a sweep of the reference lidar; ``last_ns`` is the time of its last point."""
        if stamp_ns <= self._closed_ns:
            self._lost(self._reference, "late", stamp_ns)
            return
        if self._waits_for(stamp_ns):
            self._lost(self._reference, "duplicate_stamp", stamp_ns)
            return
        self._look_back(stamp_ns)
        if self._newest_sweep_ns >= 0:
            self._hole_ns = max(self._hole_ns, stamp_ns - self._newest_sweep_ns)
        self._newest_sweep_ns = max(self._newest_sweep_ns, stamp_ns)
        self._observe(stamp_ns)
        self._sweeps += 1
        chosen, skipped = divmod(self._sweeps - 1, self._stride)
        if skipped or chosen % self.thinning:
            self._lost(self._reference, "frame_stride" if skipped else "overload", stamp_ns)
            return
        anchor = _Anchor(self._sample(stamp_ns, size, item), max(last_ns, stamp_ns), self._hole_ns)
        self._hole_ns = 0
        if not self._anchors or self._anchors[-1] < anchor:
            self._anchors.append(anchor)
        else:
            insort(self._anchors, anchor)

    def _look_back(self, stamp_ns: int) -> None:
        """Take note of a sweep that comes when the samples which it wanted were given up already."""
        late_ns = self.message_time_ns - stamp_ns
        for stream in self._streams.values():
            if stream.given_up_ns is None or late_ns <= self._wait_ns:
                continue
            first, last = stream.given_up_ns
            wanted, tolerance = stamp_ns + stream.spec.offset_ns, stream.spec.tolerance_ns
            if first - tolerance <= wanted <= last + tolerance:
                self.overtaken_ns = max(self.overtaken_ns, late_ns)

    def add(self, name: str, stamp_ns: int, size: int, item: Item) -> None:
        """Take a sample of another stream."""
        stream = self._streams[name]
        if self._is_late(stream, stamp_ns):
            self._lost(name, "late", stamp_ns)
            return
        stream.insert(self._sample(stamp_ns, size, item))
        if self._newest_sweep_ns >= 0 and abs(stamp_ns - self._newest_sweep_ns) < FOREIGN_CLOCK_NS:
            self._observe(stamp_ns)
        self._forget_hopeless(stream)

    def _is_late(self, stream: _Stream[Item], stamp_ns: int) -> bool:
        """Whether the frames that a sample may be of were closed because it was not waited for any longer."""
        spec = stream.spec
        return (
            self._wait_ns < self.message_time_ns - stamp_ns < FOREIGN_CLOCK_NS
            and self._first_closed_ns is not None
            and self._first_closed_ns + spec.offset_ns - spec.tolerance_ns
            <= stamp_ns
            <= self._closed_ns + spec.offset_ns + spec.tolerance_ns
        )

    def miss(self, name: str, stamp_ns: int) -> None:
        """Take note of a sample that was lost before it came here: nothing need wait for it."""
        if self._newest_sweep_ns < 0 or abs(stamp_ns - self._newest_sweep_ns) >= FOREIGN_CLOCK_NS:
            return
        self._observe(stamp_ns)
        if name in self._streams:
            stream = self._streams[name]
            stream.watermark_ns = max(stream.watermark_ns, stamp_ns)

    def pass_over(self, name: str, stamp_ns: int) -> None:
        """Take note of a sample of which no frame is made and that is counted elsewhere."""
        if name != self._reference:
            self.miss(name, stamp_ns)
            return
        if self._newest_sweep_ns >= 0:
            self._hole_ns = max(self._hole_ns, stamp_ns - self._newest_sweep_ns)
        self._newest_sweep_ns = max(self._newest_sweep_ns, stamp_ns)
        self._observe(stamp_ns)

    def suspend(self, name: str, stamp_ns: int | None) -> None:
        """Take note of the stamp of a sample that is held back until its order of arrival is judged; None: of none."""
        if name == self._reference:
            self._suspended_ns = stamp_ns
        elif name in self._streams:
            self._streams[name].suspended_ns = stamp_ns

    def take_after(self, name: str, stamp_ns: int) -> list[Item]:
        """Give back the samples of a sensor that are later than a stamp and not matched yet, in order."""
        if name == self._reference:
            anchors = [anchor for anchor in self._anchors if anchor.sample.stamp_ns > stamp_ns]
            self._anchors = deque(anchor for anchor in self._anchors if anchor.sample.stamp_ns <= stamp_ns)
            taken = [anchor.sample for anchor in anchors]
        else:
            stream = self._streams[name]
            taken = [sample for sample in stream.samples if sample.stamp_ns > stamp_ns]
            stream.samples = deque(sample for sample in stream.samples if sample.stamp_ns <= stamp_ns)
        self.bytes_held -= sum(sample.size for sample in taken)
        return [sample.item for sample in taken]

    def ready(self, *, everything: bool = False) -> Iterator[Match[Item]]:
        """Yield, in order, the anchors that are decided; ``everything`` decides the rest with what is there."""
        while self._anchors and (everything or self._is_decided(self._anchors[0])):
            yield self.close_oldest()
        if everything:
            for stream in self._streams.values():
                self._drop(stream, len(stream.samples), "no_frame")

    def close_oldest(self) -> Match[Item]:
        """Close the oldest anchor with what is there."""
        anchor = self._anchors.popleft()
        following = self._anchors[0].sample.stamp_ns if self._anchors else None
        samples: dict[str, Sample[Item]] = {}
        residuals: dict[str, int] = {}
        for name, stream in self._streams.items():
            wanted = anchor.sample.stamp_ns + stream.spec.offset_ns
            best = self._take_nearest(stream, wanted, anchor.sample.stamp_ns, following)
            if best is not None:
                samples[name] = best
                residuals[name] = abs(best.stamp_ns - wanted)
        self._closed_ns = anchor.sample.stamp_ns
        if self._first_closed_ns is None:
            self._first_closed_ns = self._closed_ns
        match = Match(anchor.sample, samples, residuals, anchor.hole_ns, self._deadline(anchor))
        self.bytes_held -= match.size
        return match

    @property
    def has_anchors(self) -> bool:
        """Whether a sweep waits."""
        return bool(self._anchors)

    @property
    def oldest_ns(self) -> int | None:
        """Stamp of the oldest sweep that waits for its matches, or None."""
        return self._anchors[0].sample.stamp_ns if self._anchors else None

    @property
    def newest_sweep_ns(self) -> int:
        """Newest stamp of the reference lidar, -1 before the first."""
        return self._newest_sweep_ns

    def _waits_for(self, stamp_ns: int) -> bool:
        """Whether there is an anchor of this stamp; looks back from the newest, where new ones belong."""
        at_or_before = (a.sample.stamp_ns for a in reversed(self._anchors) if a.sample.stamp_ns <= stamp_ns)
        return next(at_or_before, None) == stamp_ns

    def _sample(self, stamp_ns: int, size: int, item: Item) -> Sample[Item]:
        self._arrivals += 1
        self.bytes_held += size
        return Sample(stamp_ns, self._arrivals, size, item)

    def _observe(self, stamp_ns: int) -> None:
        self.message_time_ns = max(self.message_time_ns, stamp_ns)

    def _deadline(self, anchor: _Anchor[Item]) -> int:
        return max(anchor.last_ns, anchor.sample.stamp_ns + self._reach_ns) + self._wait_ns

    def _is_decided(self, anchor: _Anchor[Item]) -> bool:
        if self.message_time_ns >= self._deadline(anchor):
            return True
        if len(self._anchors) < 2:
            return False
        stamp = anchor.sample.stamp_ns
        if self._suspended_ns is not None and self._suspended_ns <= self._anchors[1].sample.stamp_ns:
            return False
        return all(stream.has_passed(stamp) for stream in self._streams.values())

    def _take_nearest(
        self, stream: _Stream[Item], wanted: int, anchor_ns: int, following_ns: int | None
    ) -> Sample[Item] | None:
        """Take all samples up to the border with the next anchor; the nearest is the match, the rest is lost.

        The border lies halfway to the next anchor: a sample belongs to the anchor whose wanted stamp is nearest,
        the earlier one on a tie. One that comes after its anchor was closed is farther from it than the match.
        """
        tolerance = stream.spec.tolerance_ns
        border = wanted + tolerance
        if following_ns is not None:
            border = min(border, wanted + (following_ns - anchor_ns) // 2)
        best: Sample[Item] | None = None
        while stream.samples and stream.samples[0].stamp_ns <= border:
            sample = stream.samples.popleft()
            if sample.stamp_ns <= stream.taken_ns:
                self._lose(stream, sample, "surplus")
            elif wanted - sample.stamp_ns > tolerance:
                self._lose(stream, sample, "no_frame")
            elif best is None or abs(sample.stamp_ns - wanted) < abs(best.stamp_ns - wanted):
                if best is not None:
                    self._lose(stream, best, "surplus")
                best = sample
            else:
                self._lose(stream, sample, "surplus")
        stream.taken_ns = border
        return best

    def _forget_hopeless(self, stream: _Stream[Item]) -> None:
        """Let go of samples that no sweep can want any more, also while the lidar is silent."""
        oldest_ns = self._anchors[0].sample.stamp_ns if self._anchors else stream.watermark_ns - self._wait_ns
        limit = oldest_ns + stream.spec.offset_ns - stream.spec.tolerance_ns
        hopeless = 0
        for sample in stream.samples:
            if sample.stamp_ns >= limit:
                break
            hopeless += 1
        if hopeless and not self._anchors:
            stamps = (stream.samples[0].stamp_ns, stream.samples[hopeless - 1].stamp_ns)
            known = stream.given_up_ns or stamps
            stream.given_up_ns = (min(known[0], stamps[0]), max(known[1], stamps[1]))
        self._drop(stream, hopeless, "no_frame")

    def _drop(self, stream: _Stream[Item], count: int, cause: Cause) -> None:
        for _ in range(count):
            self._lose(stream, stream.samples.popleft(), cause)

    def _lose(self, stream: _Stream[Item], sample: Sample[Item], cause: Cause) -> None:
        self.bytes_held -= sample.size
        self._lost(stream.spec.name, cause, sample.stamp_ns)
