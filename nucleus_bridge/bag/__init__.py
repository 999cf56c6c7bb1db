# SPDX-License-Identifier: Apache-2.0
"""rosbag2 recordings to messages: mcap and sqlite3, zstd, splits, damaged and unclosed files."""

from nucleus_bridge.bag.bag import Bag, open_bag
from nucleus_bridge.bag.contents import Damage, TopicInfo
from nucleus_bridge.bag.folder import marks_of
from nucleus_bridge.bag.place import Place
from nucleus_bridge.bag.scratch import Scratch

__all__ = ["Bag", "Damage", "Place", "Scratch", "TopicInfo", "marks_of", "open_bag"]
