# SPDX-License-Identifier: Apache-2.0
"""Images show the scene where OpenCV's own projection, with the published calibration and the true pose, puts it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from nucleus_bridge.testing.demo import DriveOptions, truth_of, write_demo_drive
from nucleus_bridge.testing.demo.cameras import CameraImages, cameras_of

MODELS = ("plumb_bob", "rational_polynomial", "equidistant")
SKY, GROUND = -1, -2


@pytest.fixture(scope="module", params=MODELS)
def view(request):
    """Return a lap seen by one camera with each lens model, at full resolution, as a few of its images."""
    options = DriveOptions(seconds=36.0, points=100, cameras=1, camera_model=request.param)
    truth = truth_of(options)
    return View(truth, truth["cameras"]["front"], CameraImages(cameras_of(options)[0]))


@dataclass(frozen=True)
class View:
    truth: dict
    camera: dict
    taken: CameraImages

    def pictures(self):
        """Yield some poses of the optical frame with the pixels seen from there."""
        for index in range(3, 360, 40):
            yield self.camera["images"][index]["map_from_camera"], self.taken.pixels(index)


def calibration(camera):
    return np.array(camera["k"]).reshape(3, 3), np.array(camera["d"])


def project(camera, places):
    """Return pixels of places (k, 3) in the optical frame by OpenCV."""
    matrix, distortion = calibration(camera)
    projector = cv2.fisheye.projectPoints if camera["distortion_model"] == "equidistant" else cv2.projectPoints
    shape = (-1, 1, 3) if camera["distortion_model"] == "equidistant" else (-1, 3)
    pixels, _ = projector(np.asarray(places, float).reshape(shape), np.zeros(3), np.zeros(3), matrix, distortion)
    return pixels.reshape(-1, 2)


def unproject(camera, pixels):
    """Return the ray (k, 3) with z = 1 that OpenCV projects to each of pixels (k, 2)."""
    matrix, _ = calibration(camera)
    flat = (pixels - matrix[:2, 2]) / matrix[[0, 1], [0, 1]]

    def seen(places):
        return project(camera, np.concatenate([places, np.ones((len(places), 1))], axis=1))

    for _ in range(50):
        here = seen(flat)
        off = pixels - here
        if np.abs(off).max() < 1e-6:
            return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
        by_x, by_y = ((seen(flat + step) - here) / 1e-6 for step in ([1e-6, 0], [0, 1e-6]))
        determinant = by_x[:, 0] * by_y[:, 1] - by_x[:, 1] * by_y[:, 0]
        flat = flat + np.column_stack(
            [
                (by_y[:, 1] * off[:, 0] - by_y[:, 0] * off[:, 1]) / determinant,
                (by_x[:, 0] * off[:, 1] - by_x[:, 1] * off[:, 0]) / determinant,
            ]
        )
    raise AssertionError("no rays found")


def to_camera(rotations, pose, places):
    inverse = np.array(pose["rotation_xyzw"]) * [-1, -1, -1, 1]
    return rotations.rotate(inverse, np.asarray(places, float) - np.array(pose["translation"]))


def outline(camera, rotations, pose, pole):
    """Return (pixels, rays) of the left and right outline of a pole, each (400, ...), or None where it is not ahead."""
    eye = np.array(pose["translation"])
    east, north = pole["x"] - eye[0], pole["y"] - eye[1]
    distance, bearing = np.hypot(east, north), np.arctan2(north, east)
    tangent, half = np.sqrt(distance**2 - pole["radius"] ** 2), np.arcsin(pole["radius"] / distance)
    heights = np.linspace(0.1, pole["height"] - 0.1, 400)
    sides = []
    for angle in (bearing + half, bearing - half):
        line = np.column_stack(
            [np.tile(eye[:2] + tangent * np.array([np.cos(angle), np.sin(angle)]), (400, 1)), heights]
        )
        local = to_camera(rotations, pose, line)
        if local[:, 2].min() < 1.0 or local[:, 2].max() > 35.0:
            return None
        sides.append((project(camera, local), local / local[:, 2:]))
    return sides


def share(pixel, background, color):
    """Return how much of a colour is mixed into a background."""
    span = color - background
    return float(np.clip(np.dot(pixel - background, span) / np.dot(span, span), 0, 1))


def crossings(view, rotations, pose):
    """Return (pole, row, left and right column) where outlines in plain view cross rows of the image."""
    found, rays = [], []
    width, height = view.camera["width"], view.camera["height"]
    for number, pole in enumerate(view.truth["poles"]):
        sides = outline(view.camera, rotations, pose, pole)
        if sides is None:
            continue
        for sample in range(10, 400, 40):
            row = int(np.rint(sides[0][0][sample, 1]))
            left, right = (np.interp(-row, -side[0][:, 1], side[0][:, 0]) for side in sides)
            if 4 < left < right - 4 < width - 9 and 0 <= row < height:
                found.append((number, row, left, right))
                first, last = sides[0][1][sample], sides[1][1][sample]
                rays += [first + part * (last - first) for part in (-0.1, 0.01, 0.5, 0.99, 1.1)]
                rays += [sides[0][1][near] + 0.5 * (last - first) for near in (sample - 10, sample + 9)]
    if not found:
        return []
    behind = nearest(view.truth, rotations, pose, np.array(rays))[0].reshape(-1, 7)
    return [
        crossing
        for crossing, (left, *inside, right, above, below) in zip(found, behind, strict=True)
        if {*inside, above, below} == {crossing[0]} and crossing[0] not in (left, right)
    ]


def test_poles_are_where_they_project(view, rotations):
    off_edges, seen = [], set()
    for pose, pixels in view.pictures():
        for number, row, left, right in crossings(view, rotations, pose):
            color = np.array(view.truth["poles"][number]["color"], float)
            line = pixels[row].astype(float)
            columns = np.flatnonzero(np.all(line == color, axis=-1))
            assert columns.size
            first, last = columns[0], columns[-1]
            if np.ptp(line[first - 4 : first - 1], axis=0).max() < 12:
                off_edges.append(first - 0.5 - share(line[first - 1], line[first - 2], color) - left)
            if np.ptp(line[last + 2 : last + 5], axis=0).max() < 12:
                off_edges.append(last + 0.5 + share(line[last + 1], line[last + 2], color) - right)
            seen.add(number)
    assert len(seen) >= 6
    assert len(off_edges) >= 80
    assert np.abs(off_edges).max() < 0.5
    assert np.median(np.abs(off_edges)) < 0.02


def nearest(truth, rotations, pose, rays):
    """Return which thing rays (k, 3) of the optical frame meet first: pole, then box numbers, GROUND or SKY."""
    eye = np.array(pose["translation"])
    along = rotations.rotate(np.array(pose["rotation_xyzw"]), rays)
    with np.errstate(divide="ignore", invalid="ignore"):
        best = np.where(along[:, 2] < 0, -eye[2] / along[:, 2], np.inf)
    found = np.where(np.isfinite(best), GROUND, SKY)
    things = [*truth["poles"], *truth["boxes"], *truth["walls"]]
    for number, thing in enumerate(things):
        flight = pole_flight(thing, eye, along) if "radius" in thing else box_flight(thing, eye, along)
        nearer = flight < best
        best, found = np.where(nearer, flight, best), np.where(nearer, number, found)
    return found, things


def pole_flight(pole, eye, along):
    x, y = eye[0] - pole["x"], eye[1] - pole["y"]
    a = along[:, 0] ** 2 + along[:, 1] ** 2
    b = 2 * (x * along[:, 0] + y * along[:, 1])
    room = b * b - 4 * a * (x * x + y * y - pole["radius"] ** 2)
    flight = (-b - np.sqrt(np.maximum(room, 0))) / (2 * a)
    height = eye[2] + flight * along[:, 2]
    return np.where((room > 0) & (flight > 0) & (height >= 0) & (height <= pole["height"]), flight, np.inf)


def box_flight(box, eye, along):
    """Return where rays enter a box: the nearest crossing of a face plane that lies on the face."""
    cos, sin = np.cos(box["yaw"]), np.sin(box["yaw"])
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    start, rays = turn @ (eye - [box["x"], box["y"], 0]), along @ turn.T
    low = np.array([-box["length"] / 2, -box["width"] / 2, 0])
    high = np.array([box["length"] / 2, box["width"] / 2, box["height"]])
    best = np.full(len(rays), np.inf)
    for axis in range(3):
        for plane in (low[axis], high[axis]):
            with np.errstate(divide="ignore", invalid="ignore"):
                flight = (plane - start[axis]) / rays[:, axis]
                places = start + flight[:, None] * rays
            others = [other for other in range(3) if other != axis]
            on_face = np.all((places[:, others] >= low[others]) & (places[:, others] <= high[others]), axis=1)
            best = np.where(on_face & (flight > 0) & (flight < best), flight, best)
    return best


def test_every_pixel_shows_what_its_ray_meets(view, rotations):
    chance, checked = np.random.default_rng(8), {"pole": 0, "box": 0, "ground": 0, "sky": 0}
    for pose, pixels in view.pictures():
        height, width, _ = pixels.shape
        poles = np.argwhere(np.ptp(pixels.astype(int), axis=2) > 180)[::100, ::-1]
        random = np.column_stack([chance.integers(2, width - 2, 400), chance.integers(2, height - 2, 400)])
        places = np.concatenate([poles, random])
        corners = np.array([(0, 0), (1.0, 0), (-1.0, 0), (0, 1.0), (0, -1.0)])
        rays = unproject(view.camera, (places[:, None] + corners).reshape(-1, 2))
        found, things = nearest(view.truth, rotations, pose, rays)
        found = found.reshape(-1, 5)
        for place, around in zip(places, found, strict=True):
            if np.any(around != around[0]):
                continue
            pixel = pixels[place[1], place[0]].astype(float)
            if around[0] == SKY:
                checked["sky"] += 1
                assert pixel[2] > pixel[1] > pixel[0]
            elif around[0] == GROUND:
                checked["ground"] += 1
                assert np.ptp(pixel) < 70
                assert not pixel[2] > pixel[1] + 15
            elif "radius" in things[around[0]]:
                checked["pole"] += 1
                assert pixel.tolist() == things[around[0]]["color"]
            else:
                checked["box"] += 1
                base = np.array(things[around[0]]["color"], float)
                brightness = np.dot(pixel, base) / np.dot(base, base)
                assert np.abs(pixel - np.minimum(brightness * base, 255)).max() < 4.0
    assert min(checked.values()) >= 30


def test_each_pole_has_a_saturated_colour_of_its_own(drive):
    colors = [tuple(pole["color"]) for pole in drive.truth["poles"]]
    assert len(set(colors)) == len(colors) >= 30
    assert all(max(color) - min(color) > 180 for color in colors)
    others = [thing["color"] for thing in (*drive.truth["boxes"], *drive.truth["walls"])]
    assert all(max(color) - min(color) < 80 for color in others)


@pytest.mark.parametrize("name", ["front", "rear", "left"])
def test_camera_info_is_the_calibration_in_the_truth(drive, name):
    camera = drive.truth["cameras"][name]
    infos, images = drive.on(camera["info_topic"]), drive.on(camera["image_topic"])
    stamps = [image["stamp_ns"] for image in camera["images"]]
    assert [logged.stamp_ns for logged in infos] == [logged.stamp_ns for logged in images] == stamps
    for logged in infos:
        info = logged.message
        assert info.header.frame_id == camera["frame_id"] == images[0].message.header.frame_id
        assert info.distortion_model == camera["distortion_model"] == "plumb_bob"
        assert info.k.tolist() == camera["k"]
        assert info.d.tolist() == camera["d"]
        assert info.r.tolist() == np.eye(3).reshape(-1).tolist()
        np.testing.assert_array_equal(info.p.reshape(3, 4), np.hstack([info.k.reshape(3, 3), np.zeros((3, 1))]))
        assert (info.width, info.height) == (camera["width"], camera["height"]) == (640, 400)
        assert (info.binning_x, info.binning_y, info.roi.width, info.roi.do_rectify) == (0, 0, 0, False)


def test_raw_images_are_rgb8_without_padding_and_show_what_the_camera_takes(drive):
    for camera in cameras_of(drive.options):
        taken, messages = CameraImages(camera), drive.on(f"/camera/{camera.name}/image_raw")
        for index in (0, 13, 19):
            message = messages[index].message
            assert (message.encoding, message.step, message.is_bigendian) == ("rgb8", 3 * 640, 0)
            np.testing.assert_array_equal(message.data.reshape(400, 640, 3), taken.pixels(index))


def test_models_can_be_chosen_for_each_camera_and_each_bends_lines():
    cameras = truth_of(DriveOptions(seconds=0.1, points=100, cameras=3, camera_model=",".join(MODELS)))["cameras"]
    assert tuple(camera["distortion_model"] for camera in cameras.values()) == MODELS
    assert [len(camera["d"]) for camera in cameras.values()] == [5, 8, 4]
    assert all(np.abs(camera["d"]).min() > 0 for camera in cameras.values())
    assert len({tuple(camera["k"]) for camera in cameras.values()}) == 3


def test_images_change_only_once_the_vehicle_moves(drive):
    first, second, *_, last = (logged.message.data for logged in drive.on("/camera/front/image_raw"))
    np.testing.assert_array_equal(first, second)
    assert np.mean(np.abs(last.astype(int) - first)) > 5


def test_jpeg_images_are_the_raw_ones_compressed(tmp_path, read_drive):
    pictures = {}
    for kind in ("raw", "jpeg"):
        options = DriveOptions(seconds=0.3, points=100, cameras=1, image=kind)
        pictures[kind] = read_drive(write_demo_drive(tmp_path / kind, options), options)
    raw, jpeg = pictures["raw"], pictures["jpeg"]
    for one, other in zip(
        raw.on("/camera/front/image_raw"), jpeg.on("/camera/front/image_raw/compressed"), strict=True
    ):
        compressed = other.message
        assert compressed.format == "rgb8; jpeg compressed bgr8"
        assert compressed.data[:3].tobytes() == b"\xff\xd8\xff"
        decoded = cv2.cvtColor(cv2.imdecode(compressed.data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        difference = np.abs(decoded.astype(int) - one.message.data.reshape(600, 960, 3))
        assert difference.mean() < 2.0
        assert other.stamp_ns == one.stamp_ns


def test_all_six_cameras_look_in_different_directions(tmp_path, read_drive, rotations):
    options = DriveOptions(seconds=0.1, points=100, cameras=6, image_width=128, image_height=80)
    written = read_drive(write_demo_drive(tmp_path / "drive", options), options)
    names = ["front", "rear", "left", "right", "front_left", "front_right"]
    assert list(written.truth["cameras"]) == names
    forward = np.array([0.0, 0.0, 1.0])
    looks = [
        rotations.rotate(camera["base_from_camera"]["rotation_xyzw"], forward)
        for camera in written.truth["cameras"].values()
    ]
    bearings = np.degrees([np.arctan2(look[1], look[0]) for look in looks])
    off = (bearings - [0, 180, 90, -90, 48, -47] + 180) % 360 - 180
    assert np.abs(off).max() < 3
    assert all(len(written.on(f"/camera/{name}/image_raw/compressed")) == 1 for name in names)
    phases = [camera["images"][0]["stamp_ns"] - options.start_ns for camera in written.truth["cameras"].values()]
    assert all(0 < phase < 50_000_000 for phase in phases)
    assert np.diff(sorted(phases)).min() > 3_000_000
