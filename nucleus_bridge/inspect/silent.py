# SPDX-License-Identifier: Apache-2.0
"""Sensors that send nothing for a part of the time in which the others do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from nucleus_bridge import warnings
from nucleus_bridge.model import IntArray
from nucleus_bridge.warnings import Code, Finding

_LEAST_NS, _PERIODS = 1_000_000_000, 5.0
_LEAST_MESSAGES = 3
EXPLAINED = frozenset((Code.SENSOR_CLOCK, Code.LATE_MESSAGES, Code.CLOCK_STEP, Code.CAMERA_UNUSED, Code.SENSOR_UNUSED))
"""Where one of these is said of a topic, its stamps say nothing about when it sent."""


@dataclass(frozen=True, eq=False)
class Sent:
    """When a sensor sent.

    Attributes:
        topic: Its topic.
        section: Of its parameters; '' for the lidar that frames are made from.
        stamps: Corrected stamps, ns, in any order.
        has_gaps: Whether all stamps are there, so that gaps are gaps.
    """

    topic: str
    section: str
    stamps: IntArray
    has_gaps: bool = True


def silence_findings(sensors: Iterable[Sent], known: Iterable[Finding], on_its_way_ns: int = 0) -> Iterator[Finding]:
    """Name sensors that begin late, end early, or pause.

    Args:
        sensors: When they sent, that which frames are made from first.
        known: What is said of clocks already.
        on_its_way_ns: How late messages may still come; 0 where all are there.
    """
    explained = {finding.name for finding in known if finding.code in EXPLAINED}
    sent = {one: np.sort(one.stamps) for one in sensors if one.topic not in explained and len(one.stamps)}
    sent = {one: stamps for one, stamps in sent.items() if len(stamps) >= _LEAST_MESSAGES and stamps[0] > 0}
    together = _on_one_clock(sent)
    if len(together) < 2:
        return
    begin, end = (int(edge(stamps[index] for stamps in together.values())) for edge, index in ((min, 0), (max, -1)))
    for one, stamps in together.items():
        spans = list(_spans(stamps, begin, end - on_its_way_ns, has_gaps=one.has_gaps))
        if spans:
            yield warnings.sensor_silent(one.topic, spans, (end - begin) / 1e9, one.section)


def _on_one_clock(sent: Mapping[Sent, IntArray]) -> dict[Sent, IntArray]:
    """Return the sensors whose stamps overlap with those of the first one."""
    if not sent:
        return {}
    first = next(iter(sent.values()))
    return {one: stamps for one, stamps in sent.items() if stamps[0] <= first[-1] and stamps[-1] >= first[0]}


def _spans(stamps: IntArray, begin: int, end: int, *, has_gaps: bool) -> Iterator[str]:
    steps = np.diff(stamps)
    steps = steps[steps > 0]
    period = float(np.median(steps)) if len(steps) else 0.0
    least = max(_LEAST_NS, _PERIODS * period)
    if stamps[0] - begin > least:
        yield f"in the first {warnings.length_of_time((stamps[0] - begin) / 1e6)}"
    gaps = np.flatnonzero(np.diff(stamps) > least)
    if has_gaps and len(gaps):
        lengths = np.diff(stamps)[gaps]
        at = (stamps[gaps[int(lengths.argmax())]] - begin) / 1e9
        times = "" if len(gaps) == 1 else f"{len(gaps)} times, for up to "
        yield f"{times or 'for '}{warnings.length_of_time(lengths.max() / 1e6)} from {at:.1f} s on"
    if end - stamps[-1] > least:
        yield f"in the last {warnings.length_of_time((end - stamps[-1]) / 1e6)}"
