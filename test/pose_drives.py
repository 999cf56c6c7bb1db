# SPDX-License-Identifier: Apache-2.0
"""The demo drive with its odometry or its mounts in another form than transforms."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from bags import Recording, transforms

from nucleus_bridge.convert import ConversionReport, convert_bag
from nucleus_bridge.decode.tf import decode_transforms
from nucleus_bridge.model import Message
from nucleus_bridge.poses.source import Edge
from nucleus_bridge.recordings import open_recording

TF = "tf2_msgs/msg/TFMessage"
MOVING = ("odom", "base_link")

_NUMBER = re.compile(r"(?<=[:\[,])\s*(-?\d+\.?\d*(?:[eE][-+]?\d+)?)")

Replace = Callable[[Edge], tuple[str, Any] | None]
"""Returns the topic and the message that stand for an edge, or None to leave it out."""


def edges_of(message: Message) -> list[Edge]:
    return [Edge(*sample, static=message.topic == "/tf_static") for sample in decode_transforms(message)]


def rewritten(bag: Path, output: Path, replace: Replace, *, is_replaced: Callable[[Edge], bool]) -> list[Edge]:
    """Copy a recording with other messages for some of its transforms, at the same log times; return those."""
    made, replaced = Recording(), []
    with open_recording(bag) as recording:
        for message in recording.messages([topic.name for topic in recording.topics]):
            if message.type_name != TF:
                made.add_raw(message.topic, message.type_name, message.data, message.log_ns)
                continue
            kept = []
            for edge in edges_of(message):
                if not is_replaced(edge):
                    kept.append(edge)
                    continue
                replaced.append(edge)
                other = replace(edge)
                if other is not None:
                    made.add(*other, message.log_ns)
            if kept:
                made.add(message.topic, transforms(*(edge[:5] for edge in kept)), message.log_ns)
    made.write(output)
    return replaced


def is_moving(edge: Edge) -> bool:
    return (edge.parent, edge.child) == MOVING


def config_with(config: Path, output: Path, lines: Iterable[str]) -> Path:
    """Write a configuration with more lines."""
    output.write_text(config.read_text().rstrip("\n") + "\n" + "".join(f"    {line}\n" for line in lines))
    return output


def scene_files(report: ConversionReport) -> dict[str, bytes]:
    """Return every file of the scenes but the manifests."""
    return files_below(report.scenes[0].folder.parent)


def files_below(scenes: Path) -> dict[str, bytes]:
    """Return every file of scenes but the manifests, by path."""
    return {
        path.relative_to(scenes).as_posix(): path.read_bytes()
        for path in sorted(scenes.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


def converted_files(bag: Path, config: Path, spool: Path) -> dict[str, bytes]:
    return scene_files(convert_bag(bag, config, spool))


def assert_alike(found: dict[str, bytes], wanted: dict[str, bytes]) -> None:
    """Numbers may differ by one in the last digit that is written; all else is the same."""
    assert found.keys() == wanted.keys()
    for name, content in found.items():
        if not name.endswith(".json"):
            assert content == wanted[name]
            continue
        one, other = (np.array(_NUMBER.findall(text.decode()), float) for text in (content, wanted[name]))
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= 0.001 + 1e-9
