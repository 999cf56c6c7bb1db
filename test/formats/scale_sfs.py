# SPDX-License-Identifier: Apache-2.0
"""Scale's own packages for ``.sfs`` files, in an environment of their own, asked by tests."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

VECTORS = Path(__file__).parent.parent / "vectors/sfs"
PROGRAM = Path(__file__).with_name("sfs_program.py")


def run(*arguments: str | Path) -> list[str]:
    """Run ``sfs_program.py``; the test is skipped where Scale's packages are not there."""
    python = os.environ.get("NUCLEUS_BRIDGE_SFS_PYTHON")
    if not python:
        pytest.skip("set NUCLEUS_BRIDGE_SFS_PYTHON to a Python that has scale-sensor-fusion-io")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [python, str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, env=clean, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()


def verdicts(*files: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in run("verdict", *files)]


def leaves(command: str, file: Path, scratch: Path) -> dict[str, Any]:
    """Return everything that Scale's code finds in a file, by path."""
    out = scratch / "leaves.npz"
    run(command, file, out)
    with np.load(out) as found:
        rest = json.loads(found[""].tobytes())
        return {**rest, **{path: found[path] for path in found.files if path}}


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Return the leaves of a tree by path; what is None is as good as missing."""
    if isinstance(value, dict):
        entries: Any = value.items()
    elif isinstance(value, list):
        entries = enumerate(value)
    else:
        return {} if value is None else {path: value}
    return {name: leaf for key, entry in entries for name, leaf in flat(entry, f"{path}/{key}").items()}


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for path, leaf in expected.items():
        if isinstance(leaf, np.ndarray):
            assert found[path].dtype == leaf.dtype, path
            np.testing.assert_array_equal(found[path], leaf, err_msg=path)
        else:
            assert found[path] == leaf, path
            assert type(found[path]) is type(leaf), path
