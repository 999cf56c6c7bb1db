# SPDX-License-Identifier: Apache-2.0
"""What a setting is: settings dataclasses become a table of parameters, and checked values become settings.

A parameter is one field of a settings dataclass, made by :func:`setting`. Its annotation is its type, so that a value
that ROS 2 cannot hold in a parameter has no way in.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from nucleus_bridge.errors import ConfigError

Scalar = str | bool | int | float
Value = Scalar | tuple[str, ...] | tuple[float, ...]
TypeName = Literal["string", "bool", "integer", "double", "string_array", "double_array", "scalar"]
"""The type as ROS 2 names it; ``scalar`` is text, a number or a boolean, whichever was given."""

NOT_A_PARAMETER: Mapping[str, Any] = MappingProxyType({"not a parameter": True})
"""Metadata of a field that the loader fills in."""

_ABOUT, _LIST, _FREE = "about", "names list", "free"
_WORD = re.compile(r"[a-z][a-z0-9_]*")
_SECTION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SCALARS: dict[Any, TypeName] = {str: "string", bool: "bool", int: "integer", float: "double"}
_PYTHON = {"bool": bool, "integer": int, "double": float, "string": str}
_WORDS: dict[TypeName, str] = {
    "bool": "true or false",
    "integer": "an integer",
    "double": "a number",
    "string": "text",
    "string_array": "a list of text",
    "double_array": "a list of numbers",
    "scalar": "text, a finite number, or true or false",
}
_NO_DEFAULT = object()
_FIELDS_OF: dict[type[Any], tuple[tuple[Field[Any], Any], ...]] = {}
T = TypeVar("T")


@dataclass(frozen=True)
class About:
    """What a person and the checks need to know of a setting besides its name, type and default.

    Attributes:
        description: One or two sentences for a person.
        minimum: Smallest allowed number.
        maximum: Largest allowed number.
        pattern: Regular expression that a text, or each text of a list, must match as a whole.
        expected: What the pattern allows, in words.
        live: Whether a running recorder takes a new value at once; otherwise it takes none while it is active.
        shapes_output: Whether scenes come out differently when it changes (part of the configuration digest).
        is_later: Whether it joined the table later: at its default it leaves the digest as it was.
        is_topic: Whether it names topics; a missing leading slash is added.
        words: With ``is_topic``: words that stand for themselves instead of a topic.
        is_file: Whether it names a file, relative to the configuration file; the file's content counts in the digest.
        file_suffix: With ``is_file``: only values that end with it are files.
        choices: Knows the allowed words when they are asked for, where the annotation does not list them.
    """

    description: str
    minimum: float = -math.inf
    maximum: float = math.inf
    pattern: str = ""
    expected: str = ""
    live: bool = False
    shapes_output: bool = True
    is_later: bool = False
    is_topic: bool = False
    words: tuple[str, ...] = ()
    is_file: bool = False
    file_suffix: str = ""
    choices: Callable[[], tuple[str, ...]] | None = None


@dataclass(frozen=True)
class Parameter:
    """One row of the table.

    Attributes:
        name: Dotted name; ``*`` stands for a listed name, or for any key.
        type_name: Its type as ROS 2 names it.
        default: Its value when not set. None: there is none.
        listed: Allowed words (of each element, for a list), as the annotation lists them.
        about: What else is to be known of it.
    """

    name: str
    type_name: TypeName
    default: Value | None
    listed: tuple[str, ...]
    about: About

    @property
    def choices(self) -> tuple[str, ...]:
        """Allowed words (of each element, for a list); empty where others are allowed too."""
        return self.about.choices() if self.about.choices else self.listed

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is None

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        if self.choices and self.type_name == "string":
            return "one of " + ", ".join(repr(choice) if choice == "" else choice for choice in self.choices)
        if self.about.expected:
            return self.about.expected
        words, (low, high) = _WORDS[self.type_name], (self.about.minimum, self.about.maximum)
        if math.isfinite(low) and math.isfinite(high):
            return f"{words} from {low:g} to {high:g}"
        return f"{words} of at least {low:g}" if math.isfinite(low) else words

    def check(self, name: str, value: object) -> Value:
        """Check one value; integers are taken where a double is expected.

        Args:
            name: The full name, for the message.
            value: As a file, an override or ROS 2 gives it.

        Raises:
            ConfigError: Naming the parameter, the value and what is allowed.
        """
        if self.type_name == "string_array":
            return self._texts(name, value)
        if self.type_name == "double_array":
            return self._numbers(name, value)
        if self.type_name == "double" and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, (str, bool, int, float)) or not self._fits(value):
            hint = (
                "; put text in quotes" if self.type_name == "string" and isinstance(value, (bool, int, float)) else ""
            )
            raise ConfigError(f"{name}: must be {self.allowed}, not {value!r:.100}{hint}")
        return value

    def _fits(self, value: Scalar) -> bool:
        if self.type_name == "scalar":
            return not isinstance(value, float) or math.isfinite(value)
        if isinstance(value, bool) or self.type_name == "bool":
            return isinstance(value, bool) and self.type_name == "bool"
        if not isinstance(value, _PYTHON[self.type_name]):
            return False
        if isinstance(value, str):
            return self._is_allowed(value)
        return not math.isnan(value) and self.about.minimum <= value <= self.about.maximum

    def _is_allowed(self, text: str) -> bool:
        if self.choices:
            return text in self.choices
        return text == self.default or not self.about.pattern or bool(re.fullmatch(self.about.pattern, text))

    def _texts(self, name: str, value: object) -> tuple[str, ...]:
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{name}: must be {self.allowed}, not {value!r:.100}")
        items = tuple(str(item) for item in value if item != "")  # ROS 2 has no empty list: [''] stands for it
        if len(set(items)) != len(items):
            raise ConfigError(f"{name}: names an entry twice: {list(items)!r:.100}")
        for item in items:
            if not self._is_allowed(item):
                expected = f"of {', '.join(self.choices)}" if self.choices else self.about.expected
                raise ConfigError(f"{name}: entries must be {expected}, not {item!r:.100}")
        return items

    def _numbers(self, name: str, value: object) -> tuple[float, ...]:
        items = list(value) if isinstance(value, (list, tuple, array)) else [value]
        if items == [""]:  # as in lists of text
            return ()
        numbers = [float(item) for item in items if isinstance(item, (int, float)) and not isinstance(item, bool)]
        low, high = self.about.minimum, self.about.maximum
        if len(numbers) != len(items) or not all(math.isfinite(number) and low <= number <= high for number in numbers):
            raise ConfigError(f"{name}: must be {self.allowed}, not {value!r:.100}")
        return tuple(numbers)

    def settled(self, value: Value) -> Value:
        """Return a checked value as the settings hold it: topics begin with a slash."""
        if not self.about.is_topic:
            return value
        if isinstance(value, tuple):
            return tuple(self._topic(str(item)) for item in value)
        return self._topic(str(value))

    def _topic(self, text: str) -> str:
        return text if text in ("", *self.about.words) else f"/{text.removeprefix('/')}"

    def names_file(self, value: Value) -> bool:
        """Say whether a value names a file."""
        return self.about.is_file and bool(value) and str(value).lower().endswith(self.about.file_suffix)


def setting(default: T, description: str, **about: Any) -> T:  # noqa: ANN401 - the fields of About
    """Make a field of a settings dataclass a parameter; further arguments are those of :class:`About`."""
    made: T = field(default=default, metadata={_ABOUT: About(description, **about)})
    return made


def required(description: str, **about: Any) -> Mapping[str, Any]:  # noqa: ANN401 - the fields of About
    """Return the metadata of a field that has no default: ``field(metadata=required("Topic of ..."))``."""
    return {_ABOUT: About(description, **about)}


def listed(names: str, description: str, **about: Any) -> Any:  # noqa: ANN401 - the fields of About; any settings class
    """Make a field hold one settings object for each name in the list parameter ``names``."""
    return field(default=(), metadata={_ABOUT: About(description, **about), _LIST: names})


def free(description: str, **about: Any) -> Any:  # noqa: ANN401 - the fields of About
    """Make a field hold pairs of key and scalar under keys that nobody listed."""
    return field(default=(), metadata={_ABOUT: About(description, **about), _FREE: True})


class Table:
    """All parameters of a settings dataclass.

    Attributes:
        settings: The dataclass. Each field is a :func:`setting`, a group (another dataclass), :func:`listed` or
            :func:`free`; or its metadata is ``NOT_A_PARAMETER``.
        rows: One for each parameter, in order.
        lists: For each group of listed settings (``lidars``) the parameter that lists its names (``lidar_names``).
    """

    def __init__(self, settings: type[Any]) -> None:
        """Make the table.

        Raises:
            TypeError: A field is none of these, or has a type, default or description that no parameter can have.
        """
        self.settings = settings
        self.lists: dict[str, str] = {}
        self.rows = tuple(self._rows(settings, ""))
        names = [row.name for row in self.rows]
        groups = {name[:end] for name in names for end, letter in enumerate(name) if letter == "."}
        for name, count in Counter(names).items():
            if count > 1 or name in groups:
                raise TypeError(f"{settings.__name__}: {name} is both a value and something else")

    def _rows(self, settings: type[Any], prefix: str) -> Iterator[Parameter]:
        for item, kind in _typed_fields(settings):
            name = f"{prefix}{item.name}"
            if not _WORD.fullmatch(item.name):
                raise TypeError(f"{name}: a parameter is named in small letters, digits and '_'")
            if isinstance(kind, type) and is_dataclass(kind) and _ABOUT not in item.metadata:
                yield from self._rows(kind, f"{name}.")
            elif prefix and (_LIST in item.metadata or _FREE in item.metadata):
                raise TypeError(f"{name}: lists of settings and free keys stand at the top")
            elif _LIST in item.metadata:
                self.lists[name] = item.metadata[_LIST]
                yield _row(self.lists[name], tuple[str, ...], (), item.metadata[_ABOUT])
                yield from self._rows(get_args(kind)[0], f"{name}.*.")
            elif _FREE in item.metadata:
                yield _row(f"{name}.*", Scalar, MISSING, item.metadata[_ABOUT])
            elif _ABOUT in item.metadata:
                yield _row(name, kind, item.default, item.metadata[_ABOUT])
            else:
                raise TypeError(f"{name}: has no description; make it a setting()")

    @cached_property
    def by_name(self) -> Mapping[str, Parameter]:
        """The rows by name."""
        return {row.name: row for row in self.rows}

    def row_of(self, name: str) -> Parameter:
        """Return the row of a parameter, given its full name.

        Raises:
            KeyError: There is no such parameter.
        """
        if name in self.by_name:
            return self.by_name[name]
        head, _, rest = name.partition(".")
        return self.by_name[f"{head}.*.{rest.partition('.')[2]}" if head in self.lists else f"{head}.*"]

    def names_in(self, raw: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
        """Return the checked names that each group of listed settings has.

        Raises:
            ConfigError: A list is none, or a name cannot be one.
        """
        found = {}
        for group, parameter in self.lists.items():
            names = self.by_name[parameter].check(parameter, raw.get(parameter, ()))
            found[group] = tuple(str(name) for name in names) if isinstance(names, tuple) else ()
            for name in found[group]:
                if not _SECTION_NAME.fullmatch(name):
                    raise ConfigError(
                        f"{parameter}: {name!r:.100} must be letters, digits, '_' and '-', at most 64, "
                        "not starting with '_' or '-'"
                    )
        return found

    def built(self, values: Mapping[str, Value], **further: Any) -> Any:  # noqa: ANN401 - an object of `settings`
        """Make the settings of checked values, each under its full name.

        Args:
            values: As :func:`nucleus_bridge.config.loader.check_values` returns them.
            further: The fields that are not parameters.
        """
        return self.settings(**self._arguments(self.settings, "", values), **further)

    def _arguments(self, settings: type[Any], prefix: str, values: Mapping[str, Value]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for item, kind in _typed_fields(settings):
            name = f"{prefix}{item.name}"
            if _LIST in item.metadata:
                names = values[item.metadata[_LIST]]
                element = get_args(kind)[0]
                found[item.name] = tuple(
                    element(name=each, **self._arguments(element, f"{name}.{each}.", values))
                    for each in (names if isinstance(names, tuple) else ())
                )
            elif _FREE in item.metadata:
                keys = sorted(key for key in values if key.startswith(f"{name}."))
                found[item.name] = tuple((key.partition(".")[2], values[key]) for key in keys)
            elif _ABOUT in item.metadata:
                found[item.name] = self.row_of(name).settled(values[name])
            else:
                found[item.name] = kind(**self._arguments(kind, f"{name}.", values))
        return found

    def digest(self, values: Mapping[str, Value], base_dir: Path) -> str:
        """Return the digest of every checked value that shapes the output, named files by their content.

        Raises:
            ConfigError: A file cannot be read.
        """
        shaping: dict[str, Value] = {}
        for name, value in values.items():
            row = self.row_of(name)
            if row.about.shapes_output and value != (row.default if row.about.is_later else _NO_DEFAULT):
                shaping[name] = _digest_of(base_dir / str(value), name) if row.names_file(value) else value
        text = json.dumps(shaping, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _typed_fields(settings: type[Any]) -> tuple[tuple[Field[Any], Any], ...]:
    """Return the fields that are parameters or hold some, each with its type."""
    if settings not in _FIELDS_OF:
        hints = get_type_hints(settings)
        own = (item for item in fields(settings) if not NOT_A_PARAMETER.keys() <= item.metadata.keys())
        _FIELDS_OF[settings] = tuple((item, hints[item.name]) for item in own)
    return _FIELDS_OF[settings]


def _row(name: str, kind: Any, default: Any, about: About) -> Parameter:  # noqa: ANN401 - whatever a class says
    type_name, choices = _type_of(name, kind)
    row = Parameter(name, type_name, None if default is MISSING else default, choices, about)
    if not about.description.endswith("."):
        raise TypeError(f"{name}: its description is not a sentence")
    if bool(about.pattern) != bool(about.expected):
        raise TypeError(f"{name}: a pattern needs the words for it")
    if (about.is_topic or about.is_file or about.pattern) and type_name not in ("string", "string_array"):
        raise TypeError(f"{name}: only text names a topic or a file or matches a pattern")
    if row.default is not None:
        try:
            checked = row.check(name, row.default)
        except ConfigError as error:
            raise TypeError(f"the default of {error}") from None
        if checked != row.default or type(checked) is not type(row.default):
            raise TypeError(f"{name}: the default {row.default!r} is not of type {type_name}")
    return row


def _type_of(name: str, kind: Any) -> tuple[TypeName, tuple[str, ...]]:  # noqa: ANN401 - whatever a class says
    """Return the ROS 2 type of an annotation, and its choices."""
    if kind == Scalar:
        return "scalar", ()
    if kind in _SCALARS:
        return _SCALARS[kind], ()
    arguments = get_args(kind)
    if get_origin(kind) is Literal and all(isinstance(choice, str) for choice in arguments):
        return "string", arguments
    if get_origin(kind) is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        element, choices = (
            (_SCALARS.get(arguments[0]), ()) if arguments[0] in _SCALARS else _type_of(name, arguments[0])
        )
        if element == "string":
            return "string_array", choices
        if element == "double":
            return "double_array", ()
    raise TypeError(f"{name}: no parameter of ROS 2 holds {kind!r}")


def _digest_of(path: Path, name: str) -> str:
    made = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                made.update(block)
    except OSError as error:
        raise ConfigError(f"{name}: {path} cannot be read: {error.strerror}") from None
    return made.hexdigest()
