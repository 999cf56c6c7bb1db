# SPDX-License-Identifier: Apache-2.0
"""Writes a demo drive: a rosbag2 folder as a recorder would have left it, and the truth beside it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer

from nucleus_bridge.errors import OutputError
from nucleus_bridge.testing.demo.forms import Ros1Writer
from nucleus_bridge.testing.demo.messages import TYPESTORE
from nucleus_bridge.testing.demo.options import DriveOptions
from nucleus_bridge.testing.demo.streams import Stream, streams_of
from nucleus_bridge.testing.demo.truth import truth_of

_BAG_VERSION: Literal[8] = 8  # which every ROS 2 from Humble on reads
_PLUGINS = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
_INFINITE = QosTime(9_223_372_036, 854_775_807)


def write_demo_drive(
    out_bag: Path,
    options: DriveOptions,
    progress: Callable[[float], None] | None = None,
    *,
    force: bool = False,
) -> Path:
    """Write the drive as the rosbag2 folder ``out_bag`` and its truth as ``<out_bag>.truth.json``; return the folder.

    Messages come in the order of their log times. ``progress`` is called with the part that is done, 0 to 1. Both
    outputs appear under their names only whole; ``force`` replaces a bag that is already there.

    Raises:
        OutputError: The place is taken, or cannot be written to.
    """
    out_bag = Path(out_bag)
    truth_path = truth_path_of(out_bag)
    _check_place(out_bag, truth_path, force=force)
    try:
        out_bag.parent.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(prefix=f".{out_bag.name}.", dir=out_bag.parent))
    except OSError as error:
        raise OutputError(f"cannot write to {out_bag.parent}: {error.strerror}; choose another place") from error
    try:
        bag, truth = workshop / out_bag.name, workshop / truth_path.name
        _write_bag(bag, options, progress or (lambda _: None))
        truth.write_text(json.dumps(truth_of(options), allow_nan=False) + "\n", encoding="utf-8")
        if out_bag.exists():
            out_bag.rename(workshop / "replaced")
        bag.rename(out_bag)
        truth.replace(truth_path)
    except OSError as error:
        raise OutputError(f"cannot write {out_bag}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return out_bag


def truth_path_of(out_bag: Path) -> Path:
    """Return where the truth about a bag is written."""
    return out_bag.with_name(out_bag.name + ".truth.json")


def _check_place(out_bag: Path, truth_path: Path, *, force: bool) -> None:
    if not out_bag.name:
        raise OutputError(f"{out_bag} is not a name for a new folder")
    for path in (out_bag, truth_path):
        if path.exists() and not force:
            raise OutputError(f"{path} exists already; choose another name or replace it with force")
    is_bag = (out_bag / "metadata.yaml").is_file() or (out_bag.is_file() and out_bag.suffix == ".bag")
    if out_bag.exists() and not is_bag:
        raise OutputError(f"{out_bag} exists and is not a rosbag2 folder, so it is not replaced; choose another name")


def _write_bag(path: Path, options: DriveOptions, progress: Callable[[float], None]) -> None:
    streams = streams_of(options)
    total = sum(len(stream.stamps_ns) for stream in streams)
    if options.format == "ros1":
        with Ros1Writer(path) as bag:
            adders = [bag.add(stream.topic, stream.type_name, is_latched=stream.is_latched) for stream in streams]
            for done, (number, index) in enumerate(_in_log_order(streams), 1):
                adders[number](int(streams[number].log_ns[index]), streams[number].message(index))
                progress(done / total)
        return
    with Writer(path, version=_BAG_VERSION, storage_plugin=_PLUGINS[options.storage]) as writer:
        connections = [
            writer.add_connection(
                stream.topic,
                stream.type_name,
                typestore=TYPESTORE,
                offered_qos_profiles=[_qos(is_latched=stream.is_latched)],
            )
            for stream in streams
        ]
        shown = 0
        for done, (number, index) in enumerate(_in_log_order(streams), 1):
            stream = streams[number]
            writer.write(connections[number], int(stream.log_ns[index]), stream.message(index))
            if 1000 * done // total > shown:
                shown = 1000 * done // total
                progress(done / total)


def _in_log_order(streams: list[Stream]) -> Iterator[tuple[int, int]]:
    """Yield (stream, message) indices as a recorder would have got them."""
    logged = np.concatenate([stream.log_ns for stream in streams])
    numbers = np.concatenate([np.full(len(stream.log_ns), number) for number, stream in enumerate(streams)])
    indices = np.concatenate([np.arange(len(stream.log_ns)) for stream in streams])
    for position in np.lexsort((indices, numbers, logged)):
        yield int(numbers[position]), int(indices[position])


def _qos(*, is_latched: bool) -> Qos:
    durability = QosDurability.TRANSIENT_LOCAL if is_latched else QosDurability.VOLATILE
    return Qos(
        QosHistory.KEEP_LAST,
        10,
        QosReliability.RELIABLE,
        durability,
        _INFINITE,
        _INFINITE,
        QosLiveliness.AUTOMATIC,
        _INFINITE,
        avoid_ros_namespace_conventions=False,
    )
