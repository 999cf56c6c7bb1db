# SPDX-License-Identifier: Apache-2.0
"""Video streams: real encoders on the other side, gaps in all places, and never a picture that is not the camera's."""

from __future__ import annotations

import os
import pickle
import resource
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from videos import (
    GOP,
    HEIGHT,
    PICTURES,
    WIDTH,
    compressed_image,
    compressed_video,
    encoded,
    ffmpeg_packet,
    originals,
    psnr,
    stamp_ns,
)

from nucleus_bridge.decode import video
from nucleus_bridge.decode.image import decode_image, image_file, pixels
from nucleus_bridge.decode.registry import interface_of
from nucleus_bridge.decode.video import CompressedImageDecoder, VideoDecoder, is_start
from nucleus_bridge.errors import DecodeError, ImageError, InputError
from nucleus_bridge.model import Image, Message
from nucleus_bridge.recordings import open_recording

LEAST_DB = 30.0
CODECS = ("h264", "hevc", "vp9")
MADE = Path(os.environ.get("NUCLEUS_BRIDGE_TEST_DATA", "/nowhere"), "inputs", "made")


def read(messages: Iterable[Message], decoder: Any = None) -> tuple[list[Image], Counter[str]]:
    """Return the images and the losses by cause."""
    decoder = decoder or VideoDecoder()
    images: list[Image] = []
    losses: Counter[str] = Counter()

    def take(samples: Iterable[Any]) -> None:
        for sample in samples:
            if isinstance(sample, DecodeError):
                losses[sample.cause] += 1
            else:
                images.append(sample)

    for message in messages:
        try:
            take(decoder.decode(message))
        except DecodeError as error:
            losses[error.cause] += 1
    take(decoder.flush())
    return images, losses


def assert_true(images: Iterable[Image]) -> None:
    """Each image is the picture of its stamp."""
    by_stamp = {stamp_ns(number): picture for number, picture in enumerate(originals())}
    for image in images:
        assert psnr(pixels(image), by_stamp[image.stamp_ns]) >= LEAST_DB


def stream(codec: str, numbers: Iterable[int] = range(PICTURES)) -> list[Message]:
    packets = encoded(codec)
    return [compressed_video(packets[number][1], codec, stamp_ns(number)) for number in numbers]


def without(*numbers: int) -> list[int]:
    return [number for number in range(PICTURES) if number not in numbers]


@pytest.mark.parametrize("codec", [*CODECS, "av1"])
def test_every_picture_comes_at_once_at_its_own_stamp(codec: str) -> None:
    decoder = VideoDecoder()
    for number, message in enumerate(stream(codec)):
        (image,) = decoder.decode(message)
        assert (image.stamp_ns, image.frame_id) == (stamp_ns(number), "cam")
        assert (image.width, image.height) == (WIDTH, HEIGHT)
        assert_true([image])
    assert list(decoder.flush()) == []


@pytest.mark.parametrize("codec", [*CODECS, "av1"])
def test_what_precedes_the_first_key_picture_is_counted_as_such(codec: str) -> None:
    images, losses = read(stream(codec, range(3, PICTURES)))
    assert [image.stamp_ns for image in images] == [stamp_ns(number) for number in range(GOP, PICTURES)]
    assert losses == {"before_keyframe": GOP - 3}
    assert_true(images)


@pytest.mark.parametrize("codec", [*CODECS, "av1"])
@pytest.mark.parametrize("lost", [(14,), (11,), (19,), (14, 15, 16), (4, 14)])
def test_a_lost_packet_costs_the_pictures_up_to_the_next_key_and_none_comes_out_wrong(
    codec: str, lost: tuple[int, ...]
) -> None:
    images, losses = read(stream(codec, without(*lost)))
    assert_true(images)
    broken = {number for gap in lost for number in range(gap, (gap // GOP + 1) * GOP)} - set(lost)
    assert losses == Counter({"broken_gop": len(broken)} if broken else {})
    assert len(images) + len(broken) + len(lost) == PICTURES


@pytest.mark.parametrize("codec", CODECS)
def test_a_gap_as_long_as_a_group_of_pictures_is_seen_by_the_stamps(codec: str) -> None:
    images, losses = read(stream(codec, without(*range(15, 15 + GOP))))
    assert_true(images)
    assert losses == {"broken_gop": 5}
    assert len(images) == 15


@pytest.mark.parametrize(
    ("codec", "encoding"), [("h264", "libx264"), ("hevc", "hevc_nvenc;bgr8"), ("vp9", "vp9_vaapi")]
)
def test_numbers_of_packets_show_a_gap_that_the_stamps_hide(codec: str, encoding: str) -> None:
    packets = encoded(codec)
    kept = without(14)
    messages = [ffmpeg_packet(packets[n][1], encoding, stamp_ns(place), n) for place, n in enumerate(kept)]
    images, losses = read(messages)
    assert losses == {"broken_gop": 5}
    assert [image.stamp_ns for image in images] == [stamp_ns(place) for place, n in enumerate(kept) if not 14 < n < 20]


def test_an_encoder_that_starts_again_is_no_gap() -> None:
    packets = encoded("h264")
    messages = [ffmpeg_packet(packets[n][1], "libx264", stamp_ns(n), n) for n in range(GOP)]
    messages += [ffmpeg_packet(packets[n][1], "libx264", stamp_ns(n + GOP), n) for n in range(GOP)]
    images, losses = read(messages)
    assert (len(images), losses) == (2 * GOP, {})


def test_numbers_that_do_not_count_images_are_not_believed() -> None:
    packets = encoded("h264")
    messages = [ffmpeg_packet(data, "libx264", stamp_ns(n), 3000 * n) for n, data in packets]
    images, losses = read(messages)
    assert_true(images)
    assert len(images) + losses["broken_gop"] == PICTURES
    assert len(images) > PICTURES - GOP


def test_a_camera_that_slows_down_loses_nothing_in_h264() -> None:
    packets = encoded("h264")
    at, messages = 0, []
    for number, data in packets:
        at += 1 if number < 15 else 2
        messages.append(compressed_video(data, "h264", stamp_ns(at)))
    images, losses = read(messages)
    assert (len(images), losses) == (PICTURES, {})


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_pictures_out_of_order_find_their_own_stamps(codec: str) -> None:
    packets = encoded(codec, 2)
    assert [number for number, _ in packets] != sorted(number for number, _ in packets)
    images, losses = read(compressed_video(data, codec, stamp_ns(number)) for number, data in packets)
    assert losses == {}
    assert [image.stamp_ns for image in images] == [stamp_ns(number) for number in range(PICTURES)]
    assert_true(images)


@pytest.mark.parametrize(("first", "cause"), [(9, "before_keyframe"), (0, "broken_gop")])
def test_pictures_that_precede_their_key_picture_go_with_what_they_build_on(first: int, cause: str) -> None:
    """H.265 calls them RASL: behind the key picture in the stream, before it in time."""
    options = "log-level=none:bframes=3:b-adapt=0:keyint=10:min-keyint=10:scenecut=0:repeat-headers=1:open-gop=1"
    packets = encoded("hevc", 3, **{"x265-params": options})
    assert [number for number, _ in packets[9:12]] == [10, 9, 14]
    lost = 5 if cause == "broken_gop" else None
    kept = [(number, data) for place, (number, data) in enumerate(packets) if place >= first and place != lost]
    messages = [compressed_video(data, "hevc", stamp_ns(number)) for number, data in kept]
    images, losses = read(messages)
    seen = {(image.stamp_ns - stamp_ns(0)) // (stamp_ns(1) - stamp_ns(0)): image for image in images}
    assert 9 not in seen
    assert set(range(10, 30)) <= set(seen)
    assert losses == {cause: len(kept) - len(images)}
    assert all(psnr(pixels(image), originals()[number]) > 30 for number, image in seen.items())


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_pictures_out_of_order_are_refused_where_stamps_do_not_tell_their_order(codec: str) -> None:
    packets = encoded(codec, 2)
    images, losses = read(compressed_video(data, codec, stamp_ns(place)) for place, (_, data) in enumerate(packets))
    assert losses["b_frames"] > 0
    assert len(images) + losses.total() == PICTURES
    truth = {stamp_ns(place): originals()[number] for place, (number, _) in enumerate(packets)}
    assert all(psnr(pixels(image), truth[image.stamp_ns]) >= LEAST_DB for image in images)


@pytest.mark.parametrize(
    ("codec", "share"),
    [*((codec, share) for codec in (*CODECS, "av1") for share in (0.1, 0.5)), ("vp9", 0.95), ("av1", 0.95)],
)
def test_a_cut_packet_never_gives_a_wrong_picture(codec: str, share: float) -> None:
    messages = stream(codec)
    data = encoded(codec)[4][1]
    messages[4] = compressed_video(data[: round(len(data) * share)], codec, stamp_ns(4))
    images, losses = read(messages)
    assert_true(images)
    assert losses.total() == GOP - 4
    assert set(losses) <= {"damaged", "broken_gop"}


def resized(data: bytes, width: int, height: int, *, inter: bool = False) -> bytes:
    """Give a VP9 frame of profile 0 another size in its header: a key frame's, or one that builds on no size."""
    bits = "".join(f"{byte:08b}" for byte in data[:32])
    size = f"{width - 1:016b}{height - 1:016b}"
    bits = bits[:36] + size + bits[68:] if not inter else f"10000111{'0' * 8}{'0' * 12}000{size}" + bits[63:]
    return bytes(int(bits[at : at + 8], 2) for at in range(0, 256, 8)) + data[32:]


@pytest.mark.parametrize("place", ["alone", "inter", "second", "behind"])
def test_a_vp9_picture_that_asks_for_gigabytes_is_refused(place: str) -> None:
    good = encoded("vp9")[0][1]
    bomb = resized(good, 60_000, 60_000, inter=place == "inter")
    marker = bytes([0b110_11_001])
    index = marker + len(good).to_bytes(4, "little") + len(bomb).to_bytes(4, "little") + marker
    data = {"alone": bomb, "inter": bomb, "second": good + bomb + index, "behind": good + b"\0" * 3 + bomb}[place]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    images, losses = read([*stream("vp9", range(2)), compressed_video(data, "vp9", stamp_ns(2))])
    assert_true(images[:2])
    assert losses == ({} if place == "behind" else {"too_large": 1})  # what stands behind a frame is not looked at
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_the_codec_may_change_at_a_key_picture() -> None:
    images, losses = read([*stream("h264", range(15)), *stream("hevc", range(15, PICTURES))])
    assert_true(images)
    assert losses == {"broken_gop": 5}


@pytest.mark.parametrize("codec", CODECS)
def test_decoding_can_start_exactly_at_key_pictures_and_gives_the_same(codec: str) -> None:
    messages = stream(codec)
    starts = [number for number, message in enumerate(messages) if is_start(message)]
    assert starts == [0, 10, 20]
    whole, _ = read(messages)
    part, losses = read(messages[20:])
    assert losses == {}
    for image, again in zip(whole[20:], part, strict=True):
        assert np.array_equal(pixels(image), pixels(again))


def test_a_seek_makes_what_follows_wait_for_a_key_picture() -> None:
    decoder = VideoDecoder()
    read(stream("h264", range(15)), decoder)
    assert list(decoder.reset("seek")) == []
    images, losses = read(stream("h264", range(15, PICTURES)), decoder)
    assert (len(images), losses) == (10, {"before_keyframe": 5})
    assert_true(images)


def test_parameters_may_come_by_themselves_and_only_once() -> None:
    data = encoded("h264")[0][1]
    slice_at = data.index(b"\x00\x00\x01\x65")
    messages = stream("h264")
    messages[0] = compressed_video(data[slice_at:], "h264", stamp_ns(0))
    images, losses = read([compressed_video(data[:slice_at], "h264", stamp_ns(-1)), *messages])
    assert (len(images), losses) == (PICTURES, {})
    assert not is_start(messages[0])


def test_a_picture_travels_to_another_process_and_gives_the_same_file() -> None:
    image = next(iter(VideoDecoder().decode(stream("h264")[0])))
    again = pickle.loads(pickle.dumps(image, protocol=5))
    assert image_file(image, "jpeg", 90) == image_file(again, "jpeg", 90)
    assert image_file(image, "jpeg", 90)[1] == ".jpg"


def test_a_padded_picture_is_cut_to_the_size_of_the_image() -> None:
    message = ffmpeg_packet(encoded("h264")[0][1], "h264_nvmpi", stamp_ns(0), 0, size=(WIDTH - 6, HEIGHT - 2))
    (image,) = VideoDecoder().decode(message)
    assert pixels(image).shape == (image.height, image.width, 3) == (HEIGHT - 2, WIDTH - 6, 3)
    assert psnr(pixels(image), originals()[0][: HEIGHT - 2, : WIDTH - 6]) >= LEAST_DB


@pytest.mark.parametrize("pix_fmt", ["yuvj420p", "yuv444p", "gray"])
def test_other_pixel_formats_come_out_in_the_same_colours(pix_fmt: str) -> None:
    data = encoded("h264", pix_fmt=pix_fmt)[0][1]
    (image,) = VideoDecoder().decode(compressed_video(data, "h264", stamp_ns(0)))
    original = originals()[0]
    if pix_fmt == "gray":
        original = cv2.cvtColor(cv2.cvtColor(original, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    assert psnr(pixels(image), original) >= LEAST_DB


def test_a_compressed_image_is_a_file_or_a_video_by_its_format() -> None:
    jpeg = cv2.imencode(".jpg", originals()[0])[1].tobytes()
    decoder = CompressedImageDecoder()
    (file,) = decoder.decode(compressed_image(jpeg, "bgr8; jpeg compressed bgr8", stamp_ns(0)))
    assert (file.encoding, file.data.tobytes()) == ("jpeg", jpeg)
    messages = [compressed_image(data, "H264", stamp_ns(number)) for number, data in encoded("h264")]
    images, losses = read(messages, decoder)
    assert (len(images), losses) == (PICTURES, {})
    assert_true(images)
    assert is_start(messages[0])
    assert not is_start(messages[1])


def test_an_unknown_codec_is_named() -> None:
    with pytest.raises(ImageError, match="'theora' is none of h264") as caught:
        VideoDecoder().decode(compressed_video(b"data", "theora", stamp_ns(0)))
    assert caught.value.cause == "unknown_encoding"


@pytest.mark.parametrize("data", [b"", b"no picture in here", b"\x00\x00\x00\x05\x65\x88\x84\x00\x10"])
def test_data_without_a_picture_is_counted(data: bytes) -> None:
    assert read([compressed_video(data, "h264", stamp_ns(0))])[1] == {"damaged": 1}


def test_a_missing_library_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"pip install 'nucleus-bridge\[video\]'"):
        VideoDecoder()


@pytest.mark.skipif(not MADE.exists(), reason="NUCLEUS_BRIDGE_TEST_DATA is not set")
@pytest.mark.parametrize("name", ["video_foxglove", "video_ffmpeg", "video_compressedimage", "video_bframes"])
def test_recorded_videos_show_what_the_jpegs_show(name: str) -> None:
    truth = {(image.frame_id, image.stamp_ns): pixels(image) for image in _images(MADE / "base")}
    images = _images(MADE / name)
    assert len(images) == 22 * len({image.frame_id for image in images}) > 0
    for image in images:
        seen, true = pixels(image).astype(np.float64), truth[image.frame_id, image.stamp_ns]
        assert np.abs(seen - true).mean() < 5


def _images(folder: Path) -> list[Image]:
    types = (video.COMPRESSED_VIDEO, video.FFMPEG_PACKET, video.COMPRESSED_IMAGE)
    images: list[Image] = []
    with open_recording(folder) as recording:
        for topic in recording.topics:
            if topic.type_name not in types:
                continue
            decoder = CompressedImageDecoder() if topic.type_name == video.COMPRESSED_IMAGE else VideoDecoder()
            found, losses = read(recording.messages([topic.name]), decoder)
            assert losses == {}
            images += found
    return images


def test_decode_image_still_reads_files_alone() -> None:
    with pytest.raises(ImageError, match="'h264'"):
        decode_image(compressed_image(encoded("h264")[0][1], "h264", stamp_ns(0)))


def test_pictures_in_files_may_be_passed_over_and_those_of_a_video_may_not() -> None:
    """Each picture of a video builds on those before it; the first bytes of a message tell which it is."""
    jpeg = compressed_image(b"\xff\xd8" + bytes(4000), "jpeg", stamp_ns(0))
    for message, expected in (
        (jpeg, True),
        (replace(jpeg, data=jpeg.data[:512]), True),
        (replace(jpeg, data=jpeg.data[:20]), False),
        (compressed_image(bytes(4000), "h264", stamp_ns(0)), False),
        (compressed_image(bytes(4000), "", stamp_ns(0)), False),
        *((each, False) for each in stream("h264", range(2))),
    ):
        interface = interface_of(message.type_name, "image")
        assert interface is not None
        assert interface.may_pass(message) is expected
