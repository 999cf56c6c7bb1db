# SPDX-License-Identifier: Apache-2.0
"""What a row of the parameter table says."""

from __future__ import annotations

import math
from dataclasses import dataclass

Scalar = str | bool | int | float
Value = Scalar | tuple[str, ...] | tuple[float, ...]

INFINITY = math.inf


@dataclass(frozen=True)
class Parameter:
    """One row of the table.

    Attributes:
        name: Dotted name; ``*`` stands for a sensor's name.
        default: Its value when not set; also tells the type. None: must be set.
        description: One or two sentences for a person.
        choices: Allowed words (of each element, for a list).
        minimum: Smallest allowed number.
        maximum: Largest allowed number.
        live: Whether a running recorder takes a new value at once; otherwise it needs to be configured again.
        shapes_output: Whether scenes come out differently when it changes (part of the configuration digest).
        numbers: Whether a list holds numbers instead of text.
        is_later: Whether it joined the table later: at its default it leaves the digest as it was.
    """

    name: str
    default: Value | None
    description: str
    choices: tuple[str, ...] = ()
    minimum: float = -INFINITY
    maximum: float = INFINITY
    live: bool = False
    shapes_output: bool = True
    numbers: bool = False
    is_later: bool = False

    @property
    def type_name(self) -> str:
        """The type as ROS 2 names it."""
        if self.default is None or isinstance(self.default, str):
            return "string"
        if isinstance(self.default, tuple):
            return "double_array" if self.numbers else "string_array"
        return {bool: "bool", int: "integer", float: "double"}[type(self.default)]

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is None
