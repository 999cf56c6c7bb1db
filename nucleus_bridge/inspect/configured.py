# SPDX-License-Identifier: Apache-2.0
"""What a recording is good for with a given configuration: its topics, a trial run with it, and which warnings it ends.

A warning of the recording remains when the trial run gives it with the configuration, too. It is settled when the trial
run judges such things and does not give it, or when the configuration has the very line that its remedy is.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nucleus_bridge.config import Config
from nucleus_bridge.config.sections import written
from nucleus_bridge.inspect.suggestion import Suggestion
from nucleus_bridge.inspect.trial import Trial
from nucleus_bridge.pipeline.topics import WantedTopic, wanted_topics
from nucleus_bridge.recordings import Recording
from nucleus_bridge.text import counted
from nucleus_bridge.warnings import Code, Finding

State = Literal["there", "empty", "missing", "other_type"]

JUDGED = frozenset(
    (
        Code.TF_CLOCK,
        Code.TF_CONFLICT,
        Code.TF_SPARSE,
        Code.TF_GAP,
        Code.TF_IMPLAUSIBLE,
        Code.STATIC_CHANGED,
        Code.POSE_UNUSED,
        Code.MOUNT_UNUSED,
        Code.NO_POSE,
        Code.NO_MOUNT,
        Code.CLOCK_STEP,
        Code.SENSOR_CLOCK,
        Code.POINT_TIME_FAR,
        Code.STAMP_END,
        Code.ALREADY_DESKEWED,
        Code.SWEEP_IN_PARTS,
        Code.CAMERA_BODY_FRAME,
        Code.CAMERA_MOUNT,
        Code.DEVICE_AXES,
        Code.IMAGE_DARK,
        Code.IMAGE_BLANK,
        Code.CAMERA_UNUSED,
        Code.SENSOR_UNUSED,
        Code.LATE_MESSAGES,
    )
)
"""What a trial run judges by the configuration; all else is known of the recording alone."""
_MEASURED = frozenset((Code.CALIBRATION_SUSPECT, Code.CALIBRATION_NOT_MEASURED))
"""What it judges of cameras that it saw."""
_LINE = re.compile(r"\b((?:lidars|cameras|radars|poses|transforms|gps|scene|sync)\.[A-Za-z0-9_.]+): ([^\s,;()]+)")
_CHILD = re.compile(r"\bchild_frame: [\"']?([^\s,;\"']+)")


@dataclass(frozen=True)
class ConfiguredTopic:
    """One topic that the configuration names.

    Attributes:
        parameter: What names it.
        topic: Its name.
        state: Whether the recording has it.
        messages: How many of it there are.
        is_good: Whether it gives what it is configured for; None where nothing is missing without it.
        text: What came of it in the trial run, or what is there instead.
    """

    parameter: str
    topic: str
    state: State
    messages: int
    is_good: bool | None
    text: str


@dataclass(frozen=True)
class Settled:
    """A warning that the configuration ends, and the lines that do, where they are known."""

    finding: Finding
    by: str

    def as_json(self) -> dict[str, str]:
        """Return it as ``--json`` has it."""
        return {**self.finding.as_json(), "by": self.by}


@dataclass(frozen=True)
class Configured:
    """How a recording and a configuration go together.

    Attributes:
        config: The configuration's file.
        problem: Why ``convert`` would refuse the recording with it, or ''.
        topics: The topics that it names.
        frames: Frames that came out of the trial run.
        whole: Whether the whole recording went in.
        warnings: What contradicts itself with it.
        settled: Warnings that it ends.
        not_read: Sensors that could be used and that it does not name: topic and kind.
    """

    config: str
    problem: str
    topics: list[ConfiguredTopic]
    frames: int = 0
    whole: bool = True
    warnings: list[Finding] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    not_read: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            **{key: getattr(self, key) for key in ("config", "problem", "frames", "whole", "not_read")},
            "topics": [dataclasses.asdict(topic) for topic in self.topics],
            "warnings": [finding.as_json() for finding in self.warnings],
            "settled": [settled.as_json() for settled in self.settled],
        }


@dataclass(frozen=True)
class Given:
    """A configuration to judge a recording with, and the file that it is from."""

    file: Path
    config: Config


def judge(
    bag: Recording,
    made: Suggestion,
    given: Given,
    trial: Trial,
    known: Sequence[Finding],
) -> Configured:
    """Judge a recording with a configuration.

    Args:
        bag: The recording.
        made: What ``init`` would choose.
        given: The configuration.
        trial: What came of it in a trial run with the configuration.
        known: The warnings of the recording.

    Raises:
        ConfigError: A file that the configuration names cannot be used.
    """
    config = given.config
    wanted = list(wanted_topics(config))
    topics = list(_topics(bag, wanted, trial))
    name = str(given.file)
    if trial.problem:
        return Configured(name, trial.problem, topics)
    read = {topic.name for topic in wanted}
    kinds = {"lidars": "lidar", "cameras": "camera", "radars": "radar"}
    not_read = {topic: kinds[group] for group, names in made.names.items() for topic in names if topic not in read}
    found = list(dict.fromkeys(trial.findings))
    there = {(finding.code, finding.name) for finding in found}
    sensors = {*made.lidars, *made.cameras, *made.radars} - read
    measured = {verdict.camera for verdict in trial.calibrations}
    seen = {camera.image_topic for camera in config.cameras if camera.name in measured}
    settled = []
    for finding in known:
        if (finding.code, finding.name) in there or (finding.subject == "topic" and finding.name in sensors):
            continue
        is_judged = finding.code in JUDGED or (finding.code in _MEASURED and finding.name in seen)
        by = ", ".join(_lines(finding, made, wanted, config, any_value=is_judged))
        if by or is_judged:
            settled.append(Settled(finding, by))
        else:
            found.append(finding)
    return Configured(name, "", topics, trial.frames, trial.whole, found, settled, not_read)


def _topics(bag: Recording, wanted: Iterable[WantedTopic], trial: Trial) -> Iterator[ConfiguredTopic]:
    types = {topic.name: topic for topic in bag.topics}
    states = {verdict.camera: verdict.state.replace("_", " ") for verdict in trial.calibrations}
    seen = set()
    for topic in sorted(wanted, key=lambda one: one.role != "sensor"):
        if (topic.parameter, topic.name) in seen or (topic.is_optional and topic.name not in types):
            continue
        seen.add((topic.parameter, topic.name))
        info = types.get(topic.name)
        if info is None:
            problem = None if not (topic.must_exist or topic.needed) else False
            yield ConfiguredTopic(topic.parameter, topic.name, "missing", 0, problem, "is not in the recording")
        elif not topic.takes(info.type_name):
            text = f"is {info.type_name}, which cannot be used here"
            yield ConfiguredTopic(topic.parameter, topic.name, "other_type", info.count, False, text)
        elif not info.count:
            yield ConfiguredTopic(topic.parameter, topic.name, "empty", 0, False, "has no message")
        elif topic.role != "sensor" or trial.problem:
            text = counted(info.count, "message")
            yield ConfiguredTopic(topic.parameter, topic.name, "there", info.count, True, text)
        else:
            used = trial.used.get(topic.reader, 0)
            text = f"in {used} of {counted(trial.frames, 'frame')}"
            lost = trial.losses.get(topic.name)
            if lost or not used:
                text += f"; lost: {trial.why_not(topic.name) or 'none is near a sweep'}"
            if topic.reader in states and topic.kind == "image":
                text += f"; calibration {states[topic.reader]}"
            yield ConfiguredTopic(topic.parameter, topic.name, "there", info.count, bool(used), text)


def _lines(
    finding: Finding, made: Suggestion, wanted: Iterable[WantedTopic], config: Config, *, any_value: bool
) -> Iterator[str]:
    """Yield the lines of a configuration that a remedy asks for, by the names that it has for the sensors.

    With ``any_value`` those that set the same parameter to something else, too.
    """
    sections = {
        made.section_of(topic.name): topic.parameter.rpartition(".")[0]
        for topic in wanted
        if topic.role == "sensor" and made.section_of(topic.name)
    }
    for key, wanted_value in dict.fromkeys(_LINE.findall(finding.remedy)):
        section, _, last = key.rpartition(".")
        name = f"{sections.get(section, section)}.{last}"
        value = _set_value(config, name.split("."))
        if value is not None and (any_value or _is_same(value, wanted_value)):
            yield f"{name}: {written(value)}"
    for child in dict.fromkeys(_CHILD.findall(finding.remedy)):
        yield from (f"mounts.{mount.name}" for mount in config.mounts if mount.child_frame.lstrip("/") == child)


def _is_same(value: object, text: str) -> bool:
    """Whether a parameter has the value that a line gives it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value).lower() == text.strip("\"'").lower()
    try:
        return math.isclose(value, float(text))
    except ValueError:
        return False


def _set_value(config: Config, path: Sequence[str]) -> object:
    """Return the value of a parameter that is not at its default; None for all others."""
    holder: Any = config
    for name in path[:-1]:
        inner = getattr(holder, name, None)
        if inner is None and isinstance(holder, tuple):
            inner = next((one for one in holder if one.name == name), None)
        if inner is None:
            return None
        holder = inner
    defaults: Mapping[str, Any] = {one.name: one for one in dataclasses.fields(holder)}
    if path[-1] not in defaults:
        return None
    value = getattr(holder, path[-1])
    return None if value == defaults[path[-1]].default else value
