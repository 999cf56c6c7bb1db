# SPDX-License-Identifier: Apache-2.0
"""rosbag2 recordings to messages: mcap and sqlite3, zstd, splits, damaged and unclosed files."""

from nucleus_bridge.recordings.contents import Damage, TopicInfo
from nucleus_bridge.recordings.folder import digest_of, marks_of
from nucleus_bridge.recordings.merged import Merged
from nucleus_bridge.recordings.place import Place
from nucleus_bridge.recordings.recording import Recording, open_recording
from nucleus_bridge.recordings.scratch import Scratch

__all__ = [
    "Damage",
    "Merged",
    "Place",
    "Recording",
    "Scratch",
    "TopicInfo",
    "digest_of",
    "marks_of",
    "open_recording",
]
