# SPDX-License-Identifier: Apache-2.0
"""Messages come in the order of their header stamps as far as the window reaches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import MS, START_NS, cdr
from rosbags.typesys import Stores, get_typestore

from nucleus_bridge.decode.video import COMPRESSED_IMAGE, COMPRESSED_VIDEO, FFMPEG_PACKET, VIDEO_FORMATS
from nucleus_bridge.decode.video import is_video as is_decoded_as_video
from nucleus_bridge.model import Message
from nucleus_bridge.recordings.reorder import VIDEO_FORMATS as FORMATS_OF_FILES
from nucleus_bridge.recordings.reorder import by_stamp, header_stamp_ns, is_video, starts_with_header

WIDE = 10**18
IDL = f"""{"=" * 80}
IDL: my_msgs/msg/Thing
module my_msgs {{ module msg {{ struct Thing {{ std_msgs::msg::Header header; uint8 x; }}; }}; }};
"""


def message(topic: str, log: int, stamp: int, payload: bytes = b"") -> Message:
    return Message(topic, "a/msg/B", START_NS + log * MS, cdr(START_NS + stamp * MS, payload))


def reorder(messages: list[Message], *, window_ns: int, max_window_bytes: int = WIDE) -> list[Message]:
    return list(by_stamp(messages, lambda m: m.topic != "/tf", window_ns=window_ns, max_window_bytes=max_window_bytes))


in_log_order = st.lists(
    st.tuples(st.sampled_from(["/a", "/b", "/tf"]), st.integers(0, 200), st.integers(-50, 200)), max_size=40
).map(lambda rows: [message(topic, log, stamp) for topic, log, stamp in sorted(rows, key=lambda row: (row[1], row[0]))])


@given(messages=in_log_order, window=st.integers(0, 300), limit=st.integers(0, 500))
def test_nothing_is_lost_and_places_keep_their_topic(messages: list[Message], window: int, limit: int) -> None:
    released = reorder(messages, window_ns=window * MS, max_window_bytes=limit)
    assert [m.topic for m in released] == [m.topic for m in messages]
    assert sorted(map(id, released)) == sorted(map(id, messages))
    assert [m for m in released if m.topic == "/tf"] == [m for m in messages if m.topic == "/tf"]


def laps(stamps: list[int], first: int = 1) -> list[list[int]]:
    """Cut stamps where two in a row are below the highest one; these two are of the new lap."""
    for place in range(first, len(stamps) - 1):
        if max(stamps[place : place + 2]) < max(stamps[:place]):
            return [stamps[:place], *laps(stamps[place:], first=2)]
    return [stamps]


@given(messages=in_log_order)
def test_topic_is_sorted_by_stamp_between_the_steps_of_its_clock(messages: list[Message]) -> None:
    for topic in ("/a", "/b"):
        stamps = [header_stamp_ns(m.data) or 0 for m in messages if m.topic == topic]
        released = [header_stamp_ns(m.data) for m in reorder(messages, window_ns=WIDE) if m.topic == topic]
        assert released == [stamp for lap in laps(stamps) for stamp in sorted(lap)]


def test_equal_stamps_keep_their_log_order() -> None:
    messages = [message("/a", log, 5, b"%d" % log) for log in range(5)]
    assert reorder(messages, window_ns=WIDE) == messages


def test_message_is_released_once_the_window_passed_it() -> None:
    taken: list[int] = []

    def source() -> Iterator[Message]:
        for log in range(10):
            taken.append(log)
            yield message("/a", log * 100, log)

    stream = by_stamp(source(), lambda _: True, window_ns=300 * MS, max_window_bytes=WIDE)
    assert next(stream).log_ns == START_NS
    assert taken == [0, 1, 2, 3]


def test_late_message_beyond_the_window_is_still_released() -> None:
    messages = [message("/a", 0, 100), message("/b", 400, 500), message("/a", 1000, 50)]
    assert reorder(messages, window_ns=300 * MS) == messages


def test_bytes_held_are_bounded() -> None:
    messages = [message("/a", log, log, bytes(984)) for log in range(100)]
    held = 0
    peak = 0

    def source() -> Iterator[Message]:
        nonlocal held, peak
        for each in messages:
            held += len(each.data)
            peak = max(peak, held)
            yield each

    for each in by_stamp(source(), lambda _: True, window_ns=WIDE, max_window_bytes=10_000):
        held -= len(each.data)
    assert peak <= 10_000 + len(messages[0].data)


def test_message_larger_than_the_bound_passes() -> None:
    messages = [message("/a", 0, 0, bytes(1000)), message("/a", 1, 1, bytes(1000))]
    assert reorder(messages, window_ns=WIDE, max_window_bytes=10) == messages


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("stamp_ns", [0, START_NS + 123_456_789, -1_500_000_000])
def test_stamp_is_read_as_it_was_serialised(stamp_ns: int, big_endian: bool) -> None:
    store = get_typestore(Stores.ROS2_HUMBLE)
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    time = store.types["builtin_interfaces/msg/Time"](seconds, nanoseconds)
    header = store.types["std_msgs/msg/Header"](time, "map")
    data = store.serialize_cdr(
        store.types["geometry_msgs/msg/PointStamped"](header, store.types["geometry_msgs/msg/Point"](1.0, 2.0, 3.0)),
        "geometry_msgs/msg/PointStamped",
        little_endian=not big_endian,
    )
    assert header_stamp_ns(bytes(data)) == stamp_ns


def test_stamp_of_too_few_bytes_is_none() -> None:
    assert header_stamp_ns(b"\0\1\0\0" + bytes(7)) is None
    assert reorder([Message("/a", "a/msg/B", START_NS, b"")], window_ns=0)[0].data == b""


def test_standard_types_are_judged_as_their_embedded_definition_is() -> None:
    """The definition of each standard type, under a name that is not standard, gives the same answer."""
    store = get_typestore(Stores.LATEST)
    with_header = set()
    for name in store.fielddefs:
        definition = store.generate_msgdef(name, ros_version=2)[0]
        assert starts_with_header(name, "") == starts_with_header("my_msgs/msg/Thing", definition)
        if starts_with_header(name, ""):
            with_header.add(name)
    assert {"sensor_msgs/msg/PointCloud2", "sensor_msgs/msg/CameraInfo", "nav_msgs/msg/Odometry"} <= with_header
    assert not {"tf2_msgs/msg/TFMessage", "std_msgs/msg/Header", "std_msgs/msg/String"} & with_header


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        ("std_msgs/Header header\nuint8 x\n", True),
        ("# a comment\nuint8 MODE=1\nstd_msgs/msg/Header header\n", True),
        ("uint8 x\nstd_msgs/Header header\n", False),
        ("this is : no } definition", False),
        (f"{'=' * 80}\nIDL: my_msgs/msg/Other\nmodule x {{}};\n", False),
        (IDL, True),
    ],
)
def test_custom_types_are_judged_by_their_definition(definition: str, expected: bool) -> None:
    assert starts_with_header("my_msgs/msg/Thing", definition) is expected


def test_standard_type_is_known_in_spite_of_an_unreadable_definition() -> None:
    assert starts_with_header("sensor_msgs/msg/Image", "this is : no } definition") is True


def test_unknown_type_without_definition_has_no_stamp() -> None:
    assert starts_with_header("my_msgs/msg/Unheard", "") is False


@pytest.mark.parametrize("little_endian", [True, False])
@pytest.mark.parametrize("frame_id", ["", "c", "cam", "camera_front"])
@pytest.mark.parametrize("text", [*VIDEO_FORMATS, "H264", "h264; yuv420p", "jpeg", "rgb8; jpeg compressed bgr8", ""])
def test_what_is_decoded_as_a_video_is_not_sorted(text: str, frame_id: str, *, little_endian: bool) -> None:
    types = get_typestore(Stores.ROS2_JAZZY).types
    stamp = types["builtin_interfaces/msg/Time"](sec=7, nanosec=9)
    header = types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)
    content = types[COMPRESSED_IMAGE](header=header, format=text, data=np.zeros(9, np.uint8))
    store = get_typestore(Stores.ROS2_JAZZY)
    data = bytes(store.serialize_cdr(content, COMPRESSED_IMAGE, little_endian=little_endian))
    image = Message("/image", COMPRESSED_IMAGE, 0, data)
    assert is_video(image) is is_decoded_as_video(image)
    for length in range(len(data)):
        is_video(Message("/image", COMPRESSED_IMAGE, 0, data[:length]))


def test_videos_are_told_by_the_names_that_are_decoded() -> None:
    assert [name.decode() for name in FORMATS_OF_FILES] == list(VIDEO_FORMATS)
    assert is_video(Message("/video", FFMPEG_PACKET, 0, b""))
    assert not is_video(Message("/video", COMPRESSED_VIDEO, 0, b""))  # it starts with no header
    assert not is_video(message("/points", 0, 0))
