# SPDX-License-Identifier: Apache-2.0
"""The parameter table as parameters of a ROS 2 node: declared with descriptors, checked, applied live."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from nucleus_bridge.config import Config, config_from_values
from nucleus_bridge.config.loader import check_values, is_ros_own
from nucleus_bridge.config.parameter_files import parameter_files, parameters_and_folders
from nucleus_bridge.config.schema import Parameter, Value
from nucleus_bridge.config.settings import TABLE
from nucleus_bridge.errors import ConfigError

_LARGEST = 2**63 - 1


class NodeParameters:
    """The parameters of one node.

    Attributes:
        given: What the node was given in files and on its command line, by name.
        config: All of them, checked; a new object after each change.
    """

    def __init__(
        self, node: Node, changed: Callable[[Config], None], earlier: Mapping[str, object] | None = None
    ) -> None:
        """Check what the node was given and declare every parameter of the table.

        Args:
            node: The node.
            changed: Is called with the new configuration after a live parameter was set.
            earlier: What was set while the program ran before it was started anew.

        Raises:
            ConfigError: Naming the parameter, the value and what is allowed, or the file that cannot be used.
        """
        # rclpy has no other way to see them all, and an empty list in a file ends its own automatic declaration.
        self.given = {name: parameter.value for name, parameter in node._parameter_overrides.items()}  # noqa: SLF001
        raw = {name: _given_value(name, value) for name, value in self.given.items() if not is_ros_own(name)}
        raw |= dict(earlier or {})
        self._changed = changed
        self._set_later: dict[str, Value] = {}
        files = parameters_and_folders(parameter_files(sys.argv), node.get_fully_qualified_name())
        self._values = _placed(check_values(raw), files)
        self.config = self._checked(self._values)
        for name, value in self._values.items():
            node.declare_parameter(name, _ros_value(value), descriptor(TABLE.row_of(name)), ignore_override=True)
        node.add_on_set_parameters_callback(self._set)

    @property
    def set_later(self) -> dict[str, object]:
        """What was set since the start, by name, as JSON can hold it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self._set_later.items()}

    def _set(self, parameters: list[RosParameter[Any]]) -> SetParametersResult:
        values = dict(self._values)
        try:
            for parameter in parameters:
                if parameter.name in values:
                    values[parameter.name] = TABLE.row_of(parameter.name).check(parameter.name, parameter.value)
            config = self._checked(values)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._set_later |= {name: value for name, value in values.items() if value != self._values[name]}
        self._values, self.config = values, config
        self._changed(config)
        return SetParametersResult(successful=True)

    def _checked(self, values: dict[str, Value]) -> Config:
        config = config_from_values(values, base_dir=Path.cwd())
        path = config.spool.path and str(Path(config.spool.path).expanduser().absolute())
        return replace(config, spool=replace(config.spool, path=path))


def descriptor(row: Parameter) -> ParameterDescriptor:
    """Describe a parameter to ROS 2."""
    about = row.about
    made = ParameterDescriptor(description=about.description, read_only=not about.live)
    if row.choices or about.expected:
        made.additional_constraints = f"one of: {', '.join(row.choices)}" if row.choices else about.expected
    if math.isfinite(about.minimum) or math.isfinite(about.maximum):
        if row.type_name == "integer":
            low = int(about.minimum) if math.isfinite(about.minimum) else -_LARGEST
            high = int(about.maximum) if math.isfinite(about.maximum) else _LARGEST
            made.integer_range = [IntegerRange(from_value=low, to_value=high, step=0 if high == _LARGEST else 1)]
        if row.type_name == "double":
            made.floating_point_range = [FloatingPointRange(from_value=about.minimum, to_value=about.maximum, step=0.0)]
    return made


def _given_value(name: str, value: object) -> object:
    """An empty list comes without a value."""
    if value is not None:
        return value
    try:
        return () if TABLE.row_of(name).type_name.endswith("_array") else None
    except KeyError:
        return None


def _placed(values: Mapping[str, Value], files: Mapping[str, tuple[object, Path]]) -> dict[str, Value]:
    """Return the values, those that name a file absolute: they count from the parameter file that gives them."""
    placed = dict(values)
    for name, (value, folder) in files.items():
        if placed.get(name) == value and TABLE.row_of(name).names_file(placed[name]):
            placed[name] = str(folder.resolve() / Path(str(value)).expanduser())
    return placed


def _ros_value(value: Value) -> object:
    """A list cannot be empty in a parameter file: [''] stands for it there and here."""
    return (list(value) or [""]) if isinstance(value, tuple) else value
