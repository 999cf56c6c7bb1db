# SPDX-License-Identifier: Apache-2.0
"""Parameter files on the command line of a node: readable for ROS 2, whose parser takes no empty mapping."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import yaml

from nucleus_bridge.config.sections import UNTAGGED, PlainLoader, read_parameters
from nucleus_bridge.errors import TextError
from nucleus_bridge.strict_text import compose_yaml, read_text, refuse_alias

_FLAG = "--params-file"


def parameter_files(arguments: Sequence[str]) -> tuple[Path, ...]:
    """Return the parameter files that arguments name, in order."""
    return tuple(Path(value) for flag, value in pairwise(arguments) if flag == _FLAG)


def parameters_and_folders(files: Sequence[Path], full_name: str) -> Mapping[str, tuple[object, Path]]:
    """Return what files give a node, the last one's value of each, with the folder of the file that gives it.

    Raises:
        ConfigError: A file cannot be read, or says something twice.
    """
    return {name: (value, file.parent) for file in files for name, value in read_parameters(file, full_name).items()}


@contextmanager
def readable_arguments(arguments: Sequence[str]) -> Iterator[list[str]]:
    """Give arguments whose parameter files have no empty mappings, in copies where needed, for as long as the block.

    An empty mapping sets no parameter, so nothing changes but that ROS 2 can read the file; every value stays as it was
    written. A file that is not YAML stays what it is: ROS 2 says what is wrong with it.
    """
    with tempfile.TemporaryDirectory(prefix="nucleus_bridge_") as folder:
        given = list(arguments)
        replaced: list[str] = []
        while given:
            argument = given.pop(0)
            if argument != _FLAG or not given:
                replaced.append(argument)
                continue
            path = _readable(Path(given.pop(0)), Path(folder) / f"{len(replaced)}.yaml")
            if path is not None:
                replaced += [_FLAG, str(path)]
        yield replaced


def _readable(path: Path, copy: Path) -> Path | None:
    """Return the file itself, a copy without empty mappings, or None when nothing is left."""
    try:
        node = compose_yaml(read_text(path), PlainLoader)
        if not _drop_empty(node):
            return path
    except (TextError, RecursionError):
        return path
    if isinstance(node, yaml.MappingNode) and not node.value:
        return None
    copy.write_text(yaml.serialize(node, Dumper=_PlainDumper, width=math.inf, allow_unicode=True), encoding="utf-8")
    return copy


class _PlainDumper(yaml.BaseDumper):
    """Writes nodes without a tag as they were."""

    def resolve(self, kind: type[yaml.Node], value: object, implicit: object) -> str:  # noqa: ARG002
        """Return the tag that need not be written."""
        return UNTAGGED


def _drop_empty(node: yaml.Node | None) -> bool:
    """Take empty mappings out of a document, and those that become empty; say whether there was one."""
    if node is not None:
        refuse_alias(node)
    if not isinstance(node, yaml.MappingNode):
        return False
    found = False
    for pair in list(node.value):
        found |= _drop_empty(pair[1])
        if isinstance(pair[1], yaml.MappingNode) and not pair[1].value:
            node.value.remove(pair)
            found = True
    return found
