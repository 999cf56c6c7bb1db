# SPDX-License-Identifier: Apache-2.0
"""What people read: the report as titled sections, and a suggested configuration as a commented parameter file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import yaml

from nucleus_bridge.config.sections import written
from nucleus_bridge.inspect.configured import Configured
from nucleus_bridge.inspect.pose_sources import course_topic, reference_of
from nucleus_bridge.inspect.report import BagReport, SensorReport, TopicReport
from nucleus_bridge.inspect.suggestion import Suggestion
from nucleus_bridge.text import counted, printable, printable_lines
from nucleus_bridge.warnings import Finding, Weight

_SECONDS_FROM_MS = 10_000.0
_WIDTH = 110


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        cells: Its texts.
        good: True or False for a verdict, None for what is neither.
        is_warning: Whether it is a warning.
    """

    cells: tuple[str, ...]
    good: bool | None = None
    is_warning: bool = False


@dataclass(frozen=True)
class Section:
    """A titled part of the report: a table (``header`` and ``rows``) or lines of text."""

    title: str
    header: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    text: str = ""


def sections(report: BagReport) -> Iterator[Section]:
    """Arrange a report for a person, so that nothing in it can drive a terminal."""
    for section in _sections(report):
        rows = tuple(
            Row(tuple(printable(cell, len(cell)) for cell in row.cells), row.good, row.is_warning)
            for row in section.rows
        )
        yield Section(printable(section.title), section.header, rows, printable_lines(section.text))


def _sections(report: BagReport) -> Iterator[Section]:
    read = "everything that can be read was" if report.damage else "everything was read"
    scope = read if report.whole else (
        f"gaps, drops, clocks and the trial run are from the first {report.read_s:.1f} s; --full reads everything"
    )  # fmt: skip
    yield Section(
        "Recording", text=f"{report.path}: {report.duration_s:.1f} s, {counted(report.messages, 'message')} on "
        f"{counted(len(report.topics), 'topic')}; {scope}",
    )  # fmt: skip
    if report.damage:
        yield Section("Damage", text="\n".join(report.damage))
    if report.configured is not None:
        yield from _configured(report.configured)
        return
    header = ("topic", "type", "count", "Hz", "missing", "gap", "log - stamp", "frame")
    yield Section("Topics", header, tuple(_topic_row(topic) for topic in report.topics))
    yield Section("Transforms", text=report.tree)
    if report.pose_sources:
        reference = reference_of(report.pose_sources)
        fixes = course_topic(report.pose_sources)
        titles = (
            "source",
            "pose of",
            "Hz",
            "gaps",
            "longest",
            "speed",
            *(f"from {x}" for x in (reference, fixes) if x),
        )
        yield Section("Poses", titles, tuple(Row(source.cells(reference, fixes)) for source in report.pose_sources))
    for sensor in report.sensors:
        yield _sensor(sensor)
    if report.warnings:
        yield Section("Warnings", text="\n".join(map(str, _ordered(report.warnings))))
    if report.missing:
        yield Section("Missing", text="\n".join(report.missing))
    parts = tuple(Row((part.name, f"{part.points:.0f} of {part.most}", part.why)) for part in report.parts)
    yield Section(f"Health {report.score} of 100", ("part", "points", "why"), parts)


def _ordered(findings: Sequence[Finding]) -> list[Finding]:
    """Return warnings, the gravest first."""
    return sorted(findings, key=lambda finding: -list(Weight).index(finding.weight))


def _configured(judged: Configured) -> Iterator[Section]:
    rows = [Row((one.parameter, one.topic, one.text), good=one.is_good) for one in judged.topics]
    if judged.problem:
        rows.append(Row(("verdict", "", f"convert refuses the recording: {judged.problem}"), good=False))
    else:
        part = "" if judged.whole else " (not of the whole recording)"
        text = f"{counted(judged.frames, 'frame')} in the trial run{part}"
        rows.append(Row(("verdict", "", text), good=judged.frames > 0))
    yield Section(f"Configuration {judged.config}", ("parameter", "topic", "in this recording"), tuple(rows))
    if judged.problem:
        return
    text = "\n".join(map(str, _ordered(judged.warnings))) or "none"
    yield Section(f"Warnings with {judged.config}", text=text)
    if judged.settled:
        lines = [
            f"{one.finding.text} [{one.finding.code.value}] ({one.by or 'does not come up with this configuration'})"
            for one in judged.settled
        ]
        yield Section(f"Settled by {judged.config}", text="\n".join(lines))
    if judged.not_read:
        lines = [f"{kind} {topic}" for topic, kind in judged.not_read.items()]
        yield Section(f"Sensors that {judged.config} does not name", text="\n".join(lines))


def _sensor(sensor: SensorReport) -> Section:
    rows = [Row((title, value)) for title, value in sensor.facts.items()]
    rows += [Row(("note", note)) for note in sensor.notes]
    rows += [Row(("warning", f"{f.text} [{f.code.value}]"), is_warning=True) for f in sensor.warnings]
    joint = {True: " (", False: ": "}[sensor.usable and bool(sensor.name)]
    verdict = f"{sensor.words}{joint}{sensor.why}{')' if joint == ' (' else ''}"
    name = f"{sensor.kind} {sensor.name}".strip()
    good = sensor.usable and not sensor.is_doubtful
    return Section(f"{name} ({sensor.topic})", ("", ""), (*rows, Row(("verdict", verdict), good=good)))


def plain(section: Section) -> str:
    """Write a section without any terminal's help."""
    lines = [section.title]
    if section.rows:
        cells = [row.cells for row in section.rows]
        table = [section.header, *cells] if any(section.header) else cells
        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]) - 1)]
        lines += [
            "  "
            + "  ".join([*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]]).rstrip()
            for row in table
        ]
    if section.text:
        lines += [f"  {line}" for line in section.text.split("\n")]
    return "\n".join(lines)


def _topic_row(topic: TopicReport) -> Row:
    latency = "not measured" if topic.is_sensor else ""
    if topic.latency_ms is not None:
        latency = " ".join(_time(value) for value in topic.latency_ms)
        if max(abs(value) for value in topic.latency_ms) < _SECONDS_FROM_MS:
            latency = f"{'/'.join(f'{value:.0f}' for value in topic.latency_ms)} ms"
    return Row(
        (
            topic.topic,
            topic.type.rpartition("/")[2],
            str(topic.count),
            f"{topic.rate_hz:.1f}" if topic.rate_hz else "",
            f"{topic.drops} in {topic.gaps}" if topic.gaps else "",
            _time(topic.largest_gap_ms) if topic.largest_gap_ms else "",
            latency,
            ", ".join(topic.frames),
        )
    )


def _time(milliseconds: float) -> str:
    size = abs(milliseconds)
    if size < _SECONDS_FROM_MS:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1e3:.0f} s" if size < 86_400_000 else f"{milliseconds / 86_400_000:.1f} days"


def missing_and_rest(missing: Sequence[str], found: Sequence[Finding]) -> tuple[list[str], list[Finding]]:
    """Return what is missing, with the code of the warning that says the same, and the warnings that say more."""
    texts, rest = list(missing), []
    for finding in found:
        at = next((number for number, text in enumerate(missing) if text.startswith(finding.text)), None)
        if at is None:
            rest.append(finding)
        else:
            texts[at] = f"{missing[at]} [{finding.code.value}]"
    return texts, rest


def config_text(report: BagReport, suggestion: Suggestion) -> str:
    """Write the parameter file; what is missing for a full scene stands loudly at its top."""
    lines = [f"# Made by `nucleus-bridge init` for {_plain(report.path)}; every choice says why."]
    if not report.whole:
        lines += _comment(f"From its first {report.read_s:.1f} s of {report.duration_s:.1f} s.", "")
    missing, rest = missing_and_rest(suggestion.missing, report.warnings)
    for text in missing:
        lines += ["#", *_comment(f"MISSING: {text}", "")]
    for finding in rest:
        lines += ["#", *_comment(str(finding), "")]
    lines += ["/**:", "  ros__parameters:"]
    lines += _section(_nested(suggestion.values), suggestion.reasons, "", "    ")
    for reason, *extra in suggestion.extras:
        lines += _comment(reason, "    ")
        lines += [f"    # {_plain(line)}" for line in extra]
    text = "\n".join(lines) + "\n"
    yaml.safe_load(text)
    return text


def _nested(values: Mapping[str, object]) -> dict[str, object]:
    tree: dict[str, object] = {}
    for key, value in values.items():
        *path, last = key.split(".")
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})  # type: ignore[assignment]
        branch[last] = value
    return tree


def _section(tree: Mapping[str, object], reasons: Mapping[str, list[str]], prefix: str, lead: str) -> Iterator[str]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield f"{lead}{written(key)}:"
            yield from _section(value, reasons, f"{name}.", f"{lead}  ")
            continue
        for reason in reasons.get(name, []):
            yield from _comment(reason, lead)
        yield f"{lead}{written(key)}: {written(value)}"


def _comment(text: str, lead: str) -> list[str]:
    return [f"{lead}# {line}" for line in textwrap.wrap(_plain(text), _WIDTH - len(lead), break_long_words=False)]


def _plain(text: str) -> str:
    """Keep what a recording says from ending a comment line."""
    return "".join(character if character.isprintable() else "?" for character in text)
