# SPDX-License-Identifier: Apache-2.0
"""A recording played into the pipeline: what is read ahead of it, what it must hold, and where messages are missing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from nucleus_bridge.config import Config
from nucleus_bridge.decode.registry import interface_for, interfaces_of
from nucleus_bridge.decode.unreadable import unreadable
from nucleus_bridge.errors import InputError
from nucleus_bridge.kinds import Kind
from nucleus_bridge.model import Message
from nucleus_bridge.pipeline import Event, Pipeline
from nucleus_bridge.pipeline.scout import Scout
from nucleus_bridge.pipeline.selection import Windows, widened
from nucleus_bridge.pipeline.topics import WantedTopic
from nucleus_bridge.poses.trajectory import FilePoses
from nucleus_bridge.recordings import Merged, Place, Recording

_WORDS: Mapping[Kind, str] = {
    "cloud": "Clouds",
    "image": "Images",
    "radar": "Radars",
    "calibration": "Calibrations",
    "pose": "Poses",
    "fix": "Fixes",
    "heading": "Orientations",
    "transforms": "Transforms",
}
_ALIKE = 0.7
AnyPipeline = TypeVar("AnyPipeline", bound=Pipeline)
_MOST_TYPES = 3  # that are named when a topic has none of them


class Gaps:
    """Tells the pipeline's decoders where messages of a recording are lost: what follows does not build on them."""

    def __init__(self, recording: Recording, pipeline: Pipeline) -> None:
        self._recording = recording
        self._pipeline = pipeline
        self._known = 0
        self._due_ns: list[int] = []

    def before(self, message: Message) -> list[Event]:
        """Return what is decided by a gap between the last message and this one, if there is one."""
        if self._recording.damage_count != self._known:
            self._look()
        if not self._due_ns or message.log_ns <= self._due_ns[0]:
            return []
        self._due_ns = [log_ns for log_ns in self._due_ns if log_ns >= message.log_ns]
        return self._pipeline.interrupt("gap")

    def _look(self) -> None:
        """Take note of damage that was met since; it is met before the messages behind it are read."""
        damage = self._recording.damage
        places = {part.log_ns for part in damage[self._known :] if part.loses_messages and part.log_ns is not None}
        self._due_ns = sorted({*self._due_ns, *places})
        self._known = self._recording.damage_count


def primed_pipeline(recording: Recording, config: Config, *, looks_ahead: bool = True) -> Pipeline:
    """Return a pipeline that is ready for the first message of a recording.

    Where events select frames, a first pass over what shows them says which frames need not be held.

    Raises:
        InputError: The recording lacks a topic or an event's field, or a file that the configuration names cannot be
            used.
    """
    pipeline = _prepared(recording, Pipeline(config))
    if looks_ahead and pipeline.selection is not None:
        windows = _windows_ahead(recording, pipeline)
        if windows is not None:
            pipeline.look_ahead(windows)
    return pipeline


def _prepared(recording: Recording, pipeline: AnyPipeline) -> AnyPipeline:
    check_topics(recording, pipeline.wanted)
    for topic in recording.topics:
        pipeline.define(topic.name, topic.type_name, topic.definition)
    _check_overlap(recording, pipeline)
    pipeline.prime(messages_ahead(recording, pipeline.wanted))
    return pipeline


def scout_of(recording: Recording, config: Config) -> Scout:
    """Return what is ready to look for the events of a recording.

    Raises:
        InputError: The recording lacks a topic or an event's field, or a file that the configuration names cannot be
            used.
    """
    selecting = replace(config, scene=replace(config.scene, select="events"))
    return _prepared(recording, Scout(selecting))


def _windows_ahead(recording: Recording, pipeline: Pipeline) -> Windows | None:
    """Return the windows that may come, None where poses tell that are not in the recording."""
    has_files = any(isinstance(source, FilePoses) for source in pipeline.sources)
    if has_files and pipeline.selection is not None and pipeline.selection.needs_poses:
        return None
    scout = _prepared(recording, Scout(pipeline.config))
    for message in recording.messages(scout.topics, trusts_index=True):  # all of it is read anew, and checked, then
        scout.look(message)
    windows, _ = scout.found()
    return widened(windows)


def _check_overlap(recording: Recording, pipeline: Pipeline) -> None:
    """Check that the trajectory files hold poses of this recording, by the stamps of its first lidar."""
    files = [source for source in pipeline.sources if isinstance(source, FilePoses)]
    lidar = pipeline.config.lidars[0]
    first = recording.first_messages([lidar.topic]).get(lidar.topic) if files else None
    if first is None:
        return
    interface = interface_for(first, "cloud")
    stamp_ns = first.log_ns
    if lidar.stamp_source == "header" and interface.peek is not None:
        stamp_ns = interface.peek(first.data)[0]
    stamp_ns += round(lidar.clock_offset_ms * 1e6)
    for source in files:
        source.check_overlap(stamp_ns, stamp_ns + max(0, recording.end_ns - first.log_ns))


def messages_ahead(recording: Recording, wanted: Iterable[WantedTopic]) -> list[Message]:
    """Return the messages that hold for the whole recording wherever they were logged."""
    wanted = list(wanted)
    every = {topic.name for topic in wanted if topic.ahead == "all"}
    first = [topic.name for topic in wanted if topic.ahead == "first"]
    return [*recording.messages(every), *recording.first_messages(first).values()]


def check_topics(recording: Recording, wanted: Iterable[WantedTopic]) -> None:
    """Check that every configured topic is in the recording, and has a type that fits.

    Raises:
        InputError: Naming the parameter, the topic and what the recording has instead.
    """
    types = {topic.name: topic.type_name for topic in recording.topics}
    for topic in wanted:
        if topic.must_exist and not (topic.name in types and topic.takes(types[topic.name])):
            raise InputError(_topic_problem(recording.path, topic, types))


def _topic_problem(path: Place, topic: WantedTopic, types: dict[str, str]) -> str:
    fitting = sorted(name for name, type_name in types.items() if topic.takes(type_name))
    if topic.takes_any_type:
        nearest = difflib.get_close_matches(topic.name, fitting, n=3, cutoff=0.0)
        return f"{topic.parameter}: {topic.name} is not in {path}; the nearest names are {', '.join(nearest)}"
    usual = [name for name in fitting if not _is_mostly_else(topic, types[name])] or fitting
    word = "Topics that fit" if topic.role == "companion" else _WORDS.get(topic.kind, "Topics that fit")
    there = f"{word} here: {', '.join(usual) or 'none'}"
    if topic.name in types:
        wanted = " or ".join(topic.types) if len(topic.types) <= _MOST_TYPES else "a type that is read here"
        known = unreadable(types[topic.name])
        remedy = f" ({known.remedy})" if known is not None and known.kind == topic.kind else ""
        return f"{topic.parameter}: {topic.name} in {path} is {types[topic.name]}, not {wanted}{remedy}. {there}"
    nearest = difflib.get_close_matches(topic.name, usual, n=1, cutoff=_ALIKE)
    meant = f"; did you mean {nearest[0]}?" if nearest else "."
    if len(topic.types) <= _MOST_TYPES:
        there += f" (of {' or '.join(topic.types)})"
    absent = f"{topic.parameter}: {topic.name} is not in {path}{meant} {there}"
    return absent if isinstance(path, Merged) else f"{absent}; where another recording of the drive has it, add --merge"


def _is_mostly_else(topic: WantedTopic, type_name: str) -> bool:
    """Whether a type is first of all something else, as images are that may hold depth."""
    kinds = [interface.kind for interface in interfaces_of(type_name)]
    return bool(kinds) and kinds[0] != topic.kind
