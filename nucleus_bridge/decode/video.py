# SPDX-License-Identifier: Apache-2.0
"""Video streams to images: each picture at its own stamp, and none that builds on one that is missing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from statistics import median
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.causes import Cause
from nucleus_bridge.config.settings import CameraConfig
from nucleus_bridge.decode.bitstream import Codec, Stream, Unit, is_entry
from nucleus_bridge.decode.cdr import naming, peek_header, require_stamp
from nucleus_bridge.decode.cdr_reader import CdrReader, load_extra
from nucleus_bridge.decode.image import COMPRESSED_IMAGE, check_size, image_decoder
from nucleus_bridge.decode.interface import Interface, Reset, always
from nucleus_bridge.decode.vp9 import indexed, largest_picture
from nucleus_bridge.errors import DecodeError, ImageError
from nucleus_bridge.model import Image, Message

# What OpenCV takes for granted: ITU-R BT.601 (unspecified 2, and 5, 6), limited range (unspecified 0, 1).
_PLAIN_SPACES, _PLAIN_RANGES = (2, 5, 6), (0, 1)


class PlanarPicture:
    """A picture as an array that can travel to another process."""

    def __init__(self, data: NDArray[np.uint8], width: int, height: int) -> None:
        """Take a picture of which the upper left part counts.

        Args:
            data: Planes of 4:2:0, shape (1.5 height, width), or B, G, R, shape (height, width, 3).
            width: Pixels to keep.
            height: Rows to keep.
        """
        self._data, self._width, self._height = data, width, height

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return self._data.nbytes

    def pixels(self) -> NDArray[np.uint8]:
        """Return shape (height, width, 3) in the order B, G, R."""
        whole = self._data
        if whole.ndim == 2:
            whole = np.asarray(cv2.cvtColor(whole, cv2.COLOR_YUV2BGR_I420), np.uint8)
        return whole[: self._height, : self._width]


class VideoPicture:
    """A picture as its decoder left it: nothing is copied or converted until it is wanted or sent elsewhere."""

    def __init__(self, frame: Any, width: int, height: int) -> None:
        """Take an ``av.VideoFrame`` of which the upper left part counts."""
        self._frame, self._width, self._height = frame, width, height

    @property
    def nbytes(self) -> int:
        """Memory that it holds: a byte of brightness and half a byte of colour a pixel, as nearly all videos have."""
        return int(self._frame.width * self._frame.height * 3 // 2)

    def pixels(self) -> NDArray[np.uint8]:
        """Return shape (height, width, 3) in the order B, G, R."""
        return self._planar().pixels()

    def __reduce__(self) -> tuple[Callable[..., PlanarPicture], tuple[Any, ...]]:
        """Become a ``PlanarPicture`` on the way to another process."""
        picture = self._planar()
        return PlanarPicture, (picture._data, self._width, self._height)  # noqa: SLF001 - its other form

    def _planar(self) -> PlanarPicture:
        frame = self._frame
        is_plain = (
            frame.format.name == "yuv420p"
            and frame.colorspace in _PLAIN_SPACES
            and frame.color_range in _PLAIN_RANGES
            and not (frame.width % 2 or frame.height % 2)
        )
        data = frame.to_ndarray() if is_plain else frame.to_ndarray(format="bgr24")
        return PlanarPicture(data, self._width, self._height)


COMPRESSED_VIDEO = "foxglove_msgs/msg/CompressedVideo"
FFMPEG_PACKET = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
VIDEO_FORMATS: dict[str, Codec] = {
    "h264": "h264",
    "avc": "h264",
    "h265": "hevc",
    "hevc": "hevc",
    "vp9": "vp9",
    "av1": "av1",
}
"""Codecs by the names that messages give them."""

_DECODERS = {"h264": "h264", "hevc": "hevc", "vp9": "libvpx-vp9", "av1": "libdav1d"}
# Times the usual step: H.264 (by frame_num) and H.265 (by their references) show most gaps themselves.
_LONGEST_STEP: dict[Codec, float] = {"h264": 4.5, "hevc": 4.5, "vp9": 1.5, "av1": 1.5}
_LONGEST_STEP_OF_NUMBERS = 1.5
_PACE_INTERVALS, _FEWEST_STEPS = 31, 3
_MAX_PIXELS = 2**26
_PADDING = 64
_MOST_HELD_BACK = 64

_NO_KEY = "it comes before the first key picture, and cannot be decoded without one"
_AFTER_GAP = "it builds on a picture that is missing; the next key picture ends that"
_B_PICTURES = (
    "the stream has pictures that build on later ones (B frames), and its stamps do not say their order; "
    "encode without B frames (max_b_frames 0, or tune zerolatency)"
)


class Packet(NamedTuple):
    """One message of a video stream.

    Attributes:
        stamp_ns: When the picture was taken.
        frame_id: The camera's frame.
        codec: How it is encoded.
        data: The bytes.
        number: Which image of the encoder's it is, or None.
        size: Width and height of the image in what may be a larger picture, or None.
    """

    stamp_ns: int
    frame_id: str
    codec: Codec
    data: memoryview
    number: int | None = None
    size: tuple[int, int] | None = None


def read_packet(message: Message) -> Packet:
    """Read a message of a video type.

    Raises:
        ImageError: The codec is none that is read (``unknown_encoding``), or the stamp was not set (``zero_stamp``).
        DecodeError: The bytes are not a message of that type.
    """
    with naming(message):
        reader = CdrReader(message)
        stamp_ns, frame_id = reader.header()
        packet = _READERS[message.type_name](reader, stamp_ns, frame_id)
        require_stamp(stamp_ns, ImageError)
        return packet


def _compressed_video(reader: CdrReader, stamp_ns: int, frame_id: str) -> Packet:
    data = reader.octets()
    return Packet(stamp_ns, frame_id, _codec(reader.text()), data)


def _compressed_image(reader: CdrReader, stamp_ns: int, frame_id: str) -> Packet:
    codec = _codec(reader.text())
    return Packet(stamp_ns, frame_id, codec, reader.octets())


def _ffmpeg_packet(reader: CdrReader, stamp_ns: int, frame_id: str) -> Packet:
    width, height = reader.number("i"), reader.number("i")
    codec = _encoder_codec(reader.text())
    number = reader.number("Q")
    reader.number("B")  # flags: whether it is a key picture is told from the bytes
    reader.number("B")
    return Packet(stamp_ns, frame_id, codec, reader.octets(), number, (width, height))


_READERS: dict[str, Callable[[CdrReader, int, str], Packet]] = {
    COMPRESSED_VIDEO: _compressed_video,
    FFMPEG_PACKET: _ffmpeg_packet,
    COMPRESSED_IMAGE: _compressed_image,
}


def _codec(name: str) -> Codec:
    codec = VIDEO_FORMATS.get(name.partition(";")[0].strip().lower())
    if codec is None:
        raise ImageError(f"format {name[:40]!r} is none of {', '.join(VIDEO_FORMATS)}", cause="unknown_encoding")
    return codec


def _encoder_codec(encoding: str) -> Codec:
    """Tell the codec from the encoder's name, as ``ffmpeg_encoder_decoder`` does; further parts follow semicolons."""
    name = encoding.partition(";")[0].strip().lower()
    for part, codec in (
        ("264", "h264"),
        ("avc", "h264"),
        ("265", "hevc"),
        ("hevc", "hevc"),
        ("av1", "av1"),
        ("vp9", "vp9"),
    ):
        if part in name:
            return codec  # type: ignore[return-value]
    raise ImageError(f"encoding {encoding[:40]!r} names no codec that is read", cause="unknown_encoding")


def is_video(message: Message) -> bool:
    """Return whether a CompressedImage is part of a video rather than a file."""
    return _format_of(message).partition(";")[0].strip().lower() in VIDEO_FORMATS


def _format_of(message: Message) -> str:
    """Return the format of a CompressedImage, "" where it cannot be read."""
    try:
        reader = CdrReader(message)
        reader.header()
        return reader.text()
    except DecodeError:
        return ""


def _is_file(message: Message) -> bool:
    """Return whether a CompressedImage is a file by its format, of a message whose first bytes are there."""
    return bool(_format_of(message)) and not is_video(message)


def is_start(message: Message) -> bool:
    """Return whether decoding can start at a message: it has a key picture, or is not a video."""
    if message.type_name == COMPRESSED_IMAGE and not is_video(message):
        return True
    try:
        packet = read_packet(message)
    except DecodeError:
        return False
    return is_entry(packet.codec, packet.data)


class VideoDecoder:
    """The pictures of one topic, in the order of its messages.

    Decoding starts at a key picture. After a missing packet, which the decoders of most codecs do not say, nothing is
    given out until the next key picture: the packet's number (``pts``) or H.264's ``frame_num`` shows the gap, H.265's
    decoder does, and VP9 and AV1 show it by stamps that are more than 1.5 times the usual interval apart.
    With B pictures the stamps must be those of the pictures: then each picture finds its own stamp.
    """

    def __init__(self, _settings: object = None) -> None:
        """Decode with PyAV.

        Raises:
            InputError: It is not installed.
        """
        self._av = load_extra("av", "video", "reading video")
        self._codec: Codec | None = None
        self._stream = Stream("h264")
        self._context: Any = None
        self._is_broken, self._was_started = True, False
        self._before_key: Cause | None = None  # of pictures that precede the last key picture, if those are lost
        self._pending: dict[int, Packet] = {}
        self._sent = 0
        self._pace: deque[int] = deque(maxlen=_PACE_INTERVALS)
        self._forget()

    def decode(self, message: Message) -> Iterable[Any]:
        """Return the images that this message completes, or errors in the place of images that were lost on the way.

        Raises:
            ImageError: ``cause`` is ``before_keyframe``, ``broken_gop``, ``b_frames``, ``damaged``, ``too_large``,
                ``unknown_encoding`` or ``zero_stamp``.
            DecodeError: The bytes are not a message of that type.
        """
        packet = read_packet(message)
        with naming(message):
            return self._decode(packet)

    def reset(self, why: Reset) -> Iterable[Any]:
        """Give out what is held back, and wait for a key picture."""
        rest = list(self.flush())
        self._is_broken = True
        if why == "seek":
            self._was_started = False
        self._forget()
        return rest

    def flush(self) -> Iterable[Any]:
        """Give out the pictures that the decoder holds back."""
        images: list[Any] = []
        if self._pending and not self._is_broken:
            with suppress(self._av.error.FFmpegError):  # what it cannot complete is given up
                images = self._images(self._context.decode(None))
            self._context.flush_buffers()
            self._is_broken = True
        return [*images, *self._give_up_pending()]

    def _forget(self) -> None:
        """Compare nothing with the messages before."""
        self._last: Packet | None = None
        self._goes_back = False
        self._newest_out_ns = -1
        self._pace.clear()

    def _decode(self, packet: Packet) -> list[Any]:
        lost = self._change_to(packet.codec) if packet.codec != self._codec else []
        unit = self._stream.unit(packet.data)
        if not unit.has_picture:
            self._take_parameters(packet, unit)
            return lost
        follows = self._follows(packet) and unit.follows is not False
        if unit.is_key:
            self._before_key = None
            if self._is_broken or not follows:
                lost += self._restart()
        elif self._is_broken or not follows:
            self._is_broken = True
            return [*lost, *self._give_up_pending(), self._refusal(packet)]
        if unit.is_before_key and self._before_key is not None:
            return [*lost, _unusable(packet, self._before_key)]
        if unit.is_bidirectional and not self._goes_back:
            self._is_broken = True
            return [*lost, *self._give_up_pending("b_frames"), ImageError(_B_PICTURES, cause="b_frames")]
        return [*lost, *self._picture(packet, is_key=unit.is_key)]

    def _change_to(self, codec: Codec) -> list[Any]:
        lost = list(self.flush())
        self._codec, self._stream, self._is_broken = codec, Stream(codec), True
        self._context = self._av.CodecContext.create(_DECODERS[codec], "r")
        self._context.thread_count = 1  # several threads would hold pictures back
        self._context.options = {"max_pixels": str(_MAX_PIXELS), "err_detect": "explode"}
        self._forget()
        return lost

    def _take_parameters(self, packet: Packet, unit: Unit) -> None:
        if not unit.has_parameters:
            self._is_broken = True
            raise ImageError(f"the {len(packet.data)} bytes hold no {packet.codec} picture (Annex B is expected)")
        with suppress(self._av.error.FFmpegError):  # some complain that there is no picture, and keep the parameters
            self._feed(packet, pts=None)

    def _picture(self, packet: Packet, *, is_key: bool) -> list[Any]:
        """Decode a message with a picture that can be decoded."""
        if packet.codec == "vp9" and (size := largest_picture(packet.data)) > _MAX_PIXELS:
            self._is_broken = True
            raise ImageError(f"the vp9 picture has {size} pixels, more than {_MAX_PIXELS}", cause="too_large")
        number, self._sent = self._sent, self._sent + 1
        self._pending[number] = packet
        try:
            images = self._images(self._feed(packet, pts=number))
        except self._av.error.FFmpegError as error:
            del self._pending[number]
            self._is_broken = True
            # One that builds on others may be whole and miss one of them.
            cause: Cause = "damaged" if is_key else "broken_gop"
            raise ImageError(f"the {packet.codec} picture cannot be decoded: {error}", cause=cause) from error
        if number in self._pending and not self._context.has_b_frames:
            del self._pending[number]  # it holds none back, so there will be no picture
            self._is_broken = True
            images.append(self._refusal(packet))
        while len(self._pending) > _MOST_HELD_BACK:
            gone = self._pending.pop(next(iter(self._pending)))
            images.append(self._refusal(gone))
        return images

    def _refusal(self, packet: Packet) -> ImageError:
        return _unusable(packet, "broken_gop" if self._was_started else "before_keyframe")

    def _follows(self, packet: Packet) -> bool:
        """Tell by numbers or stamps whether a message follows the one before, and note it.

        A stream that numbers its pictures itself may hide a gap as long as a group of pictures, but no shorter one.
        """
        last, self._last = self._last, packet
        if last is None:
            return True
        self._goes_back |= packet.stamp_ns < last.stamp_ns
        if packet.number is not None and last.number is not None:
            step, longest = packet.number - last.number, _LONGEST_STEP_OF_NUMBERS
            is_usual = step == 1 or self._goes_back
        else:
            step, longest = packet.stamp_ns - last.stamp_ns, _LONGEST_STEP[packet.codec]
            is_usual = step <= 0 or len(self._pace) < _FEWEST_STEPS
        if not is_usual and len(self._pace) >= _FEWEST_STEPS:
            is_usual = 0 < step <= longest * median(self._pace)
        if step > 0:
            self._pace.append(step)
        return is_usual

    def _restart(self) -> list[Any]:
        """Make ready for a key picture."""
        lost = self._give_up_pending()
        self._context.flush_buffers()
        self._before_key = "broken_gop" if self._was_started else "before_keyframe"
        self._is_broken, self._was_started = False, True
        self._goes_back, self._newest_out_ns = False, -1
        return lost

    def _give_up_pending(self, cause: Cause = "broken_gop") -> list[Any]:
        texts = {"broken_gop": _AFTER_GAP, "b_frames": _B_PICTURES}
        lost = [ImageError(texts[cause], cause=cause) for _ in self._pending]
        self._pending.clear()
        return lost

    def _feed(self, packet: Packet, pts: int | None) -> list[Any]:
        av_packet = self._av.Packet(indexed(packet.data) if packet.codec == "vp9" else packet.data)
        av_packet.pts = pts
        frames: list[Any] = self._context.decode(av_packet)
        return frames

    def _images(self, frames: Iterable[Any]) -> list[Any]:
        """Pair pictures with the stamps of their messages."""
        images: list[Any] = []
        for frame in frames:
            packet = self._pending.pop(frame.pts, None)
            if packet is None:
                continue
            if frame.is_corrupt:
                self._is_broken = True
                images.append(ImageError(f"the {packet.codec} picture is damaged"))
                continue
            older = any(other.stamp_ns < packet.stamp_ns for other in self._pending.values())
            if packet.stamp_ns < self._newest_out_ns or (older and not self._goes_back):
                self._is_broken = True
                images += [ImageError(_B_PICTURES, cause="b_frames"), *self._give_up_pending("b_frames")]
                return images
            self._newest_out_ns = packet.stamp_ns
            images.append(_image(frame, packet))
        return images


def _unusable(packet: Packet, cause: Cause) -> ImageError:
    text = _NO_KEY if cause == "before_keyframe" else _AFTER_GAP
    return ImageError(f"the {packet.codec} picture cannot be used: {text}", cause=cause)


def _image(frame: Any, packet: Packet) -> Any:
    """Return the image of a picture; the encoder may have padded it to whole blocks."""
    width, height = frame.width, frame.height
    if packet.size is not None:
        wanted_width, wanted_height = packet.size
        if 0 <= width - wanted_width < _PADDING and 0 <= height - wanted_height < _PADDING:
            width, height = wanted_width, wanted_height
    try:
        check_size(width, height)
    except ImageError as error:
        return error
    picture = VideoPicture(frame, width, height)
    return Image(packet.stamp_ns, packet.frame_id, width, height, packet.codec, np.empty(0, np.uint8), picture=picture)


class CompressedImageDecoder:
    """A CompressedImage topic, which may hold files or, by its ``format``, a video."""

    def __init__(self, settings: object = None) -> None:
        """Load what decodes video only when there is one."""
        self._settings = settings
        self._files = image_decoder(settings if isinstance(settings, CameraConfig) else None)
        self._video: VideoDecoder | None = None

    def decode(self, message: Message) -> Iterable[Any]:
        """Return the images that this message completes; raises what ``decode_image`` and ``VideoDecoder`` raise."""
        if not is_video(message):
            return self._files.decode(message)
        if self._video is None:
            self._video = VideoDecoder(self._settings)
        return self._video.decode(message)

    def reset(self, why: Reset) -> Iterable[Any]:
        """Give out what is held back, and wait for a key picture."""
        return self._video.reset(why) if self._video else ()

    def flush(self) -> Iterable[Any]:
        """Give out the pictures that the decoder holds back."""
        return self._video.flush() if self._video else ()


INTERFACES = (
    *(
        Interface(
            name,
            "image",
            VideoDecoder,
            is_sample=True,
            is_start=is_start,
            in_decoding_order=always,
            peek=peek_header,
            extra="video",
        )
        for name in (COMPRESSED_VIDEO, FFMPEG_PACKET)
    ),
    Interface(
        COMPRESSED_IMAGE,
        "image",
        CompressedImageDecoder,
        is_sample=True,
        is_start=is_start,
        stands_alone=_is_file,
        in_decoding_order=is_video,
        peek=peek_header,
    ),
)
"""The types that are read here; ``timestamp`` and ``frame_id`` of a CompressedVideo lie as a header does."""
