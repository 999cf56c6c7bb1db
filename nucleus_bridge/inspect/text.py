# SPDX-License-Identifier: Apache-2.0
"""What ``inspect`` found, as tables and paragraphs that any output can show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nucleus_bridge.inspect.report import BagReport, TopicReport
from nucleus_bridge.validate.report import printable, printable_lines

_SECONDS_FROM_MS = 10_000.0


@dataclass(frozen=True)
class Section:
    """A titled part of the report: a table (``header`` and ``rows``) or lines of text."""

    title: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    text: str = ""


def sections(report: BagReport) -> Iterator[Section]:
    """Arrange a report for a person, so that nothing in it can drive a terminal."""
    for section in _sections(report):
        rows = tuple(tuple(printable(cell, len(cell)) for cell in row) for row in section.rows)
        yield Section(printable(section.title), section.header, rows, printable_lines(section.text))


def _sections(report: BagReport) -> Iterator[Section]:
    read = "everything that can be read was" if report.damage else "everything was read"
    scope = read if report.whole else (
        f"gaps, drops, clocks and the trial run are from the first {report.read_s:.1f} s; --full reads everything"
    )  # fmt: skip
    yield Section(
        "Recording", text=f"{report.path}: {report.duration_s:.1f} s, {report.messages} messages on "
        f"{len(report.topics)} topics; {scope}",
    )  # fmt: skip
    if report.damage:
        yield Section("Damage", text="\n".join(report.damage))
    header = ("topic", "type", "count", "Hz", "missing", "hole", "log - stamp", "frame")
    yield Section("Topics", header, tuple(_topic_row(topic) for topic in report.topics))
    yield Section("Transforms", text=report.tree)
    for sensor in report.sensors:
        name = f"{sensor.kind} {sensor.name}".strip()
        rows = [(title, value) for title, value in sensor.facts.items()]
        rows += [("warning", warning) for warning in sensor.warnings]
        yield Section(f"{name} ({sensor.topic})", ("", ""), (*rows, ("verdict", sensor.verdict)))
    for title, texts in (("Warnings", report.warnings), ("Missing", report.missing)):
        if texts:
            yield Section(title, text="\n".join(texts))
    parts = tuple((part.name, f"{part.points:.0f} of {part.most}", part.why) for part in report.parts)
    yield Section(f"Health {report.score} of 100", ("part", "points", "why"), parts)


def plain(section: Section) -> str:
    """Write a section without any terminal's help."""
    lines = [section.title]
    if section.rows:
        table = [section.header, *section.rows] if any(section.header) else list(section.rows)
        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]) - 1)]
        lines += [
            "  "
            + "  ".join([*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]]).rstrip()
            for row in table
        ]
    if section.text:
        lines += [f"  {line}" for line in section.text.split("\n")]
    return "\n".join(lines)


def _topic_row(topic: TopicReport) -> tuple[str, ...]:
    latency = ""
    if topic.latency_ms is not None:
        latency = " ".join(_time(value) for value in topic.latency_ms)
        if max(abs(value) for value in topic.latency_ms) < _SECONDS_FROM_MS:
            latency = f"{'/'.join(f'{value:.0f}' for value in topic.latency_ms)} ms"
    return (
        topic.topic,
        topic.type.rpartition("/")[2],
        str(topic.count),
        f"{topic.rate_hz:.1f}" if topic.rate_hz else "",
        f"{topic.drops} in {topic.gaps}" if topic.gaps else "",
        _time(topic.largest_gap_ms) if topic.largest_gap_ms else "",
        latency,
        ", ".join(topic.frames),
    )


def _time(milliseconds: float) -> str:
    size = abs(milliseconds)
    if size < _SECONDS_FROM_MS:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1e3:.0f} s" if size < 86_400_000 else f"{milliseconds / 86_400_000:.1f} days"
