# SPDX-License-Identifier: Apache-2.0
"""Raw values to checked ones, each under its full dotted name; files and overrides with errors that name them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

from nucleus_bridge import strict_text
from nucleus_bridge.config.schema import Parameter, Table, Value
from nucleus_bridge.config.sections import read_value
from nucleus_bridge.config.settings import TABLE
from nucleus_bridge.errors import ConfigError, TextError

_ROS_OWN = ("use_sim_time", "start_type_description_service")
_ROS_OWN_PREFIXES = ("qos_overrides.",)


def parse_yaml(text: str, name: str) -> object:
    """Read YAML text strictly; ``name`` is what a message calls it.

    Raises:
        ConfigError: It is not YAML, or a key is given twice.
    """
    try:
        return strict_text.parse_yaml(text)
    except TextError as error:
        raise ConfigError(f"{name}: {error}") from None


def read_text(path: Path, name: str) -> str:
    """Read a file that a person wrote; ``name`` is what a message calls it.

    Raises:
        ConfigError: It is missing, unreadable, no text, or far larger than anybody writes.
    """
    try:
        return strict_text.read_text(path)
    except TextError as error:
        raise ConfigError(f"{name}: {error}") from None


def parse_override(text: str) -> tuple[str, object]:
    """Read one ``key=value`` of the command line; the value is what a parameter file would say.

    Raises:
        ConfigError: There is no ``=`` or the value cannot be read.
    """
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise ConfigError(f"--set {text!r}: expected key=value, such as scene.prefix=tuesday")
    try:
        return name.strip(), read_value(value)
    except TextError as error:
        raise ConfigError(f"--set {name.strip()}: {error}") from None


def check_values(raw: Mapping[str, object], table: Table = TABLE) -> dict[str, Value]:
    """Check raw values and fill in the defaults.

    Returns:
        Every parameter that applies, by its full name, ``*`` replaced by the listed names.

    Raises:
        ConfigError: A name is unknown, a type or a range is wrong, or a value is missing.
    """
    raw = {name: value for name, value in raw.items() if not is_ros_own(name)}
    values: dict[str, Value] = {}
    names_of = table.names_in(raw)
    known = {name: row for row in table.rows for name in _full_names(row, names_of, raw)}
    for name in raw:
        if name not in known:
            raise ConfigError(_unknown(name, known, names_of, table))
    for name, row in known.items():
        if name not in raw and row.required:
            raise ConfigError(f"{name}: must be set ({row.about.description})")
        values[name] = row.check(name, raw.get(name, row.default))
    return values


def is_ros_own(name: str) -> bool:
    """Whether a parameter belongs to every ROS 2 node rather than to this package."""
    return name in _ROS_OWN or name.startswith(_ROS_OWN_PREFIXES)


def _full_names(row: Parameter, names_of: Mapping[str, tuple[str, ...]], raw: Mapping[str, object]) -> list[str]:
    if "*" not in row.name:
        return [row.name]
    head, _, tail = row.name.partition(".*")
    if head in names_of:
        return [f"{head}.{name}{tail}" for name in names_of[head]]
    return [name for name in raw if name.startswith(f"{head}.")]


def _unknown(name: str, known: Mapping[str, Parameter], names_of: Mapping[str, tuple[str, ...]], table: Table) -> str:
    head, _, rest = name.partition(".")
    section, _, tail = rest.partition(".")
    if head in names_of and tail and section not in names_of[head]:
        listed = ", ".join(names_of[head]) or "empty"
        return f"{name}: {section!r} is not in {table.lists[head]} ({listed}); add it there or remove this section"
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"{name}: no such parameter; the nearest name is {nearest[0]!r}"
