# SPDX-License-Identifier: Apache-2.0
"""Lists of times around which a recording is worth keeping: CSV files, and recordings of marks.

A CSV file has a line an event. With a header its columns are found by their names: a time (``stamp_ns``, ``begin_ns``,
or ``time``, ``stamp``, ``begin`` in seconds or as ISO 8601 text), and, where they are wanted, an end, ``name``,
``before_s`` and ``after_s``. Without one the first column is the time and the second the name.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path

from nucleus_bridge.config import Config, EventConfig, GivenEvent
from nucleus_bridge.config.sources import MARK
from nucleus_bridge.decode.cdr import STRING, deserialise, peek_header
from nucleus_bridge.decode.fields import has_header
from nucleus_bridge.errors import DecodeError, InputError
from nucleus_bridge.recordings import Recording, TopicInfo, open_recording

_BEGIN = ("stamp_ns", "begin_ns", "time_ns", "stamp", "begin", "time", "start", "begin_s", "stamp_s", "time_s")
_END = ("end_ns", "end", "end_s", "stop")
_NAME = ("name", "event")
_BEFORE, _AFTER = ("before_s",), ("after_s",)
_KNOWN = (*_BEGIN, *_END, *_NAME, *_BEFORE, *_AFTER, "id")
_NS_FROM = Decimal(10) ** 14
"""A number from here on is nanoseconds; as seconds it would be three million years from now."""
_TOPICS = ("events", "marks", "markers", "mark")
_MAX_BYTES = 100_000_000
_RECORDINGS = (".mcap", ".db3", ".bag", ".zstd")


def read_around(path: Path, config: Config) -> tuple[GivenEvent, ...]:
    """Read the events of a file; their windows are those of the configured events of the same names.

    Raises:
        InputError: It cannot be read, or holds what is no time; with the line.
    """
    if path.is_dir() or path.suffix.lower() in _RECORDINGS:
        events = tuple(_of_recording(path, config))
    else:
        events = tuple(_of_csv(path, config))
    if not events:
        raise InputError(f"{path}: holds no time")
    return events


def _of_csv(path: Path, config: Config) -> Iterator[GivenEvent]:
    rows = list(_rows(path))
    if not rows:
        return
    _, first = rows[0]
    names = [cell.strip().lower() for cell in first]
    columns = {name: place for place, name in enumerate(names) if name in _KNOWN}
    if columns:
        if not any(name in columns for name in _BEGIN):
            raise InputError(f"{path}: line {rows[0][0]}: no column of times; call it one of {', '.join(_BEGIN)}")
        rows = rows[1:]
    else:
        columns = {"time": 0, "name": 1}
    for line, row in rows:
        try:
            yield _event(row, columns, config)
        except ValueError as error:
            raise InputError(f"{path}: line {line}: {error}") from None


def _rows(path: Path) -> Iterator[tuple[int, Sequence[str]]]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: has {path.stat().st_size} bytes; a list of times has at most {_MAX_BYTES}")
        text = path.read_text(encoding="utf-8-sig")
        lines = csv.reader(text.splitlines())
        for row in lines:
            if any(cell.strip() for cell in row) and not row[0].lstrip().startswith("#"):
                yield lines.line_num, row
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: is no CSV file of times: {error}") from None


def _event(row: Sequence[str], columns: Mapping[str, int], config: Config) -> GivenEvent:
    """Read one line.

    Raises:
        ValueError: It is no event.
    """

    def cell(names: Sequence[str]) -> tuple[str, str]:
        name = next((name for name in names if name in columns), "")
        place = columns.get(name, len(row))
        return name, row[place].strip() if place < len(row) else ""

    begin_ns = _time_ns(*cell(_BEGIN))
    end_text = cell(_END)
    end_ns = _time_ns(*end_text) if end_text[1] else begin_ns
    if end_ns < begin_ns:
        raise ValueError(f"the event ends at {end_ns} ns, before it begins at {begin_ns} ns")
    name = cell(_NAME)[1] or MARK
    if "," in name or not name.isprintable():
        raise ValueError(f"the name {name!r} must be printable and without a comma")
    return _given(name, begin_ns, end_ns, config, before=cell(_BEFORE)[1], after=cell(_AFTER)[1])


def _given(name: str, begin_ns: int, end_ns: int, config: Config, before: str = "", after: str = "") -> GivenEvent:
    settings = next((event for event in config.events if event.name == name), EventConfig(name))
    end_ns = max(end_ns, begin_ns + round(settings.hold_s * 1e9))
    before_ns = _length_ns(before) if before else round(settings.before_s * 1e9)
    after_ns = _length_ns(after) if after else round(settings.after_s * 1e9)
    return GivenEvent(name, begin_ns, end_ns, before_ns, after_ns)


def _time_ns(column: str, text: str) -> int:
    """Read a time: whole nanoseconds, seconds since 1970, or ISO 8601.

    Raises:
        ValueError: It is none.
    """
    try:
        number = Decimal(text)
    except InvalidOperation:
        return _moment_ns(text)
    if not number.is_finite() or number < 0:
        raise ValueError(f"{text!r} is no time")
    is_ns = column.endswith("_ns") or (not column.endswith("_s") and number >= _NS_FROM)
    return int(number if is_ns else number * 10**9)


def _moment_ns(text: str) -> int:
    whole, point, fraction = text.rstrip("Zz").partition(".")
    digits = len(fraction) - len(fraction.lstrip("0123456789"))
    zone = fraction[digits:]
    try:
        moment = datetime.fromisoformat(whole + zone)
        nanoseconds = int(fraction[:digits][:9].ljust(9, "0")) if point else 0
    except ValueError:
        raise ValueError(f"{text!r} is no time in ns, in seconds since 1970 or as 2024-05-01T12:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return int((moment - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds()) * 10**9 + nanoseconds


def _length_ns(text: str) -> int:
    seconds = float(text)
    if not 0.0 <= seconds <= 1e6:
        raise ValueError(f"{text!r} is no length of time in seconds")
    return round(seconds * 1e9)


def _of_recording(path: Path, config: Config) -> Iterator[GivenEvent]:
    with open_recording(path) as recording:
        topic = _marks_topic(recording)
        starts_with_header = has_header(topic.type_name, topic.definition)
        for message in recording.messages({topic.name}):
            stamp_ns, name = message.log_ns, MARK
            try:
                if starts_with_header:
                    stamp_ns = peek_header(message.data)[0] or message.log_ns
                if message.type_name == STRING:
                    name = str(deserialise(message).data).strip() or MARK
            except DecodeError as error:
                raise InputError(f"{path}: {error}") from None
            yield _given(name.replace(",", " "), stamp_ns, stamp_ns, config)


def _marks_topic(recording: Recording) -> TopicInfo:
    """Return the topic whose messages are times: the only one, or the one that is named so.

    Raises:
        InputError: There is none, or more than one.
    """
    filled = [topic for topic in recording.topics if topic.count]
    named = [topic for topic in filled if topic.name.rpartition("/")[2] in _TOPICS]
    found = named or (filled if len(filled) == 1 else [])
    if len(found) != 1:
        names = ", ".join(topic.name for topic in filled) or "none"
        raise InputError(
            f"{recording.path}: one topic of times is wanted, named {', '.join(_TOPICS)} or the only one there; "
            f"it has {names}"
        )
    return found[0]
