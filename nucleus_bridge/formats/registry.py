# SPDX-License-Identifier: Apache-2.0
"""The one list of scene formats. A new one is its module, or package, and one line here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from nucleus_bridge.errors import SceneError

if TYPE_CHECKING:
    from nucleus_bridge.formats.interface import SceneFormat, UploadKind

DEFAULT = "nucleus"
"""What is written where nothing else is asked for."""

_FORMATS: dict[str, SceneFormat | str] = {
    "nucleus": "nucleus_bridge.formats.nucleus.scene_format:NUCLEUS",
    "sensor_fusion_json": "nucleus_bridge.formats.sensor_fusion.scene_format:SENSOR_FUSION_JSON",
    "sensor_fusion_protobuf": "nucleus_bridge.formats.sensor_fusion.scene_format:SENSOR_FUSION_PROTOBUF",
    "sfs": "nucleus_bridge.formats.sfs.scene_format:SFS",
}
"""Formats by name; one that was not asked for yet by its module and its name there."""


def add(scene_format: SceneFormat) -> None:
    """Make a format known; a later one of the same name replaces it."""
    _FORMATS[scene_format.name] = scene_format


@contextmanager
def added(*formats: SceneFormat) -> Iterator[None]:
    """Make formats known for as long as the block lasts."""
    before = dict(_FORMATS)
    for scene_format in formats:
        add(scene_format)
    try:
        yield
    finally:
        _FORMATS.clear()
        _FORMATS.update(before)


def names() -> tuple[str, ...]:
    """Return the names of all formats."""
    return tuple(_FORMATS)


def of(name: str) -> SceneFormat:
    """Return a format by its name.

    Raises:
        SceneError: There is none of that name.
    """
    found = _FORMATS.get(name)
    if found is None:
        raise SceneError(f"the scene format {name!r} is not known; known are {', '.join(_FORMATS)}")
    if isinstance(found, str):
        module, _, attribute = found.partition(":")
        loaded: SceneFormat = getattr(import_module(module), attribute)
        _FORMATS[name] = found = loaded
    return found


def names_for(kind: UploadKind) -> frozenset[str]:
    """Return the names of the formats whose scenes become something of a kind at the service."""
    return frozenset(name for name in _FORMATS if (upload := of(name).upload) is not None and upload.kind == kind)
