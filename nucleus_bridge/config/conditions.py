# SPDX-License-Identifier: Apache-2.0
"""Conditions of events as they are written: ``> 0.5``, ``abs > 3.0``, ``changes``, ``inside(lat, lon, radius_m)``."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from nucleus_bridge.config.sources import EventConfig
from nucleus_bridge.errors import ConfigError

Measure = Literal["value", "abs", "norm"]
Comparison = Literal[">", ">=", "<", "<=", "==", "!="]
RATE: Final = "rate"
"""The field that every topic has: messages a second."""
GPS, DEVICE = "gps", "device"
"""Topics that stand for what fixes and poses tell."""
DEVICE_FIELDS: Final[dict[str, str]] = {
    "speed": "m/s",
    "yaw_rate": "rad/s, counterclockwise",
    "acceleration": "m/s^2 along the way, negative while braking",
    "distance": "m driven",
}

_MEANT: Final[dict[str, str]] = {
    "velocity": "speed",
    "vx": "speed",
    "linear_velocity": "speed",
    "angular_velocity": "yaw_rate",
    "yaw": "yaw_rate",
    "turn_rate": "yaw_rate",
    "deceleration": "acceleration",
    "braking": "acceleration",
    "linear_acceleration": "acceleration",
    "odometer": "distance",
    "driven": "distance",
}
"""What other things call the device's fields."""

_COMPARISON = re.compile(r"(?:(abs|norm)\s*)?(>=|<=|==|!=|>|<)\s*(.*\S)\s*")
_INSIDE = re.compile(r"inside\(\s*([^,]+?)\s*,\s*([^,]+?)\s*,\s*([^,]+?)\s*\)")
_QUOTED = re.compile(r"(['\"])(.*)\1")


@dataclass(frozen=True)
class Changes:
    """The value differs from the one before."""


@dataclass(frozen=True)
class Compared:
    """The value, or its magnitude, compares with an operand.

    Attributes:
        measure: What is compared: the value, its magnitude, or the length of a vector.
        comparison: How.
        operand: With what, as it is written.
    """

    measure: Measure
    comparison: Comparison
    operand: str

    @property
    def number(self) -> float | None:
        """The operand as a number; None where it is not a finite one, with which no comparison would say anything."""
        try:
            value = float(self.operand)
        except ValueError:
            return None
        return value if math.isfinite(value) else None

    @property
    def text(self) -> str:
        """The operand as a text, without quotes."""
        quoted = _QUOTED.fullmatch(self.operand)
        return quoted[2] if quoted else self.operand


Condition = Changes | Compared


@dataclass(frozen=True)
class Circle:
    """``inside(lat, lon, radius_m)``: degrees and metres."""

    latitude: float
    longitude: float
    radius_m: float


def parse_condition(text: str) -> Condition:
    """Read ``when``.

    Raises:
        ConfigError: It is not a condition.
    """
    if text.strip() == "changes":
        return Changes()
    found = _COMPARISON.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{text!r} is not a condition such as '> 0.5', '== true', 'abs > 3.0' or 'changes'")
    measure, comparison, operand = found.groups()
    return Compared(measure or "value", comparison, operand)  # type: ignore[arg-type]


def parse_circle(field: str) -> Circle | None:
    """Read ``inside(lat, lon, radius_m)``; None where the field is something else.

    Raises:
        ConfigError: The numbers are not a place and a radius.
    """
    found = _INSIDE.fullmatch(field.strip())
    if found is None:
        return None
    latitude, longitude, radius_m = (float(number) for number in found.groups())
    if not (abs(latitude) <= 90.0 and abs(longitude) <= 180.0):
        raise ConfigError(
            f"{field!r}: latitude {latitude:g} and longitude {longitude:g} are degrees, at most 90 and 180; "
            "the latitude comes first"
        )
    if not (math.isfinite(radius_m) and radius_m > 0.0):
        raise ConfigError(f"{field!r}: the radius is in metres and must be more than 0, not {radius_m:g}")
    return Circle(latitude, longitude, radius_m)


def _nearest(field: str) -> str:
    """Say which of the device's fields is meant; nothing where none was named."""
    if field == EventConfig("").field:
        return ""
    words = {**_MEANT, **{name: name for name in DEVICE_FIELDS}}
    near = words[difflib.get_close_matches(field.rpartition(".")[2].lower(), words, n=1, cutoff=0.0)[0]]
    return f"; the nearest is {near} (float64, {DEVICE_FIELDS[near]})"


def event_problems(event: EventConfig, gps_topic: str) -> Iterator[str]:
    """Yield what is wrong with an event whatever the type of its topic is."""
    name = f"events.{event.name}"
    try:
        circle = parse_circle(event.field)
        condition = parse_condition(event.when) if event.when else None
    except ConfigError as error:
        yield f"{name}.field: {error}"
        return
    if circle is not None and event.topic != GPS:
        yield f"{name}.field: {event.field} is of the topic gps, not of {event.topic or 'none'}; set {name}.topic: gps"
    if circle is not None and condition is not None:
        yield f"{name}.when: {event.field} is a condition already; leave {name}.when out"
    if event.topic == GPS and not gps_topic:
        yield f"{name}.topic: gps stands for gps.topic, which is not set"
    if event.topic == DEVICE and event.field not in (*DEVICE_FIELDS, RATE):
        yield f"{name}.field: device has {', '.join(DEVICE_FIELDS)}, not {event.field!r}{_nearest(event.field)}"
    elif event.topic == DEVICE and event.field == RATE:
        yield f"{name}.field: device is not a topic and has no rate; name the topic of the poses"
    elif condition is not None and circle is None and (event.topic == DEVICE or event.field == RATE):
        yield from _of_numbers(name, event, condition)


def _of_numbers(name: str, event: EventConfig, condition: Condition) -> Iterator[str]:
    unit = DEVICE_FIELDS.get(event.field, "messages a second")
    if isinstance(condition, Changes):
        if event.field == RATE:
            yield f"{name}.when: a rate is compared with a number ({unit}), such as '< 5'"
    elif condition.number is None:
        yield f"{name}.when: {event.field} is a number ({unit}, written without it); {condition.operand!r} is none"
    elif condition.measure == "norm":
        yield f"{name}.when: {event.field} is a number ({unit}) and not a vector; use 'abs' instead of 'norm'"
