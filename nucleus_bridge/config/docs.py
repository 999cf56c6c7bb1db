# SPDX-License-Identifier: Apache-2.0
"""The parameter table as a page: ``python -m nucleus_bridge.config.docs > docs/parameters.md``."""

from __future__ import annotations

import math
import sys

from nucleus_bridge.config.schema import Parameter, Table
from nucleus_bridge.config.settings import TABLE

_HEAD = """# Parameters

One table serves the node, the command line and this page. `*` stands for a name listed in the parameter above it (such
as `lidar_names` for `lidars.*`), and for any key under `metadata`. On the command line `--set name=value` overrides one
of them. *live*: a running recorder takes a new value at once; the others can be set while it is not active. *file*:
a path relative to the configuration file; the digest takes the content of what it names.

A file is a ROS 2 parameter file, and the command line reads it as ROS 2 does. Sections for `nucleus_recorder` and
`nucleus_uploader` count (`/**`, `/*`, `/**/nucleus_recorder`, `/robot1/nucleus_recorder`, or `robot1:` with
`nucleus_recorder:` below), the later one wins, and those of other nodes are skipped. Two robots in one file are
refused, since the command line has no namespace that decides. Values are what ROS 2 makes of them: `yes` is true,
`010` is 8; put such text in quotes. A list holds values of one type: `[1.0, 0.0]`, not `[1, 0.0]`. A key that is given
twice and an alias are refused.

| name | type | default | allowed | meaning |
|---|---|---|---|---|
"""


def page(table: Table = TABLE) -> str:
    """Return the page as Markdown."""
    return _HEAD + "".join(_row(parameter) for parameter in table.rows)


def _row(parameter: Parameter) -> str:
    about = parameter.about
    marks = "".join(f" *{mark}*" for mark, has in (("live", about.live), ("file", about.is_file)) if has)
    cells = (f"`{parameter.name}`", parameter.type_name, _default(parameter), _allowed(parameter))
    return f"| {' | '.join(cells)} | {about.description}{marks} |\n"


def _default(parameter: Parameter) -> str:
    value = parameter.default
    if value is None:
        return "" if parameter.type_name == "scalar" else "must be set"
    if isinstance(value, tuple):
        return f"`[{', '.join(str(item) for item in value)}]`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float) and math.isinf(value):
        return "`.inf`"
    return f"`{value}`" if value != "" else '`""`'


def _allowed(parameter: Parameter) -> str:
    if parameter.choices:
        return ", ".join(f"`{choice}`" if choice else '`""`' for choice in parameter.choices)
    low, high = parameter.about.minimum, parameter.about.maximum
    if math.isfinite(low) and math.isfinite(high):
        return f"{low:g} to {high:g}"
    return f"at least {low:g}" if math.isfinite(low) else ""


if __name__ == "__main__":
    sys.stdout.write(page())
