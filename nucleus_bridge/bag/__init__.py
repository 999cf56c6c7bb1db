# SPDX-License-Identifier: Apache-2.0
"""rosbag2 recordings to messages: mcap and sqlite3, zstd, splits, damaged and unclosed files."""

from nucleus_bridge.bag.bag import Bag, open_bag
from nucleus_bridge.bag.contents import Damage, TopicInfo

__all__ = ["Bag", "Damage", "TopicInfo", "open_bag"]
