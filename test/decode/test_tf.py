# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from serialised import STAMP_NS, recorded, tf_message

from nucleus_bridge.decode.tf import TransformSample, decode_transforms


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
