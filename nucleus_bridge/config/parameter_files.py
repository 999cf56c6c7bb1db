# SPDX-License-Identifier: Apache-2.0
"""Parameter files as ROS 2 can read them: its parser knows no empty mapping, which the command line does."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

_FLAG = "--params-file"


@contextmanager
def readable_arguments(arguments: Sequence[str]) -> Iterator[list[str]]:
    """Give arguments whose parameter files have no empty mappings, in copies where needed, for as long as the block.

    An empty mapping sets no parameter, so nothing changes but that ROS 2 can read the file. A file that is no YAML
    stays what it is: ROS 2 says what is wrong with it.
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
        content = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError, RecursionError):
        return path
    if not _has_empty(content):
        return path
    kept = _without_empty(content)
    if not kept:
        return None
    copy.write_text(yaml.dump(kept, Dumper=_PlainDumper, sort_keys=False), encoding="utf-8")
    return copy


class _PlainDumper(yaml.SafeDumper):
    """Writes what is referred to twice twice: the parser of ROS 2 knows no aliases."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def _has_empty(content: object) -> bool:
    return isinstance(content, dict) and (not content or any(map(_has_empty, content.values())))


def _without_empty(content: Any) -> Any:  # noqa: ANN401 - whatever YAML holds
    if not isinstance(content, dict):
        return content
    kept = {key: _without_empty(value) for key, value in content.items()}
    return {key: value for key, value in kept.items() if value != {}}
