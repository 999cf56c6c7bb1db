# SPDX-License-Identifier: Apache-2.0
"""What a check of a scene found: rules, how often each was checked, and every failure with its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nucleus_bridge.text import printable

_LONGEST_VALUE = 60


@dataclass(frozen=True)
class Failure:
    """One place where a rule does not hold.

    Attributes:
        file: Path relative to the scene's folder.
        frame: Index of the frame, where there is one.
        item: Reference id of the item or name of the sensor, where there is one.
        text: What was found and what was expected.
    """

    file: str
    frame: int | None
    item: str | None
    text: str


@dataclass(frozen=True)
class RuleResult:
    """One rule: its stable name, what it asks for, how often it was checked and where it does not hold."""

    rule: str
    description: str
    checked: int
    failures: tuple[Failure, ...]

    @property
    def ok(self) -> bool:
        """Whether the rule holds wherever it was checked."""
        return not self.failures


@dataclass(frozen=True)
class Place:
    """Where something is checked; the fields are those of :class:`Failure`."""

    file: str
    frame: int | None = None
    item: str | None = None


class Findings:
    """Collects the outcome of every check of one scene."""

    def __init__(self, rules: Mapping[str, str]) -> None:
        """Start with rules by name, each with its description."""
        self._rules: dict[str, str] = {}
        self._checked: dict[str, int] = {}
        self._failures: dict[str, list[Failure]] = {}
        self.add(rules)

    def add(self, rules: Mapping[str, str]) -> None:
        """Add further rules."""
        for rule, description in rules.items():
            self._rules[rule] = description
            self._checked[rule] = 0
            self._failures[rule] = []

    def expect(self, rule: str, place: Place, *, holds: bool, text: str) -> bool:
        """Count one check of a rule and note the text as a failure unless it holds; returns ``holds``."""
        self._checked[rule] += 1
        if not holds:
            item = None if place.item is None else printable(place.item)
            self._failures[rule].append(Failure(printable(place.file), place.frame, item, text))
        return holds

    def fail(self, rule: str, place: Place, text: str) -> None:
        """Count one check of a rule that does not hold."""
        self.expect(rule, place, holds=False, text=text)

    def results(self) -> tuple[RuleResult, ...]:
        """Return every rule, also those that were never checked."""
        return tuple(
            RuleResult(rule, description, self._checked[rule], tuple(self._failures[rule]))
            for rule, description in self._rules.items()
        )


def shown(value: object) -> str:
    """Return a short text for any JSON value."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "missing or null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{printable(value, _LONGEST_VALUE)}"'
    return printable(repr(value), _LONGEST_VALUE)
