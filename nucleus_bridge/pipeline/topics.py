# SPDX-License-Identifier: Apache-2.0
"""The one list of topics that a configuration asks for, and how the messages of one become samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from nucleus_bridge.config import Config
from nucleus_bridge.config.conditions import DEVICE, GPS, parse_circle
from nucleus_bridge.config.settings import LidarConfig, Sensor
from nucleus_bridge.config.sources import AnnotationConfig, EventConfig
from nucleus_bridge.decode import registry
from nucleus_bridge.decode.cdr import peek_header, with_stamp
from nucleus_bridge.decode.interface import Decoder, Interface, Kind, Reset
from nucleus_bridge.decode.point_time import LONGEST_SWEEP_NS
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.formats import registry as formats
from nucleus_bridge.model import Message, Sweep
from nucleus_bridge.pipeline.accumulator import Accumulator
from nucleus_bridge.poses import PoseSource, sources_of

MIN_CLOCK_STEP_NS = 1_000_000_000

Role = Literal["sensor", "gps", "calibration", "companion", "poses", "annotation", "event", "signal", "compared"]
Ahead = Literal["nothing", "first", "all"]


@dataclass(frozen=True)
class WantedTopic:
    """One topic that a configuration asks for, in one role.

    Attributes:
        name: The topic.
        parameter: The parameter that names it, for error messages.
        kind: What its type must hold.
        role: What it is read for: a sensor's samples, fixes and headings, calibrations of a camera, what a decoder
            needs besides its own topic, poses, recorded detections, an event, a signal of the vehicle, or poses that
            are only compared.
        reader: The sensor or the pose source that it is read for; ``gps`` for fixes and headings.
        settings: Those of the sensor.
        needed: Whether there can be no frame without it.
        must_exist: Whether a recording without it is an error.
        is_optional: Whether nobody minds when it is not there.
        ahead: Which of its messages hold from the start of a recording, wherever they were logged.
        fixed_types: The types it may have, where its kind does not say so.
        takes_any_type: Whether every type will do.
    """

    name: str
    parameter: str
    kind: Kind
    role: Role
    reader: str
    settings: Any = None
    needed: bool = False
    must_exist: bool = True
    is_optional: bool = False
    ahead: Ahead = "nothing"
    fixed_types: tuple[str, ...] = ()
    takes_any_type: bool = False

    def takes(self, type_name: str) -> bool:
        """Say whether it may have a type."""
        return self.takes_any_type or type_name in self.types

    @property
    def types(self) -> tuple[str, ...]:
        """The types it may have; none where it may have any."""
        return self.fixed_types or registry.types_of(self.kind)

    @property
    def is_sample(self) -> bool:
        """Whether it carries large sensor data, of which each message belongs to one frame."""
        return self.role == "sensor" and any(interface.is_sample for interface in registry.interfaces(self.kind))

    @property
    def is_latched(self) -> bool:
        """Whether it is published once, for all time."""
        return self.ahead == "all"


def wanted_topics(config: Config, sources: Iterable[PoseSource] | None = None) -> Iterator[WantedTopic]:
    """List the topics that a configuration asks for; one may be listed in several roles.

    Args:
        config: The configuration.
        sources: Its sources of poses, where they are known already.

    Raises:
        ConfigError: A file that the configuration names cannot be used.
    """
    sources = tuple(sources_of(config) if sources is None else sources)
    has_others = sum(source.rank == "transform" for source in sources) > 1
    for source in sources:
        for read in source.topics.values():
            yield WantedTopic(
                read.name,
                read.parameter,
                read.kind,
                "poses",
                source.name,
                needed=read.is_needed or not (read.is_static or has_others),
                must_exist=read.is_needed,
                is_optional=read.is_optional or (has_others and not read.is_needed),
                ahead="all" if read.is_static else "nothing",
                fixed_types=read.types,
            )
    for pose in config.poses:
        if pose.compare_only and pose.topic:
            name = f"poses.{pose.name}"
            yield WantedTopic(pose.topic, f"{name}.topic", "pose", "compared", name, must_exist=False, is_optional=True)
    for topic in config.gps.topics:
        yield WantedTopic(topic.name, topic.parameter, topic.kind, "gps", "gps", config.gps)
    for given in annotations_of(config):
        parameter = f"annotations.{given.name}.topic"
        yield WantedTopic(given.topic, parameter, "detections", "annotation", given.name, given)
    for event, topic_name in events_of_topics(config):
        parameter = f"events.{event.name}.topic"
        yield WantedTopic(topic_name, parameter, "value", "event", event.name, event, takes_any_type=True)
    for signal in config.metadata_from:
        parameter = f"metadata_from.{signal.name}.topic"
        yield WantedTopic(signal.topic, parameter, "value", "signal", signal.name, signal, takes_any_type=True)
    for index, sensor in enumerate(_with_whole_paths(sensor, config) for sensor in config.sensors):
        yield from _topics_of(sensor, is_reference=index == 0)


def events_of_topics(config: Config) -> Iterator[tuple[EventConfig, str]]:
    """List the events that messages of a topic make, each with the topic; none where no event selects frames."""
    for event in config.events if config.scene.select == "events" else ():
        if event.topic and event.topic != DEVICE and parse_circle(event.field) is None:
            yield event, config.gps.topic if event.topic == GPS else event.topic


def annotations_of(config: Config) -> tuple[AnnotationConfig, ...]:
    """Return the sources of annotations that are read: none for a format that cannot hold them."""
    return config.annotations if formats.of(config.scene.format).holds_annotations else ()


def _topics_of(sensor: Sensor, *, is_reference: bool) -> Iterator[WantedTopic]:
    own, *further = sensor.topics
    needed = is_reference or sensor.required
    yield WantedTopic(own.name, own.parameter, own.kind, "sensor", sensor.name, sensor, needed=needed)
    configured = {topic.name for topic in further}
    companions = {interface.companion for interface in registry.interfaces(sensor.kind) if interface.companion}
    names = {companion.topic(sensor): companion for companion in companions}
    for name, companion in sorted(names.items()):
        if name:
            yield WantedTopic(
                name,
                f"{own.parameter.rpartition('.')[0]}.{companion.suffix}",
                sensor.kind,
                "companion",
                sensor.name,
                sensor,
                must_exist=name in configured,
                is_optional=name not in configured,
                ahead="first",
                fixed_types=(companion.type_name,),
            )
    for topic in further:
        if topic.name not in names:
            yield WantedTopic(
                topic.name,
                topic.parameter,
                topic.kind,
                "calibration",
                sensor.name,
                sensor,
                needed=sensor.required,
                ahead="first",
            )


def _with_whole_paths(sensor: Sensor, config: Config) -> Sensor:
    """Return a sensor's settings with its files where they are, whatever the working directory is."""
    if not isinstance(sensor, LidarConfig):
        return sensor
    calibration, metadata = (
        str(config.base_dir / path) if path else "" for path in (sensor.calibration_file, sensor.metadata_file)
    )
    return replace(sensor, calibration_file=calibration, metadata_file=metadata)


def clock_step_ns(config: Config) -> int:
    """Return how far back of the newest stamp a sensor's clock was set where a message is not just late."""
    return max(round(config.sync.wait_s * 1e9), MIN_CLOCK_STEP_NS)


def accumulated_ns(topic: WantedTopic) -> int:
    """Return how long a sweep is that comes in parts, ns; 0 where each message is one."""
    return round(getattr(topic.settings, "accumulate_ms", 0.0) * 1e6) if topic.role == "sensor" else 0


class Stream:
    """The messages of one topic in one role, in order, become samples.

    This is the one place where the settings of a sensor meet its samples. There is one decoder a type, made at the
    first message of that type.

    Args:
        topic: The topic.
    """

    def __init__(self, topic: WantedTopic) -> None:
        self.topic = topic
        self._decoders: dict[str, tuple[Interface, Decoder]] = {}
        self._companions: dict[str, Message] = {}
        settings = topic.settings
        offset_ms = getattr(settings, "clock_offset_ms", 0.0)
        if topic.kind == "heading":
            offset_ms += getattr(settings, "heading_clock_offset_ms", 0.0)
        self._offset_ns = round(offset_ms * 1e6)
        self._by_log = getattr(settings, "stamp_source", "header") == "log"
        self._frame_id = getattr(settings, "frame_id", "").lstrip("/") if topic.role == "sensor" else ""
        self._scale = getattr(settings, "scale", 1.0) if topic.role == "sensor" else 1.0
        self._is_as_recorded = not (self._offset_ns or self._by_log or self._frame_id)
        self._log_ns = 0
        self.span_ns = accumulated_ns(topic)
        self._accumulator = Accumulator(self.span_ns) if self.span_ns else None

    def take(self, message: Message) -> Iterator[Any]:
        """Yield the samples that a message completes.

        Raises:
            DecodeError: The message cannot be used.
        """
        interface, decoder = self._decoders.get(message.type_name) or self._opened(message)
        self._log_ns = message.log_ns
        yield from self._finished(decoder.decode(self._stamped(interface, message)))

    def arrival_stamp_ns(self, message: Message) -> int:
        """Return the corrected stamp of a message as its order of arrival is judged by; 0 where it has none."""
        if self._by_log:
            return message.log_ns + self._offset_ns
        known = self._decoders.get(message.type_name)
        interface = known[0] if known else registry.interface_of(message.type_name, self.topic.kind)
        if interface is None or interface.peek is None:
            return 0
        try:
            stamp_ns = interface.peek(message.data)[0]
        except DecodeError:
            return 0  # it is counted when it is decoded
        return stamp_ns + self._offset_ns if stamp_ns > 0 else 0

    def in_decoding_order(self, message: Message) -> bool:
        """Say whether stamps may go back from one message to the next although no clock was set."""
        interface = registry.interface_of(message.type_name, self.topic.kind)
        return interface is not None and interface.in_decoding_order(message)

    def may_pass(self, message: Message) -> bool:
        """Say whether a message may be left undecoded without harm to others; its first bytes are enough."""
        interface = registry.interface_of(message.type_name, self.topic.kind)
        return interface is not None and not self.span_ns and interface.may_pass(message)

    def tell(self, message: Message) -> Iterator[Any]:
        """Take a message of a companion topic; yield the samples that it completes.

        Raises:
            DecodeError: The message cannot be used.
        """
        self._companions[message.topic] = message
        for interface, decoder in self._decoders.values():
            if _belongs(message, interface):
                yield from self._finished(decoder.decode(message))

    def reset(self, why: Reset) -> Iterator[Any]:
        """Forget what was seen; yield the samples that were complete already."""
        for _, decoder in self._decoders.values():
            yield from self._finished(decoder.reset(why))
        if self._accumulator is not None and why != "gap":
            yield from self._accumulator.close()
            self._accumulator.restart()

    def flush(self) -> Iterator[Any]:
        """Yield what is held back although nothing more will come."""
        for _, decoder in self._decoders.values():
            yield from self._finished(decoder.flush())
        if self._accumulator is not None:
            yield from self._accumulator.close()

    def _finished(self, samples: Iterable[Any]) -> Iterator[Any]:
        """Yield samples at their corrected times, the parts of a sweep put together."""
        for sample in map(self._corrected, samples):
            if self._accumulator is not None and isinstance(sample, Sweep):
                yield from self._accumulator.add(sample)
            else:
                yield sample

    def _stamped(self, interface: Interface, message: Message) -> Message:
        """Return the message with the time of its reception for a stamp that was never set, where that is to count."""
        if not self._by_log or interface.peek is not peek_header or peek_header(message.data)[0] > 0:
            return message
        return replace(message, data=with_stamp(message.data, message.log_ns))

    def _corrected(self, sample: Any) -> Any:  # noqa: ANN401 - of the kind that the decoder makes
        """Return a sample at its corrected time, in its configured frame, in metres."""
        if self._scale != 1.0 and isinstance(sample, Sweep):
            sample = sample.scaled(self._scale)
        if self._is_as_recorded or isinstance(sample, DecodeError) or not sample.stamp_ns:
            return sample
        if self._by_log and isinstance(sample, Sweep) and _is_of_another_clock(sample):
            sample = sample.anchored(self._log_ns + self._offset_ns, self.topic.settings.stamp)
            return replace(sample, frame_id=self._frame_id) if self._frame_id else sample
        shift_ns = self._offset_ns + (self._log_ns - sample.stamp_ns if self._by_log else 0)
        if hasattr(sample, "moved"):
            sample = sample.moved(shift_ns) if shift_ns else sample
            return replace(sample, frame_id=self._frame_id) if self._frame_id else sample
        return replace(sample, stamp_ns=sample.stamp_ns + shift_ns)

    def _opened(self, message: Message) -> tuple[Interface, Decoder]:
        interface = registry.interface_for(message, self.topic.kind)
        decoder = interface.decoder(self.topic.settings)
        self._decoders[message.type_name] = interface, decoder
        for companion in self._companions.values():
            if _belongs(companion, interface):
                list(decoder.decode(companion))  # it has nothing to complete yet
        return interface, decoder


def _is_of_another_clock(sweep: Sweep) -> bool:
    """Whether absolute point times have nothing to do with the stamp."""
    apart_ns = max(abs(sweep.first_ns - sweep.stamp_ns), abs(sweep.last_ns - sweep.stamp_ns))
    return not sweep.time_is_relative and apart_ns > LONGEST_SWEEP_NS


def _belongs(companion: Message, interface: Interface) -> bool:
    return interface.companion is not None and interface.companion.type_name == companion.type_name
