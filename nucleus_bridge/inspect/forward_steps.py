# SPDX-License-Identifier: Apache-2.0
"""Clocks that were set forward by less than what ends a scene: stamps leap while the log goes on evenly.

Where messages are missing, the log has the same gap. Where messages were held up and then come at once, the stamps go
on evenly. So a leap is a step of the clock where the log goes on at the usual pace, and stamps stay further ahead of
the log afterwards. One topic proves it where its stamps are later than the log from then on; else two have to agree,
as a sensor that answers sooner all at once looks the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge import warnings
from nucleus_bridge.inspect.scan import Stream, Track
from nucleus_bridge.model import IntArray
from nucleus_bridge.warnings import Finding

LEAST_MS = 90.0
_LEAST_MESSAGES, _BESIDE, _PACED = 3, 6, 3
_PACE = (0.3, 1.8)
_NOISE = 4.0
_ALIKE_NS, _ALIKE = 400_000_000, 0.25
_AHEAD_NS = 5_000_000
_REMAINS = 0.7
_MOST_STEPS = 3
_ON_ONE_CLOCK = ("cloud", "image")
"""Where all of these and the transforms leap, ending the scene there makes it right; else clocks differ afterwards."""


@dataclass(frozen=True)
class ForwardStep:
    """A leap of the stamps of one topic or edge.

    Attributes:
        name: The topic, or the child frame.
        is_frame: Which of both.
        by_ns: How far the clock was set forward.
        log_ns: Log time of the first message after it.
        gap_ns: From the last stamp before it to the first one after it.
        period_ns: Usual distance of stamps.
        after_s: How long after the first message.
        is_ahead: Whether its stamps are later than the log from then on.
    """

    name: str
    is_frame: bool
    by_ns: float
    log_ns: int
    gap_ns: float
    period_ns: float
    after_s: float
    is_ahead: bool


def forward_step_findings(streams: Iterable[Stream], tracks: Iterable[Track], max_gap_s: float) -> list[Finding]:
    """Name clocks that were set forward by no more than what ends a scene."""
    steps: list[ForwardStep] = []
    expected: set[str] = set()
    for stream in streams:
        steps += find_forward_steps(stream.name, *stream.arrivals, is_frame=False)
        if any(kind in stream.kinds for kind in _ON_ONE_CLOCK):
            expected.add(stream.name)
    for track in tracks:
        steps += find_forward_steps(track.child, track.stamps, track.logs, is_frame=True)
        expected.add(track.child)
    proven = [step for step in steps if step.gap_ns <= max_gap_s * 1e9 and (step.is_ahead or _has_witness(step, steps))]
    if not proven:
        return []
    shortest = min(step.gap_ns for step in proven) / 1e9
    usual = max(step.period_ns for step in steps) / 1e9
    limit = round(0.9 * shortest, 2)
    interval = max((step.period_ns for step in proven if step.is_frame), default=0.0) / 1e9
    is_of_all = expected <= {step.name for step in proven}
    is_told_apart = is_of_all and limit > 1.5 * usual and limit > 3.0 * interval
    found: dict[str, Finding] = {}
    for step in proven:
        found.setdefault(
            step.name,
            warnings.clock_step_forward(
                step.name, step.by_ns / 1e9, step.after_s, limit if is_told_apart else None, is_frame=step.is_frame
            ),
        )
    return list(found.values())


def _has_witness(step: ForwardStep, steps: Iterable[ForwardStep]) -> bool:
    return any(
        other.name != step.name
        and abs(other.log_ns - step.log_ns) < _ALIKE_NS
        and abs(other.by_ns - step.by_ns) < _ALIKE * step.by_ns
        for other in steps
    )


def find_forward_steps(name: str, stamps: IntArray, logs: IntArray, *, is_frame: bool) -> list[ForwardStep]:
    """Return where stamps leap while log times go on evenly.

    Args:
        name: The topic or child frame.
        stamps: In the order of arrival, ns.
        logs: Log times of the same, ns.
        is_frame: Whether it is an edge of transforms.
    """
    if len(stamps) < 2 * _LEAST_MESSAGES:
        return []
    steps, log_steps = np.diff(stamps), np.diff(logs)
    usual = steps[steps > 0]
    period = float(np.median(usual)) if len(usual) else 0.0
    leaps = (steps - log_steps).astype(np.float64)
    noise = float(np.median(np.abs(leaps)))
    least = max(LEAST_MS * 1e6, _NOISE * noise)
    places = np.flatnonzero((leaps > least) & (steps > period + least / 2))
    places = places[_at_pace(logs, period, places)]
    if not len(places) or len(places) > _MOST_STEPS:
        return []
    ahead = stamps - logs
    found = []
    for place in places.tolist():
        before, after = ahead[max(0, place + 1 - _BESIDE) : place + 1], ahead[place + 1 : place + 1 + _BESIDE]
        if min(len(before), len(after)) < _LEAST_MESSAGES:
            continue
        remains = float(np.median(after) - np.median(before))
        usual_before = float(np.median(before))
        falls_back = float(np.percentile(ahead[place + 1 :], 10)) - usual_before < _REMAINS * remains / 2
        if remains < max(least, _REMAINS * float(leaps[place])) or falls_back:
            continue
        found.append(
            ForwardStep(
                name,
                is_frame,
                remains,
                int(logs[place + 1]),
                float(steps[place]),
                period,
                float(stamps[place] - stamps[0]) / 1e9,
                usual_before <= _AHEAD_NS < float(np.median(after)),
            )
        )
    return found


def _at_pace(logs: IntArray, period: float, places: IntArray) -> NDArray[np.bool_]:
    """Whether messages around these places came about as often as usual."""
    begin, end = np.maximum(places - _PACED, 0), np.minimum(places + 1 + _PACED, len(logs) - 1)
    intervals = (logs[end] - logs[begin]) / np.maximum(end - begin, 1)
    return np.asarray((intervals > _PACE[0] * period) & (intervals < _PACE[1] * period))
