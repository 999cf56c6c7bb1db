# SPDX-License-Identifier: Apache-2.0
"""What the catalogue says of one scene: its manifest, and where its frames were taken."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timezone

from nucleus_bridge.archive.catalogue_file import Row
from nucleus_bridge.causes import faults, is_expected
from nucleus_bridge.formats.content import Track
from nucleus_bridge.spool.manifest import Manifest
from nucleus_bridge.spool.state import content_digest


def scene_row(manifest: Manifest, track: Track, bag: str | None, mark: str) -> Row:
    """Describe a scene; what its upload is at is not known here."""
    offset = manifest.world_offset
    return {
        "reference_id": manifest.reference_id,
        "drive": manifest.reference_id.rpartition("-")[0],
        "bag": bag,
        "start_utc": utc(manifest.first_stamp_ns),
        "end_utc": utc(manifest.last_stamp_ns),
        "first_stamp_ns": manifest.first_stamp_ns,
        "last_stamp_ns": manifest.last_stamp_ns,
        "duration_s": (manifest.last_stamp_ns - manifest.first_stamp_ns) / 1e9,
        "distance_m": _distance(track),
        **_place(track),
        "world_frame": manifest.world_frame,
        **{f"offset_{axis}": offset.get(axis) for axis in "xyz"},
        "frames": manifest.frames,
        "items": manifest.items,
        "points": manifest.points,
        "bytes": sum(record.bytes for record in manifest.files),
        "faults": faults(manifest.losses),
        "end_reason": manifest.end_reason,
        "format": manifest.format,
        "software": manifest.software,
        "config_digest": manifest.config_digest,
        "content": content_digest(manifest),
        "mark": mark,
    }


def sensor_rows(manifest: Manifest) -> Iterator[Row]:
    """Describe each sensor of a scene."""
    for name, record in manifest.sensors.items():
        residual = manifest.sync.get(name, {})
        yield {
            "reference_id": manifest.reference_id,
            "sensor": name,
            **{key: record.get(key) for key in ("kind", "topic", "frame_id", "model", "width", "height", "warning")},
            "missing": manifest.missing.get(name, 0),
            **{key: residual.get(key) for key in ("mean_ms", "max_ms")},
        }


def loss_rows(manifest: Manifest) -> Iterator[Row]:
    """List what did not reach a scene."""
    for topic, causes in manifest.losses.items():
        for cause, count in causes.items():
            fault = not is_expected(cause)
            loss: Row = {"topic": topic, "cause": cause, "count": count, "is_fault": fault}
            yield {"reference_id": manifest.reference_id, **loss}


def _distance(track: Track) -> float | None:
    if not track.positions:
        return None
    return sum(math.dist(one, other) for one, other in zip(track.positions, track.positions[1:]))  # noqa: B905


def _place(track: Track) -> Row:
    names = ("latitude", "longitude", "south", "west", "north", "east")
    if not track.fixes:
        return dict.fromkeys(names)
    latitudes, longitudes = zip(*track.fixes, strict=True)
    values = (*track.fixes[0], min(latitudes), min(longitudes), max(latitudes), max(longitudes))
    return dict(zip(names, values, strict=True))


def utc(stamp_ns: int) -> str:
    """Return a stamp in UTC, to the microsecond."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, tz=timezone.utc):%Y-%m-%dT%H:%M:%S}.{nanoseconds // 1000:06d}Z"
