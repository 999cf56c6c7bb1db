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
from nucleus_bridge.ros.middleware import given_parameters, on_parameters

_LARGEST = 2**63 - 1
_FIXED = frozenset({"autostart", *TABLE.lists.values()})
"""What is read when the node starts: the names in lists say which parameters there are."""


class NodeParameters:
    """The parameters of one node.

    Attributes:
        given: What the node was given in files and on its command line, by name.
        config: All of them, checked; a new object after each change.
    """

    def __init__(
        self,
        node: Node,
        changed: Callable[[Config], None],
        earlier: Mapping[str, object] | None = None,
        is_busy: Callable[[], bool] | None = None,
    ) -> None:
        """Check what the node was given and declare every parameter of the table.

        Args:
            node: The node.
            changed: Is called with the new configuration after a live parameter was set.
            earlier: What was set while the program ran before it was started anew.
            is_busy: Whether only live parameters may be set now; None: always.

        Raises:
            ConfigError: Naming the parameter, the value and what is allowed, or the file that cannot be used.
        """
        self.given = given_parameters(node)
        raw = {name: _given_value(name, value) for name, value in self.given.items() if not is_ros_own(name)}
        raw |= dict(earlier or {})
        self._changed = changed
        self._is_busy = is_busy
        files = parameters_and_folders(parameter_files(sys.argv), node.get_fully_qualified_name())
        self._values = _placed(check_values(raw), files)
        self.config = self._checked(self._values)
        self._asked, self._asked_config = self._values, self.config
        self._set_later = {name: self._values[name] for name in earlier or {}}
        for name, value in self._values.items():
            row = TABLE.row_of(name)
            is_fixed = not row.about.live and (is_busy is None or name in _FIXED)
            node.declare_parameter(name, _ros_value(value), descriptor(row, is_fixed=is_fixed), ignore_override=True)
        on_parameters(node, _with_doubles, self._check, self._accept)

    @property
    def set_later(self) -> dict[str, object]:
        """What was set since the start, by name, as JSON can hold it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self._set_later.items()}

    def _check(self, parameters: list[RosParameter[Any]]) -> SetParametersResult:
        """Check what is to be set; ``_accept`` takes it once everybody else has accepted it, too."""
        values = dict(self._values)
        try:
            for parameter in parameters:
                if parameter.name in values:
                    row = TABLE.row_of(parameter.name)
                    values[parameter.name] = row.check(parameter.name, parameter.value)
            self._asked_config = self._checked(values)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if self._is_busy is not None and self._is_busy():
            for name, value in values.items():
                if value != self._values[name] and not TABLE.row_of(name).about.live:
                    reason = f"{name}: it is read when recording begins; deactivate the node first"
                    return SetParametersResult(successful=False, reason=reason)
        self._asked = values
        return SetParametersResult(successful=True)

    def _accept(self) -> None:
        """Take what was checked last."""
        self._set_later |= {name: value for name, value in self._asked.items() if value != self._values[name]}
        self._values, self.config = self._asked, self._asked_config
        self._changed(self.config)

    def _checked(self, values: dict[str, Value]) -> Config:
        config = config_from_values(values, base_dir=Path.cwd())
        path = config.spool.path and str(Path(config.spool.path).expanduser().absolute())
        return replace(config, spool=replace(config.spool, path=path))


def descriptor(row: Parameter, *, is_fixed: bool | None = None) -> ParameterDescriptor:
    """Describe a parameter to ROS 2; by default it is fixed unless it is a live one."""
    about = row.about
    read_only = not about.live if is_fixed is None else is_fixed
    made = ParameterDescriptor(description=about.description, read_only=read_only)
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


def _with_doubles(parameters: list[RosParameter[Any]]) -> list[RosParameter[Any]]:
    """Make doubles of integers where a double is wanted: people and dashboards write 2 for 2.0."""
    return [_as_double(parameter) if _is_double(parameter.name) else parameter for parameter in parameters]


def _is_double(name: str) -> bool:
    try:
        return TABLE.row_of(name).type_name in ("double", "double_array")
    except KeyError:
        return False


def _as_double(parameter: RosParameter[Any]) -> RosParameter[Any]:
    if parameter.type_ == RosParameter.Type.INTEGER:
        return RosParameter(parameter.name, RosParameter.Type.DOUBLE, float(parameter.value))
    if parameter.type_ == RosParameter.Type.INTEGER_ARRAY:
        return RosParameter(parameter.name, RosParameter.Type.DOUBLE_ARRAY, [float(item) for item in parameter.value])
    return parameter


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
