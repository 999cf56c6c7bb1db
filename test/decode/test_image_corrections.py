# SPDX-License-Identifier: Apache-2.0
"""What makes a picture right that its file does not say: a mosaic, its significant bits, and a tag that turns it."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from serialised import compressed_message, image_message

from nucleus_bridge.config import CameraConfig
from nucleus_bridge.decode import registry
from nucleus_bridge.decode.image import decode_image, image_file, pixels
from nucleus_bridge.decode.image_checks import damage_of, orientation_of

HEIGHT, WIDTH = 96, 128
PATTERNS = ("rggb", "bggr", "gbrg", "grbg")


def scene() -> np.ndarray:
    """A smooth coloured picture, B G R."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    blue = 120 + 80 * np.sin(columns / 17)
    green = 110 + 70 * np.cos(rows / 13)
    red = 60 + columns + rows / 3
    return np.clip(np.dstack([blue, green, red]), 0, 255).astype(np.uint8)


def mosaic(picture: np.ndarray, pattern: str) -> np.ndarray:
    made = np.empty(picture.shape[:2], np.uint8)
    for place, colour in enumerate(pattern):
        row, column = divmod(place, 2)
        made[row::2, column::2] = picture[row::2, column::2, "bgr".index(colour)]
    return made


def encoded(picture: np.ndarray, suffix: str) -> bytes:
    return cv2.imencode(suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, 98] if suffix == ".jpg" else [])[1].tobytes()


def shown(content: bytes | memoryview) -> np.ndarray:
    """The picture as a viewer shows it: colours, and turned as a tag says."""
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def exif(orientation: int, order: str) -> bytes:
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def turned_jpeg(picture: np.ndarray, orientation: int, order: str) -> bytes:
    data, block = encoded(picture, ".jpg"), b"Exif\0\0" + exif(orientation, order)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]


def turned_png(picture: np.ndarray, orientation: int, order: str) -> bytes:
    data, block = encoded(picture, ".png"), b"eXIf" + exif(orientation, order)
    chunk = struct.pack(">I", len(block) - 4) + block + struct.pack(">I", zlib.crc32(block))
    return data[:33] + chunk + data[33:]


class TestOrientation:
    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("orientation", [2, 3, 6, 8])
    @pytest.mark.parametrize("made", [turned_jpeg, turned_png])
    def test_the_file_shows_the_picture_as_it_is_stored(self, made, orientation, order):
        data = made(scene(), orientation, order)
        assert orientation_of(data) == orientation
        content, _ = image_file(decode_image(compressed_message(data)), "jpeg", 90)
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert orientation_of(bytes(content)) == 1
        assert np.array_equal(shown(content), stored)
        assert len(content) == len(data)

    @pytest.mark.parametrize("data", [encoded(scene(), ".jpg"), turned_jpeg(scene(), 1, "<"), encoded(scene(), ".png")])
    def test_a_file_that_is_upright_stays_as_it_is(self, data):
        content, _ = image_file(decode_image(compressed_message(data)), "jpeg", 90)
        assert bytes(content) == data


class TestMosaics:
    @pytest.mark.parametrize("suffix", [".jpg", ".png"])
    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_a_mosaic_in_a_file_becomes_a_coloured_picture(self, pattern, suffix):
        data = encoded(mosaic(scene(), pattern), suffix)
        told = decode_image(compressed_message(data, f"bayer_{pattern}8; {suffix[1:]} compressed "))
        configured = decode_image(compressed_message(data, suffix[1:]), bayer=pattern)
        for image in (told, configured):
            content, kind = image_file(image, "png", 90)
            assert kind == ".png"
            assert cv2.PSNR(shown(content)[2:-2, 2:-2], scene()[2:-2, 2:-2]) > 30

    def test_a_picture_that_was_debayered_before_it_was_compressed_stays_as_it_is(self):
        data = encoded(scene(), ".jpg")
        image = decode_image(compressed_message(data, "bayer_rggb8; jpeg compressed bgr8"))
        assert bytes(image_file(image, "jpeg", 90)[0]) == data

    def test_a_raw_gray_image_can_be_a_mosaic(self):
        made = mosaic(scene(), "gbrg")
        image = decode_image(
            image_message("mono8", made.tobytes(), width=WIDTH, height=HEIGHT, step=WIDTH), bayer="gbrg"
        )
        assert cv2.PSNR(pixels(image)[2:-2, 2:-2], scene()[2:-2, 2:-2]) > 30

    def test_a_coloured_picture_is_no_mosaic_whatever_is_configured(self):
        raw = image_message("bgr8", scene().tobytes(), width=WIDTH, height=HEIGHT, step=3 * WIDTH)
        assert np.array_equal(pixels(decode_image(raw, bayer="rggb")), scene())
        file = compressed_message(encoded(scene(), ".png"), "png")
        assert np.array_equal(pixels(decode_image(file, bayer="rggb")), scene())


class TestBitDepth:
    @pytest.mark.parametrize("bits", [10, 12, 14, 16])
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_the_significant_bits_fill_the_picture(self, bits, order):
        gray = scene()[:, :, 1]
        values = (gray.astype(np.uint16) << (bits - 8)).astype(f"{order}u2")
        raw = image_message(
            "mono16", values.tobytes(), width=WIDTH, height=HEIGHT, step=2 * WIDTH, is_bigendian=order == ">"
        )
        assert np.array_equal(pixels(decode_image(raw, bit_depth=bits)), gray)
        data = cv2.imencode(".png", values.astype(np.uint16))[1].tobytes()
        image = decode_image(compressed_message(data, "mono16; png compressed "), bit_depth=bits)
        assert np.array_equal(shown(image_file(image, "png", 90)[0])[:, :, 0], gray)

    def test_values_of_more_bits_than_configured_are_white(self):
        values = np.full((HEIGHT, WIDTH), 5_000, "<u2")
        raw = image_message("mono16", values.tobytes(), width=WIDTH, height=HEIGHT, step=2 * WIDTH)
        assert (pixels(decode_image(raw, bit_depth=12)) == 255).all()


class TestLostBytes:
    @pytest.mark.parametrize("options", [[], [cv2.IMWRITE_JPEG_QUALITY, 60], [cv2.IMWRITE_JPEG_QUALITY, 99]])
    def test_bytes_that_were_left_zero_are_damage(self, options):
        noise = np.random.default_rng(5).integers(0, 255, (120, 160, 3)).astype(np.uint8)
        whole = cv2.imencode(".jpg", noise, options)[1].tobytes()
        assert damage_of(whole) == ""
        for share in (0.4, 0.8):
            at = int(len(whole) * share)
            assert "zero" in damage_of(whole[:at] + bytes(90) + whole[at + 90 :])
        assert "zero" in damage_of(whole[: len(whole) // 2] + bytes(len(whole) // 2) + whole[-2:])

    @pytest.mark.parametrize("optimise", [0, 1])
    @pytest.mark.parametrize("value", [0, 17, 255])
    def test_flat_pictures_are_whole(self, optimise, value):
        flat = np.full((900, 1200, 3), value, np.uint8)
        for progressive in (0, 1):
            options = [cv2.IMWRITE_JPEG_OPTIMIZE, optimise, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
            assert damage_of(cv2.imencode(".jpg", flat, options)[1].tobytes()) == ""


class TestSettings:
    """What is configured for a camera reaches the pictures through the decoder that the registry has for its type."""

    @staticmethod
    def decoded(message, **settings):
        interface = registry.interface_of(message.type_name, "image")
        (image,) = interface.decoder(CameraConfig("front", message.topic, **settings)).decode(message)
        return image

    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_the_pattern_of_a_mosaic(self, pattern):
        gray = mosaic(scene(), pattern)
        raw = image_message("mono8", gray.tobytes(), width=WIDTH, height=HEIGHT, step=WIDTH)
        for message in (raw, compressed_message(encoded(gray, ".png"), "png")):
            shown_as = pixels(self.decoded(message, bayer=pattern))
            assert cv2.PSNR(shown_as[2:-2, 2:-2], scene()[2:-2, 2:-2]) > 30

    def test_the_bit_depth(self):
        gray = scene()[:, :, 1]
        values = gray.astype("<u2") << 3
        raw = image_message("mono16", values.tobytes(), width=WIDTH, height=HEIGHT, step=2 * WIDTH)
        for message in (raw, compressed_message(encoded(values, ".png"), "mono16; png compressed ")):
            assert np.array_equal(pixels(self.decoded(message, bit_depth=11)), gray)
