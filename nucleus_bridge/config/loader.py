# SPDX-License-Identifier: Apache-2.0
"""A parameter file and overrides to checked values, each under its full dotted name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from nucleus_bridge.config.schema import Parameter, Table, Value
from nucleus_bridge.config.settings import TABLE
from nucleus_bridge.errors import ConfigError

NODE_NAMES = ("nucleus_recorder", "nucleus_uploader")
_ROS_OWN = ("use_sim_time", "start_type_description_service")
_ROS_OWN_PREFIXES = ("qos_overrides.",)
_INTEGERS = 1 << 63
_LARGEST_FILE = 1_000_000


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses repeated keys and aliases and reads ``1e-3`` as the number it is."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse aliases: a few lines of them stand for more than fits in memory, and ROS 2 does not read them."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            message = f"line {event.start_mark.line + 1}: aliases (*{event.anchor}) cannot be used; write it out"
            raise ConfigError(message)
        return super().compose_node(parent, index)


def _unique_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[object, object]:
    seen: set[object] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, (str, int, float, bool)):
            message = f"line {key_node.start_mark.line + 1}: a key must be plain text, not {key!r}"
            raise ConfigError(message)
        if key in seen:
            message = f"line {key_node.start_mark.line + 1}: key {key!r} is given twice"
            raise ConfigError(message)
        seen.add(key)
    return dict(loader.construct_mapping(node, deep=True))


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    value = int(loader.construct_yaml_int(node))
    if not -_INTEGERS <= value < _INTEGERS:
        raise ConfigError(f"line {node.start_mark.line + 1}: {node.value[:40]} does not fit 64 bits")
    return value


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str, name: str) -> object:
    """Read YAML text safely.

    Raises:
        ConfigError: It is no YAML, or a key is given twice.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader is a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        message = f"{name}: not valid YAML{where}: {getattr(error, 'problem', None) or error}"
        raise ConfigError(message) from None
    except ConfigError as error:
        message = f"{name}: {error}"
        raise ConfigError(message) from None
    except (ValueError, RecursionError) as error:
        message = f"{name}: not valid YAML: {error}"
        raise ConfigError(message) from None


def read_text(path: Path, name: str) -> str:
    """Read a file that a person wrote.

    Raises:
        ConfigError: It is missing, unreadable, no text, or far larger than anybody writes.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
        if len(data) > _LARGEST_FILE:
            raise ConfigError(f"{name}: cannot be read: it has more than {_LARGEST_FILE} bytes")
        return data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}"
        raise ConfigError(message) from None


def read_file(path: Path) -> dict[str, object]:
    """Read a ROS 2 parameter file into raw values under flat dotted names.

    Sections apply from the least to the most specific: ``/**``, ``/*``, then the node's own name.

    Raises:
        ConfigError: The file is missing, unreadable or no parameter file.
    """
    document = parse_yaml(read_text(path, f"configuration {path}"), f"configuration {path}")
    if not isinstance(document, Mapping):
        message = f"configuration {path}: expected a ROS 2 parameter file that starts with '/**: ros__parameters:'"
        raise ConfigError(message)
    flat: dict[str, object] = {}
    for section in sorted(document, key=lambda name: (not str(name).startswith("/*"), str(name) != "/**", str(name))):
        body = document[section]
        if not (isinstance(body, Mapping) and set(body) == {"ros__parameters"}):
            message = f"configuration {path}: section {section!r} must hold 'ros__parameters:' and nothing else"
            raise ConfigError(message)
        if not (str(section).startswith("/*") or str(section).rsplit("/", 1)[-1] in NODE_NAMES):
            continue  # another node's parameters
        parameters = body["ros__parameters"]
        if parameters is None:
            continue
        if not isinstance(parameters, Mapping):
            message = f"configuration {path}: ros__parameters of {section!r} must be a mapping, not {parameters!r}"
            raise ConfigError(message)
        flat.update(flatten(parameters))
    return flat


def flatten(tree: Mapping[object, object], prefix: str = "") -> dict[str, object]:
    """Turn nested mappings into one mapping of dotted names."""
    flat: dict[str, object] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat


def parse_override(text: str) -> tuple[str, object]:
    """Read one ``key=value`` of the command line; the value is YAML.

    Raises:
        ConfigError: There is no ``=`` or the value is no YAML.
    """
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        message = f"--set {text!r}: expected key=value, such as scene.prefix=tuesday"
        raise ConfigError(message)
    return name.strip(), parse_yaml(value, f"--set {name.strip()}")


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
