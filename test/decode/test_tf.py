# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import pytest
from serialised import STAMP_NS, recorded, tf_message

from nucleus_bridge.decode import tf
from nucleus_bridge.decode.tf import TransformSample, decode_transforms
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.model import Message


def test_transforms_come_in_order_with_every_number():
    message = tf_message(
        ("map", "base_link", STAMP_NS, (1.5, -2.5, 0.25), (0.0, 0.0, 0.6, 0.8)),
        ("/base_link", "/lidar_top", 0, (0.0, 0.0, 2.0), (0.5, -0.5, 0.5, -0.5)),
    )
    assert decode_transforms(message) == [
        TransformSample("map", "base_link", STAMP_NS, (1.5, -2.5, 0.25), (0.0, 0.0, 0.6, 0.8)),
        TransformSample("base_link", "lidar_top", 0, (0.0, 0.0, 2.0), (0.5, -0.5, 0.5, -0.5)),
    ]


def test_a_message_without_transforms_is_empty():
    assert decode_transforms(tf_message()) == []


def test_recorded_transforms_are_unit_rotations_between_named_frames():
    samples = [s for message in recorded("scale_sample", "tf2_msgs/msg/TFMessage") for s in decode_transforms(message)]
    assert len(samples) > 5
    for sample in samples:
        assert sample.parent
        assert sample.child
        assert sample.parent != sample.child
        assert abs(sum(value * value for value in sample.rotation_xyzw) - 1.0) < 1e-6


def test_the_quick_way_gives_what_the_library_gives_whatever_the_bytes_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whole messages, cut ones, ones that are too long, and ones of which a byte is another."""
    whole = tf_message(
        ("map", "base_link", STAMP_NS, (1.5, -2.5, 0.25), (0.0, 0.0, 0.6, 0.8)),
        ("/odom", "é", STAMP_NS + 1, (0.0, 0.0, 2.0), (0.5, -0.5, 0.5, -0.5)),
        ("a", "bcd", 0, (1.0, 2.0, 3.0), (0.0, 0.0, 0.0, 1.0)),
    )
    data = whole.data
    variants = [data[:length] for length in range(len(data))]
    variants += [data + b"\0" * extra for extra in range(6)]
    variants += [data[:place] + bytes([data[place] ^ 0x5A]) + data[place + 1 :] for place in range(0, len(data), 1)]
    messages = [replace(whole, data=variant) for variant in variants]
    quick = [outcome(message) for message in messages]
    monkeypatch.setattr(tf, "_read_plainly", lambda _: None)
    assert quick == [outcome(message) for message in messages]
    assert sum(isinstance(one, list) for one in quick) > 100


def outcome(message: Message) -> object:
    try:
        return [repr(sample) for sample in decode_transforms(message)]
    except DecodeError as error:
        return error.cause
