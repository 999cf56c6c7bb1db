# SPDX-License-Identifier: Apache-2.0
"""The name that ``nucleus_bridge.recordings`` had in 0.1, for programs that still import from it."""

from nucleus_bridge.recordings import Damage, Place, Recording, Scratch, TopicInfo, marks_of, open_recording

Bag = Recording
open_bag = open_recording

__all__ = ["Bag", "Damage", "Place", "Scratch", "TopicInfo", "marks_of", "open_bag"]
