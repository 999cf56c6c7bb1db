# SPDX-License-Identifier: Apache-2.0
"""JSON and YAML read strictly: bounded, no key twice, every damage one kind of error in one line."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import yaml

from nucleus_bridge.errors import TextError

LARGEST = 1_000_000
"""Bytes of a file that a person wrote, at most."""

_INTEGERS = 1 << 63
_ALIAS = "alias"
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def read_text(path: Path, largest: int = LARGEST) -> str:
    """Read a file that a person wrote.

    Raises:
        TextError: It is missing, unreadable, no text, or has more than ``largest`` bytes.
    """
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)
        if len(data) > largest:
            raise TextError(f"cannot be read: it has more than {largest} bytes")
        return data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TextError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def loads(data: bytes | str) -> Any:  # noqa: ANN401 - what it is, is for the caller to find out
    """Parse JSON of elsewhere as ``json.loads`` does; halves of characters become U+FFFD, as no file can hold them.

    Raises:
        ValueError: It is not JSON.
        RecursionError: It is nested too deeply.
    """
    document = json.loads(data)
    text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    return _whole(document) if _HALF.search(text) else document


def _whole(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return value


def parse_json(
    data: bytes | str,
    *,
    repeated: Callable[[list[str]], object] | None = None,
    parse_float: Callable[[str], Any] | None = None,
    parse_int: Callable[[str], Any] | None = None,
    parse_constant: Callable[[str], Any] | None = None,
) -> Any:  # noqa: ANN401 - what it is, is for the caller to find out
    """Parse a JSON document.

    Args:
        data: The document; bytes are UTF-8.
        repeated: Takes the keys that an object has twice, of which the last one counts. None: they are refused.
        parse_float: Takes each number with a point or an exponent, as in :func:`json.loads`.
        parse_int: Takes each integer.
        parse_constant: Takes ``NaN`` and ``Infinity``. None: they are refused.

    Raises:
        TextError: It is not UTF-8, no JSON, or nested too deeply, or holds what is refused.
    """

    def pairs(given: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(given)
        if len(made) != len(given):
            (repeated or _refuse_keys)([key for key, count in Counter(key for key, _ in given).items() if count > 1])
        return made

    try:
        return json.loads(
            data.decode("utf-8") if isinstance(data, bytes) else data,
            object_pairs_hook=pairs,
            parse_float=parse_float,
            parse_int=parse_int,
            parse_constant=parse_constant or _refuse_constant,
        )
    except UnicodeDecodeError as error:
        raise TextError(f"is not UTF-8: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise TextError(f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise TextError("is nested too deeply") from None
    except ValueError as error:  # an integer of more digits than Python converts
        raise TextError(f"is not JSON: {error}") from None


def _refuse_keys(keys: list[str]) -> NoReturn:
    raise TextError(f"key {keys[0]!r} is given twice")


def _refuse_constant(name: str) -> NoReturn:
    raise TextError(f"holds {name}, which is not JSON")


class StrictLoader(yaml.SafeLoader):
    """Safe YAML that refuses repeated keys and aliases and reads ``1e-3`` as the number it is.

    An alias is refused where something is made of it: a few lines of aliases stand for more than fits in memory.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Put a node in the place of an alias that no constructor takes."""
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()  # type: ignore[no-untyped-call]
            return yaml.ScalarNode(_ALIAS, event.anchor, event.start_mark, event.end_mark)
        return super().compose_node(parent, index)


def refuse_alias(node: yaml.Node) -> None:
    """Refuse a node that stands for an alias.

    Raises:
        TextError: It does.
    """
    if node.tag == _ALIAS:
        raise TextError(f"{line_of(node)}: aliases (*{node.value}) cannot be used; write it out")


def line_of(node: yaml.Node) -> str:
    """Return where a node begins, for a message."""
    return f"line {node.start_mark.line + 1}"


def _made_of_alias(_loader: StrictLoader, node: yaml.Node) -> None:
    refuse_alias(node)


def _unique_mapping(loader: StrictLoader, node: yaml.MappingNode) -> dict[object, object]:
    seen: set[object] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, (str, int, float, bool)):
            raise TextError(f"{line_of(key_node)}: a key must be plain text, not {key!r}")
        if key in seen:
            raise TextError(f"{line_of(key_node)}: key {key!r} is given twice")
        seen.add(key)
    return dict(loader.construct_mapping(node, deep=True))


def _integer(loader: StrictLoader, node: yaml.ScalarNode) -> int:
    value = int(loader.construct_yaml_int(node))
    if not -_INTEGERS <= value < _INTEGERS:
        raise TextError(f"{line_of(node)}: {node.value[:40]} does not fit 64 bits")
    return value


StrictLoader.add_constructor(_ALIAS, _made_of_alias)
StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)
StrictLoader.add_constructor("tag:yaml.org,2002:int", _integer)
StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str) -> object:
    """Parse a YAML document.

    Raises:
        TextError: It is not YAML, a key is given twice, or there is an alias.
    """
    return _with_clear_errors(lambda: yaml.load(text, Loader=StrictLoader))  # noqa: S506 - it is a SafeLoader


def compose_yaml(text: str, loader: type[StrictLoader]) -> yaml.Node | None:
    """Parse a YAML document into nodes of which nothing is made yet; None for an empty one.

    Raises:
        TextError: It is not YAML.
    """
    node: yaml.Node | None = _with_clear_errors(lambda: yaml.compose(text, Loader=loader))
    return node


def _with_clear_errors(parse: Callable[[], Any]) -> Any:  # noqa: ANN401 - what a document holds
    try:
        return parse()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise TextError(f"not valid YAML{where}: {getattr(error, 'problem', None) or error}") from None
    except (ValueError, RecursionError) as error:
        raise TextError(f"not valid YAML: {error}") from None
