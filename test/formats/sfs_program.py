# SPDX-License-Identifier: Apache-2.0
"""Run in an environment that has Scale's packages for ``.sfs`` files: what they make of ours.

``verdict FILE...`` prints for each file, as a line of JSON, whether Scale's validator accepts it and what it says.
``load FILE OUT.npz`` has Scale's loader read a scene, and writes down all that it found, by path.
``read FILE OUT.npz`` the same with its reader of containers, which knows nothing of scenes.
``write FILE OUT`` has Scale's packages read a file and write it again, and prints the seconds that writing took.
``models FILE OUT`` the same, through Scale's classes of scenes.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import scale_json_binary
from scale_sensor_fusion_io.loaders import SFSLoader
from scale_sensor_fusion_io.model_converters.sfs import to_scene_spec_sfs
from scale_sensor_fusion_io.validation import parse_and_validate_scene


def verdict(path: str) -> dict[str, str]:
    """Ask the validator; where it breaks off it does not accept."""
    try:
        result = parse_and_validate_scene(scale_json_binary.read_file(path))
    except Exception as error:  # noqa: BLE001 - whatever it raises
        return {"validator": "uncaught", "says": repr(error)}
    if result.success:
        return {"validator": "accepts", "says": ""}
    return {"validator": "refuses", "says": repr(result.details)}


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every leaf of a tree by its path; what is None is as good as missing."""
    if isinstance(value, Enum):
        yield path, value.value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from flat(entry, f"{path}/{key}")
    elif isinstance(value, (list, tuple)):
        for number, entry in enumerate(value):
            yield from flat(entry, f"{path}/{number}")
    elif isinstance(value, bytes):  # an array whose type the file does not say
        yield path, np.frombuffer(value, np.uint8)
    elif value is not None:
        yield path, value


def write_down(tree: dict[str, Any], out: str) -> None:
    """Save leaves: arrays as they are, everything else as JSON."""
    leaves = dict(flat(tree))
    arrays = {path: leaf for path, leaf in leaves.items() if isinstance(leaf, np.ndarray)}
    rest = {path: leaf for path, leaf in leaves.items() if path not in arrays}
    np.savez(out, **arrays, **{"": np.frombuffer(json.dumps(rest).encode(), np.uint8)})


def main(command: str, *paths: str) -> None:
    """Carry out a command."""
    if command == "verdict":
        for path in paths:
            sys.stdout.write(json.dumps(verdict(path)) + "\n")
    elif command == "load":
        SFSLoader(paths[0]).load()
        write_down(dataclasses.asdict(SFSLoader(paths[0]).load_as_sfs()), paths[1])
    elif command == "read":
        write_down(scale_json_binary.read_file(paths[0]), paths[1])
    elif command == "write":
        tree = scale_json_binary.read_file(paths[0])
        start = time.perf_counter()
        scale_json_binary.write_file(paths[1], tree)
        sys.stdout.write(f"{time.perf_counter() - start}\n")
    elif command == "models":
        scene = SFSLoader(paths[0]).load()
        start = time.perf_counter()
        scale_json_binary.write_file(paths[1], dataclasses.asdict(to_scene_spec_sfs(scene)))
        sys.stdout.write(f"{time.perf_counter() - start}\n")


if __name__ == "__main__":
    if not Path(sys.argv[2]).is_file():
        raise FileNotFoundError(sys.argv[2])
    main(*sys.argv[1:])
