# SPDX-License-Identifier: Apache-2.0
"""Fuzzed: the decoders that keep state, each between messages that are good."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import cycle
from typing import Any

import zstandard
from harness import Target
from message_families import LIDARS
from test_compressed_cloud import POINT, RESOLUTION, cloudini, draco_vector, packed, points_of
from test_depth import FORMS
from test_depth import info as depth_info
from test_laser_scan import multi_scan
from test_laser_scan import scan as laser
from test_livox import custom_message
from test_ouster import frame_messages, metadata_message, metadata_text
from test_sfs_annotations import AUTOWARE, autoware, vision
from test_sfs_annotations import TYPES as DETECTION_TYPES
from test_velodyne import scan
from videos import compressed_video, encoded, ffmpeg_packet, stamp_ns

from nucleus_bridge.decode import compressed_cloud, laser_scan, livox, velodyne
from nucleus_bridge.decode.depth import DepthDecoder
from nucleus_bridge.decode.detections import decode_detections
from nucleus_bridge.decode.image import pixels
from nucleus_bridge.decode.interface import Decoder, Interface
from nucleus_bridge.decode.ouster import OusterDecoder
from nucleus_bridge.decode.ouster_metadata import PROFILES, parse_metadata
from nucleus_bridge.decode.points import select_points
from nucleus_bridge.decode.video import VideoDecoder
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.model import Message


def between(
    make: Callable[[], Decoder], before: Sequence[Message], use: Callable[[Any], object]
) -> Callable[[bytes], None]:
    """Return a use of bytes as a message that follows good ones, and is followed by the first of them again."""

    def run(data: bytes) -> None:
        decoder = make()
        for message in before:
            _use_all(decoder.decode(message), use)
        try:
            _use_all(decoder.decode(replace(before[-1], data=data)), use)
        finally:
            for message in before[:1]:
                with suppress(DecodeError):
                    _use_all(decoder.decode(message), use)
            _use_all(decoder.flush(), use)

    return run


def _use_all(samples: Any, use: Callable[[Any], object]) -> None:
    for sample in samples:
        if not isinstance(sample, DecodeError):
            use(sample)


def video_target(name: str, messages: list[Message]) -> Target:
    run = between(VideoDecoder, messages[:1], pixels)
    return Target(name, run, lambda: [message.data for message in messages], (DecodeError,))


def _stream(codec: str) -> list[Message]:
    return [compressed_video(data, codec, stamp_ns(number)) for number, data in encoded(codec)[:2]]


def cloud_target(name: str, interface: Interface, messages: list[Message]) -> Target:
    """Make a target of a type that holds clouds."""
    lidars = cycle((LIDARS[0], replace(LIDARS[0], stamp="end")))

    def run(data: bytes) -> None:
        lidar = next(lidars)
        for sweep in interface.decoder(lidar).decode(replace(messages[0], data=data)):
            select_points(sweep, lidar)

    return Target(name, run, lambda: [message.data for message in messages], (DecodeError,))


def _compressed() -> dict[str, bytes]:
    points = points_of(POINT, 60)
    return {
        "zlib": zlib.compress(points.tobytes()),
        "zstd": zstandard.compress(points.tobytes()),
        "cloudini": cloudini(points, RESOLUTION, 5, "NONE", 1),
        "": cloudini(points, RESOLUTION, 4, "LZ4"),
    }


IN_THE_SUITE = 1_500
"""Cases a target, of which the suite runs half; with ``NUCLEUS_BRIDGE_TEST_EFFORT=14`` they are 10,500."""


def _draco() -> Target:
    """Make a target of what Draco's own library wrote, an attribute for each field."""
    messages = [packed(*draco_vector(name), "draco") for name in ("all_types", "no_signed")]
    run = lambda data: compressed_cloud.compressed_as_cloud(replace(messages[0], data=data))  # noqa: E731
    return Target("compressed_cloud_draco", run, lambda: [message.data for message in messages], (DecodeError,))


def detection_target(name: str, made: Any) -> Target:
    """Make a target of messages of recorded boxes."""
    data = bytes(DETECTION_TYPES.serialize_cdr(made, made.__msgtype__))
    message = Message("/objects", made.__msgtype__, stamp_ns(0), data)
    return Target(
        name, lambda data: decode_detections(0.0, replace(message, data=data)), lambda: [data], (DecodeError,)
    )


_TARGETS = [
    detection_target("detection3d", vision(stamp_ns(0))),
    *(
        detection_target(f"{name.split('/')[0]}_{name.split('/')[-1]}".lower(), autoware(name, stamp_ns(0)))
        for name in AUTOWARE
    ),
    _draco(),
    video_target("video_h264", _stream("h264")),
    video_target("video_hevc", _stream("hevc")),
    video_target("video_vp9", _stream("vp9")),
    video_target(
        "ffmpeg_packet",
        [ffmpeg_packet(data, "libx264", stamp_ns(number), number) for number, data in encoded("h264")[:2]],
    ),
    cloud_target("livox", livox.INTERFACES[0], [custom_message(), custom_message(points=40)]),
    *(
        cloud_target(
            f"compressed_cloud_{form or 'lz4'}",
            compressed_cloud.INTERFACES[0],
            [packed(points_of(POINT, 60), data, form)],
        )
        for form, data in _compressed().items()
    ),
    cloud_target("velodyne", velodyne.INTERFACES[0], [scan(packets=4), scan(0x28, packets=3)]),
    Target(
        "ouster_packet",
        between(
            lambda: OusterDecoder(LIDARS[0]),
            [metadata_message(metadata_text("LEGACY")), frame_messages("LEGACY")[0]],
            lambda sweep: select_points(sweep, LIDARS[0]),
        ),
        lambda: [message.data for message in frame_messages("LEGACY")],
        (DecodeError,),
    ),
    Target(
        "ouster_metadata",
        lambda data: parse_metadata(data.decode(errors="replace")),
        lambda: [metadata_text(profile).encode() for profile in PROFILES],
        (DecodeError,),
        tokens=(b"beam_intrinsics", b"NaN", b"null", b"1e400", b"[]"),
    ),
    cloud_target("laser_scan", laser_scan.INTERFACES[0], [laser()]),
    cloud_target(
        "multi_echo_laser_scan", laser_scan.INTERFACES[1], [multi_scan([[1.0, 2.0], [3.0]], [[1.0, 2.0], [3.0]])]
    ),
    *(
        Target(
            f"depth_{number}",
            between(
                lambda: DepthDecoder(LIDARS[0]),
                [depth_info(), FORMS[form][0]],
                lambda sweep: select_points(sweep, LIDARS[0]),
            ),
            lambda form=form: [FORMS[form][0].data],
            (DecodeError,),
        )
        for number, form in enumerate(("16UC1", "png", "rvl"))
    ),
]
TARGETS = [replace(target, cases=IN_THE_SUITE) for target in _TARGETS]
