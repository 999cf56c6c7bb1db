# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pickle
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serialised import STAMP_NS, compressed_message, image_message, recorded

from nucleus_bridge.decode.image import decode_image, encode_pixels, image_file, pixels
from nucleus_bridge.decode.raw_image import RAW_LAYOUTS
from nucleus_bridge.errors import ImageError
from nucleus_bridge.image_header import read_file_header
from nucleus_bridge.model import Image

# A scene of four plain areas, in R, G, B, that no two channels or corners of can be swapped unnoticed.
COLOURS = np.array([[[200, 40, 90], [30, 160, 60]], [[60, 80, 220], [230, 210, 50]]], np.float64)
HEIGHT, WIDTH = 16, 24
RGB = np.kron(COLOURS, np.ones((HEIGHT // 2, WIDTH // 2, 1)))
CENTRES = [(4, 6), (4, 18), (12, 6), (12, 18)]


def luma_chroma(rgb):
    """ITU-R BT.601 with 8 bits in limited range, from its definition by Kr and Kb."""
    r, g, b = np.moveaxis(rgb / 255.0, -1, 0)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    u, v = (b - y) / (2 * (1 - 0.114)), (r - y) / (2 * (1 - 0.299))
    return [np.rint(c).astype(np.uint8) for c in (16 + 219 * y, 128 + 224 * u, 128 + 224 * v)]


def plane(encoding: str):
    """The rows of the scene in an encoding, without padding, made by the encoding's own definition."""
    y, u, v = luma_chroma(RGB)
    rgb = RGB.astype(np.uint8)
    gray = np.rint(RGB @ [0.299, 0.587, 0.114]).astype(np.uint8)
    alpha = np.full((HEIGHT, WIDTH, 1), 77, np.uint8)
    packed = {
        "rgb8": rgb,
        "bgr8": rgb[..., ::-1],
        "8UC3": rgb[..., ::-1],
        "rgba8": np.concatenate([rgb, alpha], axis=2),
        "bgra8": np.concatenate([rgb[..., ::-1], alpha], axis=2),
        "mono8": gray,
        "8UC1": gray,
    }
    if encoding in packed:
        return packed[encoding].reshape(HEIGHT, -1)
    if encoding in ("mono16", "16UC1"):
        return gray.astype(np.uint16) * 256 + 99
    if encoding.startswith("bayer_"):
        mosaic = np.empty((HEIGHT, WIDTH), np.uint8)
        for place, letter in enumerate(encoding[6:10]):
            row, column = divmod(place, 2)
            mosaic[row::2, column::2] = rgb[row::2, column::2, "rgb".index(letter)]
        return mosaic if encoding.endswith("8") else mosaic.astype(np.uint16) * 256 + 99
    if encoding in ("yuv422", "uyvy", "yuv422_yuy2", "yuyv"):
        chroma = np.where(np.arange(WIDTH) % 2 == 0, u, v)
        order = (chroma, y) if encoding in ("yuv422", "uyvy") else (y, chroma)
        return np.stack(order, axis=2).reshape(HEIGHT, -1)
    first, second = (v, u) if encoding == "nv21" else (u, v)
    pairs = np.stack([first, second], axis=2)
    if encoding == "nv24":
        return np.concatenate([y, pairs.reshape(2 * HEIGHT, WIDTH)])
    return np.concatenate([y, pairs[::2, ::2].reshape(HEIGHT // 2, WIDTH)])


def raw_message(encoding: str, *, pad: int = 0, big: bool = False):
    rows = plane(encoding)
    if rows.dtype == np.uint16:
        rows = rows.astype(">u2" if big else "<u2").view(np.uint8)
    if encoding == "nv24":
        # The step is that of the luma rows; a chroma row takes two of them, its padding at the end.
        chroma = np.pad(rows[HEIGHT:].reshape(HEIGHT, -1), ((0, 0), (0, 2 * pad)), constant_values=255)
        data = np.pad(rows[:HEIGHT], ((0, 0), (0, pad)), constant_values=255).tobytes() + chroma.tobytes()
        return image_message(encoding, data, width=WIDTH, height=HEIGHT, step=WIDTH + pad)
    rows = np.pad(rows, ((0, 0), (0, pad)), constant_values=255)
    step = rows.shape[1]
    return image_message(encoding, rows.tobytes(), width=WIDTH, height=HEIGHT, step=step, is_bigendian=big)


def png_of_size(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


GRAY_ENCODINGS = {"mono8", "8UC1", "mono16", "16UC1"}
SIXTEEN_BITS = {name for name in RAW_LAYOUTS if "16" in name}


class TestRaw:
    def test_every_encoding_of_the_table_is_known(self):
        bayer = {f"bayer_{p}{bits}" for p in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)}
        yuv = {"yuv422", "yuv422_yuy2", "nv12", "nv21", "nv24"}
        assert set(RAW_LAYOUTS) >= {"rgb8", "bgr8", "rgba8", "bgra8", "8UC3"} | GRAY_ENCODINGS | bayer | yuv

    @pytest.mark.parametrize("pad", [0, 2, 38])
    @pytest.mark.parametrize("encoding", RAW_LAYOUTS)
    def test_colours_are_those_that_were_encoded(self, encoding, pad):
        image = decode_image(raw_message(encoding, pad=pad))
        assert (image.stamp_ns, image.frame_id) == (STAMP_NS, "camera_optical")
        assert (image.width, image.height, image.encoding) == (WIDTH, HEIGHT, encoding)
        decoded = pixels(image)
        assert decoded.dtype == np.uint8
        assert decoded.shape[:2] == (HEIGHT, WIDTH)
        tolerance = 3 if encoding in {"yuv422", "uyvy", "yuv422_yuy2", "yuyv", "nv12", "nv21", "nv24"} else 0
        for row, column in CENTRES:
            r, g, b = RGB[row, column]
            gray = [round(0.299 * r + 0.587 * g + 0.114 * b)]
            expected = gray if encoding in GRAY_ENCODINGS else [b, g, r]
            found = np.atleast_1d(decoded[row, column]).astype(float)
            np.testing.assert_allclose(found, expected, atol=tolerance)

    @pytest.mark.parametrize("encoding", sorted(SIXTEEN_BITS))
    @pytest.mark.parametrize("pad", [0, 6])
    def test_byte_order_of_16_bits_is_heeded(self, encoding, pad):
        little, big = (decode_image(raw_message(encoding, pad=pad, big=big)) for big in (False, True))
        assert little.data.tobytes() != big.data.tobytes()
        assert np.array_equal(pixels(little), pixels(big))

    @pytest.mark.parametrize("encoding", sorted(set(RAW_LAYOUTS) - SIXTEEN_BITS))
    def test_byte_order_means_nothing_for_8_bits(self, encoding):
        little, big = (decode_image(raw_message(encoding, big=big)) for big in (False, True))
        assert np.array_equal(pixels(little), pixels(big))

    @given(st.integers(0, 65_535), st.booleans())
    @settings(deadline=None)
    def test_16_bits_become_their_upper_byte(self, value, big):
        data = struct.pack(">H" if big else "<H", value)
        message = image_message("mono16", data, width=1, height=1, step=2, is_bigendian=big)
        assert pixels(decode_image(message)).tolist() == [[value >> 8]]

    @given(st.data())
    @settings(deadline=None)
    def test_any_bgr_picture_survives(self, data):
        width, height, pad = (data.draw(st.integers(low, 9)) for low in (1, 1, 0))
        picture = np.frombuffer(data.draw(st.binary(min_size=243, max_size=243)), np.uint8)[: width * height * 3]
        picture = picture.reshape(height, width, 3)
        rows = np.pad(picture.reshape(height, -1), ((0, 0), (0, pad)))
        message = image_message("bgr8", rows.tobytes(), width=width, height=height, step=rows.shape[1])
        assert np.array_equal(pixels(decode_image(message)), picture)
        swapped = image_message("rgb8", rows.tobytes(), width=width, height=height, step=rows.shape[1])
        assert np.array_equal(pixels(decode_image(swapped)), picture[..., ::-1])

    def test_an_image_survives_the_way_to_another_process(self):
        image = decode_image(raw_message("rgb8"))
        arrived = pickle.loads(pickle.dumps(image))
        assert np.array_equal(pixels(arrived), pixels(image))

    @pytest.mark.parametrize("encoding", ["32FC1", "jpeg", "", "RGB8", "bayer_rggb12"])
    def test_an_unknown_encoding_is_named_with_those_known(self, encoding):
        message = image_message(encoding, bytes(16), width=2, height=2, step=8)
        with pytest.raises(ImageError, match=f"encoding '{encoding}' is not one of rgb8, .*nv24") as caught:
            decode_image(message)
        assert caught.value.cause == "unknown_encoding"
        assert "/camera/image_raw" in str(caught.value)

    @pytest.mark.parametrize(
        ("changes", "cause", "expected"),
        [
            ({"width": 0}, "damaged", "no pixels"),
            ({"height": 0}, "damaged", "no pixels"),
            ({"step": 5}, "damaged", "step 5 holds less than 2 pixels of rgb8"),
            ({"step": 7}, "damaged", "data has 12 bytes, expected 2 rows of step 7 = 14"),
            ({"height": 1}, "damaged", "expected 1 rows"),
            ({"width": 65_536, "step": 200_000}, "too_large", "65536 x 2"),
            ({"height": 2**32 - 1}, "too_large", "2 x 4294967295"),
            ({"width": 60_000, "height": 60_000, "step": 180_000}, "too_large", "60000 x 60000"),
            ({"stamp_ns": 0}, "zero_stamp", "header.stamp is 0"),
            ({"encoding": "yuv422", "width": 3, "height": 2, "step": 6}, "damaged", "3 x 2 cannot be yuv422"),
            ({"encoding": "nv12", "width": 4, "height": 3, "step": 4}, "damaged", "4 x 3 cannot be nv12"),
            ({"encoding": "nv12", "width": 4, "height": 2, "step": 4, "data": bytes(8)}, "damaged", "expected 3 rows"),
        ],
    )
    def test_contradictions_are_named(self, changes, cause, expected):
        options = {"encoding": "rgb8", "data": bytes(12), "width": 2, "height": 2, "step": 6, **changes}
        with pytest.raises(ImageError, match=expected) as caught:
            decode_image(image_message(**options))
        assert caught.value.cause == cause

    def test_an_empty_frame_id_is_left_to_the_caller(self):
        message = image_message("mono8", bytes(4), width=2, height=2, step=2, frame_id="")
        assert decode_image(message).frame_id == ""
        message = image_message("mono8", bytes(4), width=2, height=2, step=2, frame_id="/cam")
        assert decode_image(message).frame_id == "cam"


BGR = np.ascontiguousarray(RGB[..., ::-1]).astype(np.uint8)


def encoded(suffix: str, picture=BGR, options=()) -> bytes:
    done, data = cv2.imencode(suffix, picture, list(options))
    assert done
    return data.tobytes()


class TestCompressed:
    @pytest.mark.parametrize(
        ("suffix", "options", "encoding"),
        [
            (".jpg", (), "jpeg"),
            (".jpg", (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), "jpeg"),
            (".jpg", (cv2.IMWRITE_JPEG_RST_INTERVAL, 1), "jpeg"),
            (".png", (), "png"),
        ],
        ids=["jpeg", "progressive", "restart markers", "png"],
    )
    @pytest.mark.parametrize("format_", ["jpeg", "png", "rgb8; jpeg compressed bgr8", "", "nonsense"])
    def test_jpeg_and_png_pass_untouched_whatever_the_format_says(self, suffix, options, encoding, format_):
        data = encoded(suffix, options=options)
        image = decode_image(compressed_message(data, format_))
        assert (image.encoding, image.width, image.height) == (encoding, WIDTH, HEIGHT)
        content, name = image_file(image, "jpeg" if encoding == "png" else "png", 50)
        assert content == data
        assert name == suffix
        assert np.array_equal(pixels(image), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))

    @pytest.mark.parametrize("suffix", [".tiff", ".webp", ".bmp"])
    def test_other_files_are_decoded_and_encoded_again(self, suffix):
        options = (cv2.IMWRITE_WEBP_QUALITY, 101) if suffix == ".webp" else ()
        image = decode_image(compressed_message(encoded(suffix, options=options), suffix[1:]))
        assert (image.encoding, image.width, image.height) == ("compressed", WIDTH, HEIGHT)
        assert np.array_equal(pixels(image), BGR)
        content, name = image_file(image, "png", 90)
        assert name == ".png"
        assert np.array_equal(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), BGR)

    @pytest.mark.parametrize("suffix", [".jpg", ".png"])
    def test_what_is_written_are_the_very_bytes_of_the_message(self, suffix):
        message = compressed_message(encoded(suffix), "jpeg")
        content, _ = image_file(decode_image(message), "jpeg", 90)
        assert np.shares_memory(np.frombuffer(content, np.uint8), np.frombuffer(message.data, np.uint8))

    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".tiff", ".webp", ".bmp"])
    @given(width=st.integers(1, 300), height=st.integers(1, 300), channels=st.sampled_from([1, 3]))
    @settings(deadline=None, max_examples=25)
    def test_sizes_are_read_from_the_header(self, suffix, width, height, channels):
        picture = np.full((height, width, channels), 120, np.uint8)
        assert read_file_header(encoded(suffix, picture))[1:] == (width, height)

    @pytest.mark.parametrize(
        ("head", "expected"),
        [
            (b"RIFF\x00\x00\x00\x00WEBPVP8 " + bytes(10) + struct.pack("<HH", 300, 200), (300, 200)),
            (b"RIFF\x00\x00\x00\x00WEBPVP8X" + bytes(8) + b"\x2b\x01\x00\xc7\x00\x00", (300, 200)),
            (
                b"MM\x00*\x00\x00\x00\x08\x00\x02" + struct.pack(">HHIHHHHIHH", 256, 3, 1, 300, 0, 257, 3, 1, 200, 0),
                (300, 200),
            ),
            (b"II*\x00\x08\x00\x00\x00\x02\x00" + struct.pack("<HHIIHHII", 256, 4, 1, 300, 257, 4, 1, 200), (300, 200)),
            (b"BM" + bytes(16) + struct.pack("<ii", 300, -200), (300, 200)),
        ],
        ids=["lossy webp", "extended webp", "big-endian tiff", "little-endian tiff", "bmp from above"],
    )
    def test_headers_of_every_variant_are_read(self, head, expected):
        assert read_file_header(head)[1:] == expected

    def test_a_thumbnail_is_not_taken_for_the_image(self):
        data = encoded(".jpg")
        thumbnail = encoded(".jpg", BGR[:8, :8])
        tagged = data[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + data[2:]
        assert read_file_header(tagged)[1:] == (WIDTH, HEIGHT)
        with pytest.raises(ImageError, match="cut off"):
            read_file_header(tagged[:-2])

    @pytest.mark.parametrize("padding", [b"", bytes(37)], ids=["none", "zeros as cameras send them"])
    def test_padding_behind_the_end_is_no_damage(self, padding):
        data = encoded(".jpg") + padding
        assert decode_image(compressed_message(data)).data.tobytes() == data

    @pytest.mark.parametrize("suffix", [".jpg", ".png"])
    def test_files_cut_off_anywhere_are_damaged(self, suffix):
        data = encoded(suffix)
        for length in range(4 if suffix == ".jpg" else 8, len(data) - 1):
            with pytest.raises(ImageError) as caught:
                decode_image(compressed_message(data[:length]))
            assert caught.value.cause == "damaged"

    @pytest.mark.parametrize("suffix", [".tiff", ".webp", ".bmp"])
    def test_other_files_cut_off_are_damaged_when_decoded(self, suffix):
        data = encoded(suffix)
        with pytest.raises(ImageError):
            pixels(decode_image(compressed_message(data[: len(data) // 3])))

    @pytest.mark.parametrize(
        ("data", "format_", "expected"),
        [
            (b"\x00\x00\x00\x01\x67\x42\x00\x1e", "h264", "format 'h264', beginning with 00 00 00 01 67 42 00 1e"),
            (b"", "jpeg", "beginning with nothing"),
            (b"\xff\xd8", "jpeg", "beginning with ff d8"),
            (
                bytes(12) + encoded(".png"),
                "16UC1; compressedDepth png",
                "'16UC1; compressedDepth png' is a depth image",
            ),
        ],
    )
    def test_other_formats_are_refused_by_name(self, data, format_, expected):
        with pytest.raises(ImageError, match=expected) as caught:
            decode_image(compressed_message(data, format_))
        assert caught.value.cause == "unknown_encoding"

    @pytest.mark.parametrize(("width", "height"), [(65_536, 1), (1, 2**31), (20_000, 20_000)])
    def test_claims_of_huge_images_are_refused_before_decoding(self, width, height):
        with pytest.raises(ImageError, match=f"{width} x {height}") as caught:
            decode_image(compressed_message(png_of_size(width, height), "png"))
        assert caught.value.cause == "too_large"

    def test_a_file_without_pixels_is_refused(self):
        with pytest.raises(ImageError, match="no pixels"):
            decode_image(compressed_message(png_of_size(0, 5), "png"))

    def test_a_header_that_lies_is_found_out_when_decoding(self):
        image = Image(STAMP_NS, "", WIDTH + 1, HEIGHT, "png", np.frombuffer(encoded(".png"), np.uint8))
        with pytest.raises(ImageError, match="cannot be decoded to 25 x 16"):
            pixels(image)

    def test_deep_and_transparent_files_become_bgr(self):
        deep = decode_image(compressed_message(encoded(".png", BGR.astype(np.uint16) * 256 + 99)))
        assert np.array_equal(pixels(deep), BGR)
        transparent = np.dstack([BGR, np.full((HEIGHT, WIDTH), 9, np.uint8)])
        assert np.array_equal(pixels(decode_image(compressed_message(encoded(".png", transparent)))), BGR)

    def test_files_of_floats_are_refused(self):
        image = decode_image(compressed_message(encoded(".tiff", BGR.astype(np.float32)), "tiff"))
        with pytest.raises(ImageError, match="float32") as caught:
            pixels(image)
        assert caught.value.cause == "unknown_encoding"

    def test_a_zero_stamp_is_refused(self):
        with pytest.raises(ImageError) as caught:
            decode_image(compressed_message(encoded(".jpg"), stamp_ns=0))
        assert caught.value.cause == "zero_stamp"


class TestFiles:
    @pytest.mark.parametrize("picture", [BGR, np.ascontiguousarray(BGR[..., 1])], ids=["colour", "gray"])
    def test_png_keeps_every_pixel(self, picture):
        data = encode_pixels(picture, "png", 90)
        assert read_file_header(data) == ("png", WIDTH, HEIGHT)
        assert np.array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), picture)

    def test_jpeg_of_low_quality_is_smaller(self):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        low, high = (encode_pixels(noise, "jpeg", quality) for quality in (20, 95))
        assert len(low) < len(high)
        assert read_file_header(low) == read_file_header(high) == ("jpeg", 64, 64)

    @pytest.mark.parametrize(("fmt", "suffix"), [("jpeg", ".jpg"), ("png", ".png")])
    def test_raw_images_are_encoded_as_configured(self, fmt, suffix):
        content, name = image_file(decode_image(raw_message("bayer_rggb8", pad=3)), fmt, 95)
        assert name == suffix
        found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        for row, column in CENTRES:
            np.testing.assert_allclose(found[row, column], RGB[row, column][::-1], atol=8 if fmt == "jpeg" else 0)

    def test_a_jpeg_wider_than_the_format_allows_is_an_error(self):
        with pytest.raises(ImageError) as caught:
            encode_pixels(np.zeros((1, 65_535), np.uint8), "jpeg", 90)
        assert caught.value.cause == "encode"


class TestRecordings:
    def test_ouster_images_have_no_frame_id(self):
        messages = list(recorded("ouster_os1", "sensor_msgs/msg/Image"))
        assert len(messages) == 6
        for message in messages:
            image = decode_image(message)
            assert (image.encoding, image.frame_id) == ("mono8", "")
            decoded = pixels(image)
            assert decoded.shape == (image.height, image.width)
            assert decoded.any()

    def test_scale_sample_jpegs_pass_untouched(self):
        messages = list(recorded("scale_sample", "sensor_msgs/msg/CompressedImage"))
        assert len(messages) == 15
        for message in messages:
            image = decode_image(message)
            assert (image.encoding, image.width, image.height) == ("jpeg", 1920, 1080)
            content, suffix = image_file(image, "png", 90)
            assert suffix == ".jpg"
            assert content in message.data
