# SPDX-License-Identifier: Apache-2.0
"""A camera's images as one MP4 file, as Scale advises for its tool, and pictures of such a file.

H.264 as Scale's own helper encodes it: yuv420p, crf 24, preset fast, a key frame at least every second picture. One
thread, so that the same images always make the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.errors import InputError, SceneError
from nucleus_bridge.formats.content import Buffer
from nucleus_bridge.formats.sfs.container import Blob
from nucleus_bridge.formats.sfs.scene_tree import SceneTree, Shot

LIBRARY = "av"
_OPTIONS = {"crf": "24", "preset": "fast", "g": "2"}
_CHUNK = 1 << 20
_CLOCK = 1_000_000


def write_videos(scene: SceneTree, folder: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Encode every camera's images.

    Returns:
        What stands under ``video`` of each camera, and the files that hold the content until it is written.

    Raises:
        InputError: PyAV is not installed, or an image cannot be decoded.
    """
    if find_spec(LIBRARY) is None:
        raise InputError("sfs.images: video needs PyAV, which is not installed; pip install 'nucleus-bridge[video]'")
    videos: dict[str, dict[str, Any]] = {}
    paths = []
    for camera, shots in scene.shots.items():
        stamps = scene.stamps(camera)
        path = folder / f"{camera}.mp4"
        _encode(shots, stamps, path, folder)
        content = Blob("uint8", (path.stat().st_size,), partial(_pieces, path))
        span_us = stamps[-1] - stamps[0]
        fps = round((len(stamps) - 1) * _CLOCK / span_us, 3) if span_us else 1.0
        videos[camera] = {"timestamps": stamps, "content": content, "fps": fps}
        paths.append(path.name)
    return videos, paths


def _encode(shots: list[Shot], stamps: list[int], path: Path, folder: Path) -> None:
    import av  # noqa: PLC0415 - an extra

    header = shots[0].header
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as output:
        stream = output.add_stream("libx264", rate=Fraction(10), options=_OPTIONS)
        # H.264 stores colours for two by two pixels; an odd row or column is doubled at the far edge.
        stream.width, stream.height = header.width + header.width % 2, header.height + header.height % 2
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, _CLOCK)
        stream.codec_context.thread_count = 1
        stream.codec_context.max_b_frames = 0
        for shot, stamp in zip(shots, stamps, strict=True):
            pixels = _decoded((folder / shot.image.path).read_bytes(), shot.image.path)
            edge = ((0, stream.height - pixels.shape[0]), (0, stream.width - pixels.shape[1]), (0, 0))
            picture = av.VideoFrame.from_ndarray(np.pad(pixels, edge, "edge"), format="rgb24")
            picture.pts, picture.time_base = stamp - stamps[0], Fraction(1, _CLOCK)
            output.mux(stream.encode(picture))
        output.mux(stream.encode())


def _decoded(content: bytes, name: str) -> NDArray[np.uint8]:
    import av  # noqa: PLC0415 - an extra

    kind = "png_pipe" if content.startswith(b"\x89PNG") else "jpeg_pipe"
    try:
        with av.open(io.BytesIO(content), format=kind) as source:
            pixels: NDArray[np.uint8] = next(source.decode(video=0)).to_ndarray(format="rgb24")
    except (av.FFmpegError, StopIteration) as error:
        raise InputError(f"{name}: cannot be decoded for the video: {error}") from None
    return pixels


def _pieces(path: Path) -> Iterator[Buffer]:
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            yield piece


class VideoPictures:
    """The pictures of a video, read in order; an earlier one starts it over."""

    def __init__(self, video: Mapping[str, Any], size: tuple[int, int]) -> None:
        """Take what stands under ``video``, and the width and height of the images that it was made of."""
        self._content = bytes(np.asarray(video["content"], np.uint8).data)
        self._size = size
        self._next = 0
        self._frames: Iterator[Any] = iter(())

    def png(self, number: int) -> bytes:
        """Return a picture as PNG file.

        Raises:
            SceneError: PyAV is not installed, or the video has no such picture.
        """
        if find_spec(LIBRARY) is None:
            raise SceneError("videos need PyAV, which is not installed; pip install 'nucleus-bridge[video]'")
        import av  # noqa: PLC0415 - an extra

        try:
            if number < self._next or not self._next:
                self._frames, self._next = av.open(io.BytesIO(self._content), "r").decode(video=0), 0
            for picture in self._frames:
                self._next += 1
                if self._next > number:
                    return _png(picture.to_ndarray(format="rgb24"), self._size)
        except av.FFmpegError as error:
            raise SceneError(f"its video cannot be decoded: {error}") from None
        raise SceneError(f"its video has {self._next} pictures, not {number + 1}")


def _png(pixels: NDArray[np.uint8], size: tuple[int, int]) -> bytes:
    import av  # noqa: PLC0415 - an extra

    width, height = size
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
    codec = av.CodecContext.create("png", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = width, height, "rgb24", Fraction(1, 1)
    return b"".join(bytes(packet) for packet in [*codec.encode(picture), *codec.encode(None)])
