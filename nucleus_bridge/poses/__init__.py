# SPDX-License-Identifier: Apache-2.0
"""Sources of poses: each yields edges of the one transform tree."""

from nucleus_bridge.poses.source import Edge, PoseSource, PoseTopic
from nucleus_bridge.poses.sources import add_factory, added, sources_of

__all__ = ["Edge", "PoseSource", "PoseTopic", "add_factory", "added", "sources_of"]
