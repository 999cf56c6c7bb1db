# SPDX-License-Identifier: Apache-2.0
"""The one list of interface types that are read. A new type is its module and one line here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nucleus_bridge.decode import (
    camera_info,
    compressed_cloud,
    depth,
    detections,
    image,
    laser_scan,
    livox,
    navsat,
    ouster,
    pointcloud2,
    pose,
    radar,
    tf,
    velodyne,
    video,
)
from nucleus_bridge.decode.interface import Interface, Kind
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.model import Message

_MODULES = (
    pointcloud2,
    livox,
    velodyne,
    ouster,
    compressed_cloud,
    laser_scan,
    depth,
    image,
    video,  # a CompressedImage may hold one
    radar,
    detections,
    camera_info,
    navsat,
    tf,
    pose,
)
_INTERFACES: dict[tuple[str, Kind], Interface] = {}


def add(interface: Interface) -> None:
    """Make a type known; a later one of the same name and kind replaces it."""
    _INTERFACES[interface.type_name, interface.kind] = interface


for _module in _MODULES:
    for _interface in _module.INTERFACES:
        add(_interface)


@contextmanager
def added(*interfaces: Interface) -> Iterator[None]:
    """Make types known for as long as the block lasts."""
    before = dict(_INTERFACES)
    for interface in interfaces:
        add(interface)
    try:
        yield
    finally:
        _INTERFACES.clear()
        _INTERFACES.update(before)


def types_of(kind: Kind) -> tuple[str, ...]:
    """Return the names of the types that hold a kind, in the order of the list."""
    return tuple(name for name, its_kind in _INTERFACES if its_kind == kind)


def interfaces(kind: Kind) -> tuple[Interface, ...]:
    """Return the types that hold a kind, in the order of the list."""
    return tuple(interface for (_, its_kind), interface in _INTERFACES.items() if its_kind == kind)


def interface_of(type_name: str, kind: Kind) -> Interface | None:
    """Return how a type is read as a kind, or None."""
    return _INTERFACES.get((type_name, kind))


def interfaces_of(type_name: str) -> tuple[Interface, ...]:
    """Return every role that a type is taken for by itself."""
    return tuple(
        interface for (name, _), interface in _INTERFACES.items() if name == type_name and not interface.only_configured
    )


def in_decoding_order(message: Message) -> bool:
    """Say whether a message is of a stream that comes in the order of decoding."""
    return any(interface.in_decoding_order(message) for interface in interfaces_of(message.type_name))


def interface_for(message: Message, kind: Kind) -> Interface:
    """Return how a message is read as a kind.

    Raises:
        DecodeError: Its type holds something else; cause ``wrong_type``.
    """
    interface = _INTERFACES.get((message.type_name, kind))
    if interface is None:
        allowed = " or ".join(types_of(kind))
        text = f"{message.topic} carries {message.type_name}, expected {allowed}"
        raise DecodeError(text, cause="wrong_type")
    return interface
