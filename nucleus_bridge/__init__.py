# SPDX-License-Identifier: Apache-2.0
"""Lidar and camera data from ROS 2, live or recorded, to Scale Nucleus lidar scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nucleus_bridge.version import __version__ as __version__

if TYPE_CHECKING:
    from nucleus_bridge.config import load_config
    from nucleus_bridge.convert import convert_bag
    from nucleus_bridge.geometry import TransformTree
    from nucleus_bridge.model import Frame, Scene

_HOMES = {
    "Frame": "nucleus_bridge.model",
    "Scene": "nucleus_bridge.model",
    "TransformTree": "nucleus_bridge.geometry",
    "convert_bag": "nucleus_bridge.convert",
    "load_config": "nucleus_bridge.config",
}

__all__ = ["Frame", "Scene", "TransformTree", "convert_bag", "load_config"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - each public name has its own type
    """Load a public name when it is first asked for, so that importing the package stays quick."""
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(_HOMES[name]), name)
