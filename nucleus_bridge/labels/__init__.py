# SPDX-License-Identifier: Apache-2.0
"""Labels come home: from Nucleus and from finished tasks, in the frames and stamps of the recording."""

from nucleus_bridge.labels.label import Label, label_of_cuboid

__all__ = ["Label", "label_of_cuboid"]
