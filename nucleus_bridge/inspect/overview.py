# SPDX-License-Identifier: Apache-2.0
"""What a catalogue says of one recording, by one pass over it: when, where, how fast, which sensors, what is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from nucleus_bridge.errors import TransformError
from nucleus_bridge.inspect.recorded import recording_findings
from nucleus_bridge.inspect.report import topic_report
from nucleus_bridge.inspect.satellites import fixes_of
from nucleus_bridge.inspect.scan import Progress, Scan, scan_bag
from nucleus_bridge.inspect.suggest import suggest
from nucleus_bridge.inspect.suggestion import Suggestion
from nucleus_bridge.model import FloatArray, IntArray, Message
from nucleus_bridge.recordings import Recording
from nucleus_bridge.warnings import Finding

STEP_NS = 200_000_000
"""Positions so far apart make the distance and the speeds."""
PLACE_NS = 1_000_000_000
_METRES_PER_DEGREE = 111_195.0
_KINDS = {"cloud": "lidar", "image": "camera", "radar": "radar"}


@dataclass(frozen=True)
class SeenPlace:
    """Where the device was: degrees, and m/s where its poses are known."""

    stamp_ns: int
    latitude: float
    longitude: float
    speed_mps: float | None


@dataclass(frozen=True)
class SeenTopic:
    """One topic.

    Attributes:
        topic: Its name.
        type_name: Its type.
        kind: ``lidar``, ``camera``, ``radar``, or what else the type is read for; empty for any other.
        name: What a configuration would call the sensor; empty for one that it would leave out.
        why_not: Why it would leave it out, where it would.
        messages: How many there are.
        rate_hz: How often one comes.
        drops: Messages that are missing between others.
        largest_gap_s: Longest time without one.
        frame_id: The frame that most of them are in.
    """

    topic: str
    type_name: str
    kind: str
    name: str
    why_not: str
    messages: int
    rate_hz: float
    drops: int
    largest_gap_s: float
    frame_id: str


@dataclass(frozen=True)
class Overview:
    """One recording.

    Attributes:
        start_ns: Log time of its first message.
        end_ns: Log time of its last message.
        messages: How many it has.
        size: Bytes of their payload.
        distance_m: Along the device's poses, or the fixes where there are no poses; None without either.
        mean_speed_mps: Over the time for which the device's place is known.
        max_speed_mps: The largest from one position to the next.
        places: One a second, where there are fixes.
        topics: By name.
        findings: What is wrong with it.
        damage: What cannot be read of it.
    """

    start_ns: int
    end_ns: int
    messages: int
    size: int
    distance_m: float | None
    mean_speed_mps: float | None
    max_speed_mps: float | None
    places: tuple[SeenPlace, ...]
    topics: tuple[SeenTopic, ...]
    findings: tuple[Finding, ...]
    damage: tuple[str, ...]


@dataclass(frozen=True)
class _Way:
    """Positions over time: stamps (n,) and metres (n, 3)."""

    stamps: IntArray
    positions: FloatArray

    @property
    def steps_m(self) -> FloatArray:
        return np.asarray(np.sqrt((np.diff(self.positions, axis=0) ** 2).sum(axis=1)))

    @property
    def speeds(self) -> FloatArray:
        return np.asarray(self.steps_m / (np.diff(self.stamps) / 1e9))


def look_over(
    recording: Recording, progress: Progress = lambda _: None, also: Callable[[Message], None] = lambda _: None
) -> Overview:
    """Read a recording once; ``also`` is given each message.

    Raises:
        BagError: It cannot be read.
    """
    scan = scan_bag(recording, full=True, progress=progress, also=also)
    made = suggest(scan)
    places = list(_places(scan))
    poses = _poses(made)
    way = _between(places) if poses is None else poses
    known = len(way.stamps) > 1
    span_s = (int(way.stamps[-1]) - int(way.stamps[0])) / 1e9 if known else 0.0
    return Overview(
        recording.start_ns,
        recording.end_ns,
        recording.message_count,
        sum(stream.bytes for stream in scan.streams.values()),
        float(way.steps_m.sum()) if known else None,
        float(way.steps_m.sum()) / span_s if known else None,
        float(way.speeds.max()) if known else None,
        tuple(_with_speeds(places, poses)),
        tuple(_topics(scan, made)),
        tuple(dict.fromkeys((*recording_findings(recording, scan, made), *made.findings))),
        tuple(str(part) for part in recording.damage),
    )


def _poses(made: Suggestion) -> _Way | None:
    """Return where the device was by its poses; None where nothing says how it moves."""
    world, device, tree = made.frames.world, made.frames.device, made.transforms.tree
    tracks = [track.stamps for track in made.transforms.tracks if not track.static and len(track)]
    if not (made.frames.moves and world and device and tracks):
        return None
    offset_ns = round(made.clocks.transforms_offset_ms * 1e6)
    first_ns = min(int(stamps.min()) for stamps in tracks) + offset_ns
    last_ns = max(int(stamps.max()) for stamps in tracks) + offset_ns
    stamps, positions = [], []
    for stamp_ns in (*range(first_ns, last_ns, STEP_NS), last_ns):
        try:
            position = tree.lookup(world, device, stamp_ns).translation
        except TransformError:
            continue
        stamps.append(stamp_ns)
        positions.append(position)
    return _Way(np.array(stamps, np.int64), np.array(positions)) if len(stamps) > 1 else None


def _places(scan: Scan) -> Iterator[SeenPlace]:
    """Yield the fixes of the first topic that has any, one a second at most."""
    next_ns = 0
    for fix in next(filter(None, (fixes_of(stream)[0] for stream in scan.of_kind("fix"))), []):
        if fix.stamp_ns >= next_ns and (fix.latitude or fix.longitude):
            next_ns = fix.stamp_ns + PLACE_NS
            yield SeenPlace(fix.stamp_ns, fix.latitude, fix.longitude, None)


def _between(places: list[SeenPlace]) -> _Way:
    """Return the way along fixes, in metres around the first one."""
    stamps = np.array([place.stamp_ns for place in places], np.int64)
    if not places:
        return _Way(stamps, np.empty((0, 3)))
    first = places[0]
    east = _METRES_PER_DEGREE * math.cos(math.radians(first.latitude))
    rows = [
        (_turn(place.longitude - first.longitude) * east, (place.latitude - first.latitude) * _METRES_PER_DEGREE, 0.0)
        for place in places
    ]
    return _Way(stamps, np.array(rows))


def _turn(degrees: float) -> float:
    """Return a difference of longitudes, the short way round."""
    return (degrees + 180.0) % 360.0 - 180.0


def _with_speeds(places: Iterable[SeenPlace], way: _Way | None) -> Iterator[SeenPlace]:
    for place in places:
        if way is None or not way.stamps[0] <= place.stamp_ns <= way.stamps[-1]:
            yield place
            continue
        step = min(int(np.searchsorted(way.stamps, place.stamp_ns, "right")), len(way.stamps) - 1) - 1
        yield replace(place, speed_mps=round(float(way.speeds[step]), 3))


def _topics(scan: Scan, made: Suggestion) -> Iterator[SeenTopic]:
    names = {topic: name for group in made.names.values() for topic, name in group.items()}
    for topic, stream in sorted(scan.streams.items()):
        report = topic_report(stream)
        kind = next((_KINDS.get(kind, kind) for kind in stream.kinds), "")
        left_out = made.left_out.get(topic)
        yield SeenTopic(
            topic,
            stream.info.type_name,
            kind,
            names.get(topic, ""),
            left_out.text if left_out and topic not in names else "",
            stream.info.count,
            round(report.rate_hz, 3),
            report.drops,
            round(report.largest_gap_ms / 1e3, 3),
            stream.frame_id,
        )
