# SPDX-License-Identifier: Apache-2.0
"""Cameras through the whole converter: known places land where the uploaded image shows them, for every lens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bags import (
    MS,
    OPTICAL,
    START_NS,
    TYPES,
    UNIT,
    Recording,
    compressed,
    info,
    jpeg,
    recording,
    transforms,
    write_config,
)
from moments import FAST_TURN_S, Moments, images_of, record
from test_demo_conversion import hidden, rotate, xyz

from nucleus_bridge.cli.main import main
from nucleus_bridge.convert import ConversionReport, convert_bag
from nucleus_bridge.testing.demo import DriveOptions

LENSES = {
    "plumb_bob": "brown_conrady",
    "rational_polynomial": "brown_conrady",
    "equidistant": "fisheye",
    "omnidirectional": "brown_conrady",
}


def published_projection(params: dict[str, Any], places: np.ndarray) -> np.ndarray:
    """Project places (k, 3) of the optical frame with the formulas of OpenCV's documentation; (k, 2) pixels."""
    a, b = places[:, 0] / places[:, 2], places[:, 1] / places[:, 2]
    square = a**2 + b**2
    if params["camera_model"] == "fisheye":
        angle = np.arctan(np.sqrt(square))
        bent = angle * (1 + sum(params[f"k{n}"] * angle ** (2 * n) for n in (1, 2, 3, 4)))
        x, y = bent / np.sqrt(square) * a, bent / np.sqrt(square) * b
    else:
        radial = 1 + params["k1"] * square + params["k2"] * square**2 + params["k3"] * square**3
        x = a * radial + 2 * params["p1"] * a * b + params["p2"] * (square + 2 * a**2)
        y = b * radial + params["p1"] * (square + 2 * b**2) + 2 * params["p2"] * a * b
    u = params["fx"] * x + params["skew"] * y + params["cx"]
    return np.column_stack([u, params["fy"] * y + params["cy"]])


def sides_of(params: dict[str, Any], offset: np.ndarray, pole: dict[str, Any]) -> list[np.ndarray] | None:
    """Return where the left and the right outline of a pole are, (k, 2) pixels each, None where it is not ahead."""
    eye = xyz(params["position"]) + offset
    east, north = pole["x"] - eye[0], pole["y"] - eye[1]
    distance, bearing = np.hypot(east, north), np.arctan2(north, east)
    tangent, half = np.sqrt(distance**2 - pole["radius"] ** 2), np.arcsin(pole["radius"] / distance)
    heights = np.linspace(0.3, pole["height"] - 0.3, 200)
    q = [params["heading"][axis] for axis in "xyzw"]
    sides = []
    for angle in (bearing + half, bearing - half):
        foot = eye[:2] + tangent * np.array([np.cos(angle), np.sin(angle)])
        line = np.column_stack([np.tile(foot, (200, 1)), heights])
        local = rotate([-q[0], -q[1], -q[2], q[3]], line - eye)
        if local[:, 2].min() < 2.0 or local[:, 2].max() > 30.0 or np.abs(local[:, 0] / local[:, 2]).max() > 1.0:
            return None
        sides.append(published_projection(params, local))
    return sides


def middles(
    picture: np.ndarray, sides: list[np.ndarray], pole: dict[str, Any], blend: int
) -> Iterator[tuple[float, float]]:
    """Yield (projected, seen) columns of a pole's middle, a row of the image each.

    An outline lies within the ``blend`` pixels that mix the pole's colour with the background.
    """
    color = np.array(pole["color"], float)
    height, width = picture.shape[:2]
    for row in np.rint(np.linspace(*np.percentile(sides[0][:, 1], [10, 90]), 12)).astype(int):
        left, right = (np.interp(-row, -side[:, 1], side[:, 0]) for side in sides)
        if not (0 <= row < height and 8 < left < right - 6 and right < width - 9):
            continue
        line = picture[row].astype(float)
        pure = np.flatnonzero(np.abs(line - color).max(axis=-1) <= 3)
        pure = pure[(pure > left - 12) & (pure < right + 12)]
        if not pure.size:
            yield (left + right) / 2, np.nan
            continue
        first, last = pure[0], pure[-1]
        mixed = range(1, 1 + blend)
        before = sum(share(line[first - k], line[first - blend - 1], color) for k in mixed)
        after = sum(share(line[last + k], line[last + blend + 1], color) for k in mixed)
        yield (left + right) / 2, (first - before + last + after) / 2


def share(pixel: np.ndarray, background: np.ndarray, color: np.ndarray) -> float:
    """Return how much of a colour is mixed into a background."""
    span = color - background
    return float(np.clip(np.dot(pixel - background, span) / np.dot(span, span), 0, 1))


@pytest.mark.parametrize("lens", LENSES)
def test_poles_are_within_half_a_pixel_of_where_the_uploaded_numbers_project_them(lens: str, tmp_path: Path) -> None:
    options = DriveOptions(seconds=12.0, points=100, cameras=2, standing_s=0.0, image="raw", camera_model=lens)
    blend = 3 if lens in ("rational_polynomial", "omnidirectional") else 1  # rectified images are interpolated
    drive = record(tmp_path, options, (FAST_TURN_S,))
    report = drive.convert("all", "image.format=png", "gps.topic=''")
    for camera in ("front", "rear"):
        assert {params["camera_model"] for _, params, _ in images_of(report, camera)} == {LENSES[lens]}
    errors = errors_of(drive, report, ("front", "rear"), blend)
    assert len(errors) > 60
    assert not np.isnan(errors).any()
    assert np.abs(errors).max() < 0.5
    assert np.median(np.abs(errors)) < 0.05


def errors_of(drive: Moments, report: ConversionReport, cameras: tuple[str, ...], blend: int) -> np.ndarray:
    """Return by how many pixels poles are beside their projections, NaN where one is not seen at all."""
    errors: list[float] = []
    for camera in cameras:
        for path, params, offset in images_of(report, camera)[::3]:
            picture = cv2.imread(str(path))[:, :, ::-1]
            for pole in drive.truth["poles"]:
                sides = sides_of(params, offset, pole)
                axis = np.array([pole["x"], pole["y"], 1.0]) - offset
                if sides is None or hidden(drive, params, offset, axis, pole):
                    continue
                errors += [seen - projected for projected, seen in middles(picture, sides, pole, blend)]
    return np.array(errors)


# --- rectified topics --------------------------------------------------------------------------------------------

TURN = cv2.Rodrigues(np.radians([1.5, -4.0, 2.0]))[0]
"""By how much a stereo calibration turns the rectified camera: R of its CameraInfo."""


def rectified_recording(folder: Path) -> Moments:
    """A drive whose front camera publishes rectified images of a stereo pair."""
    options = DriveOptions(seconds=12.0, points=100, cameras=1, standing_s=0.0, image="raw")
    new_k = np.array([[500.0, 0, 470], [0, 500, 310], [0, 0, 1]])

    def change(topic: str, stamp_ns: int, data: bytes) -> bytes:
        if topic == "/camera/front/camera_info":
            message = TYPES.deserialize_cdr(data, "sensor_msgs/msg/CameraInfo")
            message.r, message.p = TURN.ravel(), np.column_stack([new_k, np.zeros(3)]).ravel()
            return bytes(TYPES.serialize_cdr(message, "sensor_msgs/msg/CameraInfo"))
        if topic == "/camera/front/image_raw":
            message = TYPES.deserialize_cdr(data, "sensor_msgs/msg/Image")
            picture = message.data.reshape(message.height, message.width, 3)
            flat = cv2.remap(picture, *maps, cv2.INTER_LINEAR)
            message.data = flat.reshape(-1)
            return bytes(TYPES.serialize_cdr(message, "sensor_msgs/msg/Image"))
        return data

    from nucleus_bridge.testing.demo import truth_of

    camera = truth_of(options)["cameras"]["front"]
    k, d = np.array(camera["k"]).reshape(3, 3), np.array(camera["d"])
    maps = cv2.initUndistortRectifyMap(k, d, TURN, new_k, (camera["width"], camera["height"]), cv2.CV_32FC1)
    renamed = {"/camera/front/image_raw": "/camera/front/image_rect_color"}
    return record(folder, options, (FAST_TURN_S,), change, renamed)


def test_a_rectified_image_of_a_stereo_pair_has_the_pose_of_the_rectified_camera(tmp_path: Path) -> None:
    drive = rectified_recording(tmp_path)
    topic = "cameras.front.image_topic=/camera/front/image_rect_color"
    report = drive.convert("rectified", "image.format=png", topic)
    assert report.complete
    errors = errors_of(drive, report, ("front",), 3)
    assert len(errors) > 25
    assert np.abs(errors).max() < 0.5
    for _, params, _ in images_of(report, "front"):
        assert (params["fx"], params["cx"], params["cy"], params["k1"]) == (500.0, 470.0, 310.0, 0.0)


# --- calibrations ------------------------------------------------------------------------------------------------

CONFIG = {
    "lidar_names": ["top"],
    "lidars.top.topic": "/points",
    "camera_names": ["front"],
    "cameras.front.image_topic": "/image",
    "cameras.front.info_topic": "/info",
}


def convert(made: Recording, folder: Path, **changes: Any) -> ConversionReport:
    from nucleus_bridge.config import config_from_values

    values = {**CONFIG, **{name.replace("__", "."): value for name, value in changes.items()}}
    return convert_bag(made.write(folder / "bag"), config_from_values(values, base_dir=folder), folder / "spool")


def test_a_calibration_that_changes_in_mid_drive_holds_from_its_stamp_on(tmp_path: Path) -> None:
    made = recording(frames=6).without("/info")
    for number in range(6):
        focal = 50.0 if number < 3 else 60.0
        stamp = START_NS + 100 * number * MS
        k = np.array([focal, 0, 32, 0, focal, 24, 0, 0, 1])
        made.add("/info", info(stamp, k=k), stamp + 4 * MS)
    report = convert(made, tmp_path)
    assert [params["fx"] for _, params, _ in images_of(report, "front")] == [50.0] * 3 + [60.0] * 3


def test_images_smaller_than_their_calibration_say_by_what_factor(tmp_path: Path) -> None:
    made = recording().without("/image")
    for number in range(5):
        stamp = START_NS + 100 * number * MS
        made.add("/image", compressed(stamp, jpeg(32, 24)), stamp + 5 * MS)
    report = convert(made, tmp_path)
    for _, params, _ in images_of(report, "front"):
        assert (params["scale_factor"], params["fx"], params["cx"]) == (2.0, 50.0, 32.0)
    whole = convert(recording(), tmp_path / "whole")
    assert not any("scale_factor" in params for _, params, _ in images_of(whole, "front"))


CALIBRATION = """
image_width: 64
image_height: 48
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [55.0, 0, 31.0, 0, 56.0, 23.0, 0, 0, 1]}
distortion_model: equidistant
distortion_coefficients: {rows: 1, cols: 4, data: [0.01, 0.02, 0.03, 0.04]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [55.0, 0, 31.0, 0, 0, 56.0, 23.0, 0, 0, 0, 1, 0]}
"""


def test_a_calibration_file_replaces_the_topic(tmp_path: Path) -> None:
    (tmp_path / "front.yaml").write_text(CALIBRATION)
    for name, made in (("without", recording().without("/info")), ("with", recording())):
        (tmp_path / name).mkdir()
        (tmp_path / name / "front.yaml").write_text(CALIBRATION)
        report = convert(made, tmp_path / name, cameras__front__calibration_file="front.yaml")
        for _, params, _ in images_of(report, "front"):
            assert params["camera_model"] == "fisheye"
            assert [params[key] for key in ("fx", "fy", "cx", "cy")] == [55.0, 56.0, 31.0, 23.0]
            assert [params[f"k{n}"] for n in (1, 2, 3, 4)] == [0.01, 0.02, 0.03, 0.04]


# --- frames that are not optical frames ----------------------------------------------------------------------------

DOWN_TWENTY = (-0.579228, 0.579228, -0.40558, 0.40558)


def mounted(rotation: tuple[float, ...]) -> Recording:
    made = recording().without("/tf_static")
    mounts = (("base_link", "lidar", START_NS, (0, 0, 2), UNIT), ("base_link", "camera", START_NS, (1, 0, 1), rotation))
    made.add("/tf_static", transforms(*mounts), START_NS - 500 * MS)
    return made


def turned(rows: list[list[int]]) -> tuple[float, ...]:
    """Quaternion x y z w of a matrix whose columns are the camera's axes in the device."""
    vector = cv2.Rodrigues(np.array(rows, float))[0].ravel()
    angle = np.linalg.norm(vector)
    axis = vector / angle if angle else vector
    return (*(np.sin(angle / 2) * axis).tolist(), float(np.cos(angle / 2)))


@pytest.mark.parametrize(
    ("rotation", "words"),
    [
        (OPTICAL, ""),
        (DOWN_TWENTY, ""),
        (UNIT, "body frame"),
        (turned([[0, 0, 1], [1, 0, 0], [0, 1, 0]]), "y axis, down in the picture, is 180 degrees away from down"),
        (turned([[0, -1, 0], [-1, 0, 0], [0, 0, -1]]), "points 90 degrees down"),
        (turned([[0, 0, 1], [0, -1, 0], [1, 0, 0]]), "is 90 degrees away from down"),
    ],
)
def test_a_camera_frame_that_is_not_optical_is_named_in_the_manifest_and_on_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], rotation: tuple[float, ...], words: str
) -> None:
    bag, spool = mounted(rotation).write(tmp_path / "bag"), tmp_path / "spool"
    status = main(["convert", str(bag), "--config", str(write_config(tmp_path)), "--output", str(spool)])
    error = capfd.readouterr().err
    assert status == 0  # a warning is not a loss
    (report,) = [convert_bag(bag, tmp_path / "config.yaml", spool)]
    warning = report.scenes[0].manifest.sensors["front"].get("warning", "")
    assert (words in warning) if words else not warning
    assert ("nucleus-bridge: warning: front: frame 'camera'" in error) == bool(words)
    assert words in error


@pytest.mark.parametrize("rule", ["auto", "never"])
def test_a_distortion_that_cannot_be_expressed_is_rectified_or_refused_by_name(tmp_path: Path, rule: str) -> None:
    made = recording().without("/info")
    d = np.array([0.1, 0.01, 0.001, 0.001, 0.0, 0.3, 0.01, 0.001])
    made.add("/info", info(START_NS, distortion_model="rational_polynomial", d=d), START_NS - 10 * MS)
    report = convert(made, tmp_path, cameras__front__rectify=rule)
    found = images_of(report, "front")
    if rule == "auto":
        assert len(found) == 5
        assert not any(params[name] for _, params, _ in found for name in ("k1", "k2", "k3", "p1", "p2"))
        assert report.complete
    else:
        assert found == []
        assert report.losses == {"/image": {"not_expressible": 5}}
        assert "rational_polynomial" in report.reasons["not_expressible"]
