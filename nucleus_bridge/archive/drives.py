# SPDX-License-Identifier: Apache-2.0
"""The catalogue of recordings: each is read once, whether it will ever be converted or not."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from nucleus_bridge.archive.catalogue_file import OF_DRIVES, Row, insert, replaced
from nucleus_bridge.archive.catalogue_rows import utc
from nucleus_bridge.archive.executors import Workplace, check_stop
from nucleus_bridge.archive.stored_path import StoredPath
from nucleus_bridge.archive.tasks import Task, TaskRunner
from nucleus_bridge.config import Config
from nucleus_bridge.errors import BridgeError, InputError, OutputError
from nucleus_bridge.inspect.overview import Overview, SeenPlace, look_over
from nucleus_bridge.model import Message
from nucleus_bridge.pipeline.events import EventSpan
from nucleus_bridge.pipeline.scout import Scout
from nucleus_bridge.pipeline.sun import is_day, sun_elevation_deg
from nucleus_bridge.recordings import Place, Recording, Scratch, digest_of, marks_of, open_recording
from nucleus_bridge.replay import scout_of
from nucleus_bridge.warnings import Weight

AT_ONCE = 20
"""Recordings are written to the file in groups of this size; after an interruption the last group is read again."""
_SENSORS = ("lidar", "camera", "radar")


@dataclass(frozen=True)
class DriveChanges:
    """What was done to the recordings of a catalogue.

    Attributes:
        drives: Recordings in it now.
        read: Those that were read.
        removed: Those that are not on this machine any more.
        unreadable: Reasons, for recordings that cannot be read.
    """

    drives: int
    read: int
    removed: int
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class How:
    """How recordings are looked over.

    Attributes:
        config: Says what events to look for; None for none.
        scratch: Folder for temporary copies; None for the system's.
    """

    config: Config | None = None
    scratch: Path | None = None


PLAINLY = How()


@dataclass(frozen=True)
class _Job:
    bag: Place
    mark: str
    how: How


@dataclass(frozen=True)
class _Looked:
    bag: Place
    mark: str
    digest: str = ""
    overview: Overview | None = None
    events: tuple[EventSpan, ...] | None = None
    error: str = ""


def update_drives(
    bags: Sequence[Place],
    path: Path,
    workplace: Workplace,
    *,
    how: How = PLAINLY,
    rebuild: bool = False,
    progress: Callable[[float], None] = lambda _: None,
) -> DriveChanges:
    """Bring the recordings of a catalogue up to date; those whose files did not change are not read again.

    Args:
        bags: The recordings.
        path: The catalogue; made where there is none.
        workplace: Where they are read.
        how: How they are looked over.
        rebuild: Read every one again, and forget the others.
        progress: Told how much is done, 0 to 1.

    Raises:
        InputError: None of the recordings is there.
        OutputError: The file is not a catalogue, one of another version, or cannot be written.
        UploadError: An object store does not answer.
    """
    marks: dict[Place, str] = {}
    unreadable = []
    for bag in bags:
        try:
            marks[bag.resolve()] = _mark(bag, how.config)
        except InputError as error:
            unreadable.append(str(error))
    if unreadable and not marks:
        raise InputError("\n".join(unreadable))
    with replaced(path, OF_DRIVES, rebuild=rebuild) as database:
        known = dict(database.execute("SELECT bag, mark FROM drives"))
        if wrong := [bag for bag in known if not isinstance(bag, str)]:
            raise OutputError(f"{path}: {wrong[0]!r:.40} is not the path of a recording; make it again with --rebuild")
        gone = [(bag,) for bag in known if "://" not in bag and not Path(bag).exists()]
        database.executemany("DELETE FROM drives WHERE bag = ?", gone)
    runner = TaskRunner(workplace)
    jobs = [_Job(bag, mark, how) for bag, mark in marks.items() if known.get(str(bag)) != mark]
    for job in jobs:
        runner.add(Task(_look, job, None))
    waiting: list[_Looked] = []
    for number, (task, outcome) in enumerate(runner.results(), 1):
        looked = outcome if isinstance(outcome, _Looked) else _failed(task.argument, outcome)
        waiting.append(looked)
        if looked.error:
            unreadable.append(looked.error)
        if len(waiting) >= AT_ONCE:
            _put(path, waiting)
            waiting = []
        progress(number / len(jobs))
    count = _put(path, waiting)
    return DriveChanges(count, len(jobs), len(gone), tuple(unreadable))


def _mark(bag: Place, config: Config | None) -> str:
    sought = config.digest if config is not None else ""
    return sha256(json.dumps([marks_of(bag), sought]).encode()).hexdigest()[:32]


def _look(job: _Job) -> _Looked:
    """Read a recording, in whatever process."""
    try:
        check_stop()
        with open_recording(job.bag, Scratch(job.how.scratch)) as recording:
            scout, why_not = _scout(recording, job.how.config)
            overview = look_over(recording, lambda _share: check_stop(), _listener(scout))
        events = scout.found()[1] if scout is not None else None
        return _Looked(job.bag, "" if why_not else job.mark, digest_of(job.bag), overview, events, why_not)
    except (BridgeError, OSError) as error:
        return _failed(job, error)


def _scout(recording: Recording, config: Config | None) -> tuple[Scout | None, str]:
    """Return what looks for events, or None; and why the configuration does not fit the recording."""
    if config is None:
        return None, ""
    try:
        return scout_of(recording, config), ""
    except InputError as error:
        return None, f"{recording.path}: no events are looked for: {error}"


def _listener(scout: Scout | None) -> Callable[[Message], None]:
    if scout is None:
        return lambda _message: None
    topics = frozenset(scout.topics)
    listen = scout.look
    return lambda message: listen(message) if message.topic in topics else None


def _failed(job: _Job, error: object) -> _Looked:
    """Return what is known of a recording that could not be read; it is tried again the next time."""
    if isinstance(error, OSError):
        error = f"{job.bag}: cannot be read: {error.strerror or error}"
    elif not isinstance(error, BridgeError):
        error = f"{job.bag}: unexpected {type(error).__name__}: {error}"
    return _Looked(job.bag, "", error=str(error))


def _put(path: Path, looked: Sequence[_Looked]) -> int:
    """Put recordings in the place of what was known of them; return how many there are now."""
    with replaced(path, OF_DRIVES, rebuild=False) as database:
        for one in looked:
            database.execute("DELETE FROM drives WHERE bag = ?", (str(one.bag),))
            _put_drive(database, one)
        (count,) = database.execute("SELECT count(*) FROM drives").fetchone()
    return int(count)


def _put_drive(database: sqlite3.Connection, looked: _Looked) -> None:
    bag, seen = str(looked.bag), looked.overview
    row: Row = {"bag": bag, "place": _argument(looked.bag), "name": looked.bag.name, "mark": looked.mark}
    if seen is None:
        insert(database, "drives", [{**row, "error": looked.error}])
        return
    sensors = [topic for topic in seen.topics if topic.name and topic.kind in _SENSORS]
    insert(
        database,
        "drives",
        [
            {
                **row,
                "digest": looked.digest,
                "start_utc": utc(seen.start_ns),
                "end_utc": utc(seen.end_ns),
                "start_ns": seen.start_ns,
                "end_ns": seen.end_ns,
                "duration_s": (seen.end_ns - seen.start_ns) / 1e9,
                "messages": seen.messages,
                "bytes": seen.size,
                "distance_m": seen.distance_m,
                "mean_speed_mps": seen.mean_speed_mps,
                "max_speed_mps": seen.max_speed_mps,
                **_around(seen.places),
                **{f"{kind}s": sum(topic.kind == kind for topic in sensors) for kind in _SENSORS},
                "drops": sum(topic.drops for topic in sensors),
                "events": None if looked.events is None else len(looked.events),
                "problems": sum(finding.weight is not Weight.NOTE for finding in seen.findings),
                "damage": "; ".join(seen.damage) or None,
            }
        ],
    )
    insert(database, "drive_topics", (row | {"bag": bag} for row in _topic_rows(seen)))
    insert(
        database,
        "drive_places",
        (
            {
                "bag": bag,
                "stamp_ns": place.stamp_ns,
                "latitude": place.latitude,
                "longitude": place.longitude,
                "speed_mps": place.speed_mps,
            }
            for place in seen.places
        ),
    )
    insert(
        database,
        "drive_events",
        (
            {"bag": bag, "name": event.name, "begin_ns": event.begin_ns, "end_ns": event.end_ns}
            for event in looked.events or ()
        ),
    )
    findings = {(finding.code.value, finding.name, finding.text): finding for finding in seen.findings}
    insert(
        database,
        "drive_health",
        (
            {
                "bag": bag,
                "code": code,
                "about": about,
                "text": text,
                "remedy": finding.remedy,
                "is_note": finding.weight is Weight.NOTE,
            }
            for (code, about, text), finding in findings.items()
        ),
    )


def _topic_rows(seen: Overview) -> Iterator[Row]:
    for topic in seen.topics:
        yield {
            "topic": topic.topic,
            "type": topic.type_name,
            "kind": topic.kind or None,
            "name": topic.name or None,
            "why_not": topic.why_not or None,
            "messages": topic.messages,
            "rate_hz": topic.rate_hz,
            "drops": topic.drops,
            "largest_gap_s": topic.largest_gap_s,
            "frame_id": topic.frame_id or None,
        }


def _around(places: Sequence[SeenPlace]) -> Row:
    """Return the first place, the box around all, and the sun there."""
    if not places:
        return {}
    first = places[0]
    latitudes, longitudes = [place.latitude for place in places], [place.longitude for place in places]
    elevation = sun_elevation_deg(first.latitude, first.longitude, first.stamp_ns)
    return {
        "latitude": first.latitude,
        "longitude": first.longitude,
        "south": min(latitudes),
        "west": min(longitudes),
        "north": max(latitudes),
        "east": max(longitudes),
        "sun_elevation_deg": round(elevation, 3),
        "day_night": "day" if is_day(elevation) else "night",
    }


def _argument(bag: Place) -> str:
    """Return what stands for a recording on the command line, the options of a store's URL included."""
    if isinstance(bag, StoredPath):
        _, mark, options = bag.root.partition("?")
        return f"{bag}{mark}{options}"
    return str(bag)
