# SPDX-License-Identifier: Apache-2.0
"""A parameter file and overrides to checked values, each under its full dotted name."""

from __future__ import annotations

import difflib
import math
import re
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from nucleus_bridge.config.table import PARAMETERS, SENSOR_KINDS, Parameter, Value
from nucleus_bridge.errors import ConfigError

NODE_NAMES = ("nucleus_recorder", "nucleus_uploader")
_ROS_OWN = ("use_sim_time", "start_type_description_service")
_ROS_OWN_PREFIXES = ("qos_overrides.",)
_INTEGERS = 1 << 63
_LARGEST_FILE = 1_000_000
_SENSOR_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


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


def check_values(raw: Mapping[str, object]) -> dict[str, Value]:
    """Check raw values and fill in the defaults.

    Returns:
        Every parameter that applies, by its full name, ``*`` replaced by the sensors' names.

    Raises:
        ConfigError: A name is unknown, a type or a range is wrong, or a value is missing.
    """
    raw = {name: value for name, value in raw.items() if not is_ros_own(name)}
    values: dict[str, Value] = {}
    names_of: dict[str, tuple[str, ...]] = {}
    rows = {row.name: row for row in PARAMETERS}
    for kind in SENSOR_KINDS:
        row = rows[f"{kind}_names"]
        names = _check_list(row, row.name, raw.get(row.name, row.default))
        _check_sensor_names(row.name, names)
        names_of[f"{kind}s"] = names
    known = {name: row for row in PARAMETERS for name in _full_names(row, names_of, raw)}
    for name in raw:
        if name not in known:
            raise ConfigError(_unknown(name, known, names_of))
    for name, row in known.items():
        if name not in raw and row.required:
            message = f"{name}: must be set ({row.description})"
            raise ConfigError(message)
        values[name] = check_value(row, name, raw.get(name, row.default))
    return values


def is_ros_own(name: str) -> bool:
    """Whether a parameter belongs to every ROS 2 node rather than to this package."""
    return name in _ROS_OWN or name.startswith(_ROS_OWN_PREFIXES)


def check_value(row: Parameter, name: str, value: object) -> Value:
    """Check one value against its row; integers are taken where a double is expected.

    Raises:
        ConfigError: Naming the parameter, the value and what is allowed.
    """
    kind = row.type_name
    if kind == "double" and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind == "string_array":
        return _check_list(row, name, value)
    if kind == "double_array":
        return _check_numbers(row, name, value)
    expected = {"bool": bool, "integer": int, "double": float, "string": str}[kind]
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        message = f"{name}: must be {_allowed(row)}, not {value!r}"
        raise ConfigError(message)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if math.isnan(value) or not row.minimum <= value <= row.maximum:
            message = f"{name}: must be {_allowed(row)}, not {value!r}"
            raise ConfigError(message)
        return value
    if row.choices and value not in row.choices:
        message = f"{name}: must be {_allowed(row)}, not {value!r}"
        raise ConfigError(message)
    if not isinstance(value, (str, bool)):
        raise TypeError(name)
    return value


def _check_list(row: Parameter, name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        message = f"{name}: must be {_allowed(row)}, not {value!r}"
        raise ConfigError(message)
    items = tuple(str(item) for item in value if item != "")  # ROS 2 cannot write an empty list: [''] stands for it
    if len(set(items)) != len(items):
        message = f"{name}: names an entry twice: {list(items)}"
        raise ConfigError(message)
    for item in items:
        if row.choices and item not in row.choices:
            message = f"{name}: entries must be of {', '.join(row.choices)}, not {item!r}"
            raise ConfigError(message)
    return items


def _check_numbers(row: Parameter, name: str, value: object) -> tuple[float, ...]:
    items = list(value) if isinstance(value, (list, tuple, array)) else [value]
    if items == [""]:  # as in lists of text
        return ()
    numbers = [float(item) for item in items if isinstance(item, (int, float)) and not isinstance(item, bool)]
    if len(numbers) != len(items) or not all(math.isfinite(number) for number in numbers):
        message = f"{name}: must be {_allowed(row)}, not {value!r}"
        raise ConfigError(message)
    return tuple(numbers)


def _check_sensor_names(parameter: str, names: Iterable[str]) -> None:
    for name in names:
        if not _SENSOR_NAME.fullmatch(name):
            message = (
                f"{parameter}: {name!r} must be letters, digits, '_' and '-', at most 64, not starting with '_' or '-'"
            )
            raise ConfigError(message)


def _allowed(row: Parameter) -> str:
    if row.choices and row.type_name == "string":
        return "one of " + ", ".join(row.choices)
    words = {
        "bool": "true or false",
        "integer": "an integer",
        "double": "a number",
        "string": "text",
        "string_array": "a list of text",
        "double_array": "a list of numbers",
    }[row.type_name]
    if math.isfinite(row.minimum) and math.isfinite(row.maximum):
        return f"{words} from {row.minimum:g} to {row.maximum:g}"
    if math.isfinite(row.minimum):
        return f"{words} of at least {row.minimum:g}"
    return words


def _full_names(row: Parameter, names_of: Mapping[str, tuple[str, ...]], raw: Mapping[str, object]) -> list[str]:
    if "*" not in row.name:
        return [row.name]
    head, _, tail = row.name.partition(".*")
    if head in names_of:
        return [f"{head}.{sensor}{tail}" for sensor in names_of[head]]
    return [name for name in raw if name.startswith(f"{head}.")]


def _unknown(name: str, known: Mapping[str, Parameter], names_of: Mapping[str, tuple[str, ...]]) -> str:
    head, _, rest = name.partition(".")
    sensor, _, tail = rest.partition(".")
    if head in names_of and tail and sensor not in names_of[head]:
        listed = ", ".join(names_of[head]) or "empty"
        return f"{name}: {sensor!r} is not in {head[:-1]}_names ({listed}); add it there or remove this section"
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"{name}: no such parameter; the nearest name is {nearest[0]!r}"
