# SPDX-License-Identifier: Apache-2.0
"""Lidars and cameras that had stopped and were sent on: copies under new stamps while the device moved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Literal

from nucleus_bridge import warnings
from nucleus_bridge.config import Config
from nucleus_bridge.inspect.clouds import Cloud, CloudFacts
from nucleus_bridge.inspect.scan import Scan
from nucleus_bridge.model import FloatArray
from nucleus_bridge.pipeline.evidence import Evidence
from nucleus_bridge.pipeline.repeats import PlaceOf, Repeats, copies_on_the_way
from nucleus_bridge.warnings import Finding


def frozen_in_scan(
    scan: Scan,
    clouds: Mapping[str, CloudFacts],
    pictures: Iterable[str],
    place_of: Callable[[str, int], FloatArray | None],
) -> Iterator[Finding]:
    """Name topics that repeat themselves while the device moves.

    Args:
        scan: What was read.
        clouds: What lidars show, by topic.
        pictures: Topics of cameras.
        place_of: Position of the device at a stamp of a topic, or None.
    """
    for topic, facts in clouds.items():
        sampled = Repeats()  # absolute times differ in the bytes of the same points
        for cloud in sorted(facts.clouds, key=_stamp_of):
            sampled.add_sweep(cloud.sweep)
        yield from _found(topic, (scan.streams[topic].repeats, sampled), partial(place_of, topic), "cloud")
    for topic in pictures:
        yield from _found(topic, (scan.streams[topic].repeats,), partial(place_of, topic), "image")


def frozen_in_evidence(evidence: Evidence, config: Config) -> Iterator[Finding]:
    """Name lidars and cameras whose messages repeat themselves while the device of the frames moves."""
    for lidar in config.lidars:
        seen = evidence.repeats.get(lidar.topic)
        yield from _found(lidar.topic, (seen,) if seen else (), evidence.places.at, "cloud")
    for camera in config.cameras:
        seen = evidence.repeats.get(camera.topic)
        yield from _found(camera.topic, (seen,) if seen else (), evidence.places.at, "image")


def _found(
    topic: str, seen: Iterable[Repeats], place_of: PlaceOf, what: Literal["cloud", "image"]
) -> Iterator[Finding]:
    for repeats in seen:
        copies = copies_on_the_way(repeats.runs, place_of)
        if copies is not None:
            share = f"{copies.count} of {repeats.total}"
            yield warnings.frozen(what, topic, share, copies.longest, copies.seconds, copies.way_m)
            return


def _stamp_of(cloud: Cloud) -> int:
    return cloud.stamp_ns
