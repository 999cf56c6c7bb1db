# SPDX-License-Identifier: Apache-2.0
"""Recordings, what is not read of them, and scenes."""

from __future__ import annotations

from nucleus_bridge.warnings.finding import Code, Finding, Weight, number_of


def unreadable_topic(topic: str, type_name: str, count: int, kind: str, why: str, remedy: str) -> Finding:
    """A topic that is a sensor or a pose by its type and cannot be read; ``why`` may be empty."""
    package = type_name.partition("/")[0]
    return Finding(
        Code.UNREADABLE_TOPIC,
        "topic",
        topic,
        f"{topic} is a {kind} by its type and cannot be read: {number_of(count, 'message')} of {type_name} (package "
        f"{package}){f'; {why}' if why else ''}",
        remedy,
        Weight.LOSS,
    )


def unread_type(topic: str, type_name: str, kind: str, remedy: str) -> Finding:
    """A topic of a type that nobody listed, which may be a sensor."""
    text = f"{topic} is {type_name}, which is not read; it may be a {kind}"
    return Finding(Code.UNREADABLE_TOPIC, "topic", topic, text, remedy, Weight.LOSS)


def split_missing(path: str, text: str, *, loses_messages: bool) -> Finding:
    """A file of the recording that is not there, or is not in its list."""
    return Finding(
        Code.SPLIT_MISSING,
        "recording",
        path,
        text,
        f"bring the file, or run: ros2 bag reindex {path}",
        Weight.LOSS if loses_messages else Weight.NOTE,
    )


def recording_damaged(path: str, text: str, *, loses_messages: bool) -> Finding:
    """A part of the recording that cannot be read."""
    return Finding(
        Code.RECORDING_DAMAGED,
        "recording",
        path,
        text,
        "copy the recording again from where it was made; what can be read is read",
        Weight.LOSS if loses_messages else Weight.NOTE,
    )


def ros1_messages(path: str, topics: int, count: int) -> Finding:
    """ROS 1 messages in a file that holds ROS 2 recordings."""
    return Finding(
        Code.ROS1_MESSAGES,
        "recording",
        path,
        f"{number_of(topics, 'topic')} with {number_of(count, 'message')} hold ROS 1 messages, which cannot be read as "
        "they are",
        "convert the original ROS 1 bag: rosbags-convert --src drive.bag --dst "
        f"{path.rpartition('/')[2] or 'drive'}_ros2",
        Weight.LOSS,
    )


def scene_large(reference_id: str, points: int, advised_points: int, gigabytes: float, advised_gb: float) -> Finding:
    """A scene that is larger than those who take it advise; a figure of 0 is as advised."""
    texts, remedies = [], []
    if points:
        texts.append(f"{points:,} points a frame on average where at most {advised_points:,} are advised")
        remedies += ["sfs.voxel_m: 0.02", f"cloud.max_points: {advised_points}"]
    if gigabytes:
        texts.append(f"{gigabytes:.1f} GB in one file where {advised_gb:.0f} GB load badly")
        remedies += ["sfs.images: video", "scene.max_duration_s"]
    text = f"the annotation tool may be slow with {reference_id}: {', and '.join(texts)}"
    return Finding(Code.SCENE_LARGE, "scene", reference_id, text, " or ".join(remedies), Weight.NOTE)
