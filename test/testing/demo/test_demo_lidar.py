# SPDX-License-Identifier: Apache-2.0
"""Every point of every driver's cloud, moved by the true pose at its own time, lies on what the truth says is there."""

from __future__ import annotations

import numpy as np
import pytest

from nucleus_bridge.testing.demo import DriveOptions, true_poses, write_demo_drive

KINDS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 8: "<f8"}
SECOND_NS = 1_000_000_000
DRIVERS = ("velodyne", "ouster", "hesai", "robosense", "livox", "autoware")
AUTOWARE_FIELDS = (
    "x:7@0 y:7@4 z:7@8 intensity:2@12 return_type:2@13 channel:4@14 "
    "azimuth:7@16 elevation:7@20 distance:7@24 time_stamp:6@28"
)
WIRE_FORMATS = {
    "velodyne": (22, "x:7@0 y:7@4 z:7@8 intensity:7@12 ring:4@16 time:7@18"),
    "ouster": (48, "x:7@0 y:7@4 z:7@8 intensity:7@16 t:6@20 reflectivity:4@24 ring:4@26 ambient:4@28 range:6@32"),
    "hesai": (48, "x:7@0 y:7@4 z:7@8 intensity:7@16 timestamp:8@24 ring:4@32"),
    "robosense": (26, "x:7@0 y:7@4 z:7@8 intensity:7@12 ring:4@16 timestamp:8@18"),
    "livox": (26, "x:7@0 y:7@4 z:7@8 intensity:7@12 tag:2@16 line:2@17 timestamp:8@18"),
    "autoware": (32, AUTOWARE_FIELDS),
}


def points_of(cloud):
    dtype = np.dtype(
        {
            "names": [field.name for field in cloud.fields],
            "formats": [KINDS[field.datatype] for field in cloud.fields],
            "offsets": [field.offset for field in cloud.fields],
            "itemsize": cloud.point_step,
        }
    )
    assert cloud.row_step == cloud.width * cloud.point_step
    return np.frombuffer(cloud.data.tobytes(), dtype).reshape(cloud.height, cloud.width)


def times_ns(points, stamp_ns):
    """Return when each point was measured, as the field's driver documents it, rounded to nanoseconds."""
    if "time" in points.dtype.names:
        return stamp_ns + np.rint(points["time"].astype(float) * 1e9).astype(np.int64)
    for name in ("t", "time_stamp"):
        if name in points.dtype.names:
            return stamp_ns + points[name].astype(np.int64)
    stored = points["timestamp"]
    if stored.max() > 1e17:
        return stored.astype(np.int64)
    whole = np.floor(stored)
    return whole.astype(np.int64) * SECOND_NS + np.rint((stored - whole) * 1e9).astype(np.int64)


def lidar_poses(rotations, drive, lidar, stamps):
    base, mount = true_poses(drive.options, stamps), lidar["base_from_lidar"]
    move = base.translation + rotations.rotate(base.rotation_xyzw, np.array(mount["translation"]))
    return move, rotations.chain(base.rotation_xyzw, np.array(mount["rotation_xyzw"]))


def in_map(rotations, drive, lidar, points, stamps):
    move, turn = lidar_poses(rotations, drive, lidar, stamps)
    return move + rotations.rotate(turn, np.stack([points[axis] for axis in "xyz"], axis=-1).astype(float))


def local(place, box):
    cos, sin = np.cos(box["yaw"]), np.sin(box["yaw"])
    east, north = place[:, 0] - box["x"], place[:, 1] - box["y"]
    return (
        np.abs(
            [
                (cos * east + sin * north),
                (cos * north - sin * east),
                place[:, 2] - box["height"] / 2,
            ]
        ).T
        - np.array([box["length"], box["width"], box["height"]]) / 2
    )


def signed_distances(truth, places):
    """Return each place's distance to each surface, negative inside: ground first, then poles, then boxes and walls."""
    distances = [places[:, 2] - truth["ground"]["z"]]
    for pole in truth["poles"]:
        side = np.hypot(places[:, 0] - pole["x"], places[:, 1] - pole["y"]) - pole["radius"]
        end = np.maximum(-places[:, 2], places[:, 2] - pole["height"])
        distances.append(np.where(end <= 1e-4, side, np.hypot(np.maximum(side, 0), end)))
    for box in (*truth["boxes"], *truth["walls"]):
        beyond = local(places, box)
        outside = np.linalg.norm(np.maximum(beyond, 0), axis=1)
        distances.append(outside + np.minimum(beyond.max(axis=1), 0))
    return np.array(distances)


@pytest.fixture(scope="module", params=DRIVERS)
def driven(request, tmp_path_factory, read_drive):
    """Return a drive in each driver's layout, fast and turning in its last second."""
    options = DriveOptions(seconds=5.0, standing_s=0.0, points=3_000, cameras=0, driver=request.param, lidars=2)
    return read_drive(write_demo_drive(tmp_path_factory.mktemp(request.param) / "drive", options), options)


def returned(cloud):
    points = points_of(cloud).reshape(-1)
    return points[np.isfinite(points["x"]) & ((points["x"] != 0) | (points["y"] != 0) | (points["z"] != 0))]


def test_fields_are_laid_out_as_the_driver_does(driven):
    step, fields = WIRE_FORMATS[driven.options.driver]
    cloud = driven.on("/lidar/top/points")[0].message
    assert " ".join(f"{field.name}:{field.datatype}@{field.offset}" for field in cloud.fields) == fields
    assert cloud.point_step == step
    assert all(field.count == 1 for field in cloud.fields)


def test_points_lie_on_surfaces_at_their_own_time(driven, rotations):
    for lidar in driven.truth["lidars"].values():
        for logged in driven.on(lidar["topic"])[-9::4]:
            points = returned(logged.message)
            places = in_map(rotations, driven, lidar, points, times_ns(points, logged.stamp_ns))
            assert np.abs(signed_distances(driven.truth, places)).min(axis=0).max() < 1e-4


def test_lost_returns_look_as_the_driver_leaves_them(driven):
    cloud = driven.on("/lidar/left/points")[-1].message
    points, lost = points_of(cloud), {"ouster": 0.0, "robosense": np.nan}.get(driven.options.driver)
    rings, columns = 16, 188
    if lost is None:
        assert cloud.height == 1
        assert 0.5 * rings * columns < points.size < rings * columns
        assert cloud.is_dense
    else:
        assert points.shape == ((rings, columns) if lost == 0.0 else (columns, rings))
        missing = np.isclose(points["x"], lost, rtol=0, atol=0, equal_nan=True)
        assert 0 < missing.sum() < 0.5 * points.size
        for axis in "yz":
            assert np.isclose(points[axis][missing], lost, rtol=0, atol=0, equal_nan=True).all()
        assert cloud.is_dense is (lost == 0.0)


def test_points_are_fired_in_order_over_the_whole_sweep(driven):
    for lidar in driven.truth["lidars"].values():
        for logged, sweep in zip(driven.on(lidar["topic"]), lidar["sweeps"], strict=True):
            assert logged.stamp_ns == sweep["stamp_ns"]
            cloud = logged.message
            points = points_of(cloud)
            fired = times_ns(points, logged.stamp_ns)
            in_order = fired.T.reshape(-1) if driven.options.driver == "ouster" else fired.reshape(-1)
            assert np.all(np.diff(in_order) >= 0)
            assert abs(int(fired.min()) - sweep["stamp_ns"]) < 2_000_000
            assert abs(int(fired.max()) - sweep["end_ns"]) < 2_000_000
            assert sweep["end_ns"] < sweep["stamp_ns"] + 100_000_000
            assert cloud.header.frame_id == lidar["frame_id"]


def test_derived_fields_agree_with_the_coordinates(driven):
    points = returned(driven.on("/lidar/top/points")[4].message)
    x, y, z = (points[axis].astype(float) for axis in "xyz")
    distance = np.sqrt(x * x + y * y + z * z)
    intensity = points["reflectivity" if driven.options.driver == "ouster" else "intensity"]
    assert 10 < intensity.min() < intensity.max() <= 255
    ring = points[next(name for name in ("ring", "line", "channel") if name in points.dtype.names)].astype(int)
    elevation = np.arcsin(z / distance)
    levels = np.array([np.median(elevation[ring == number]) for number in range(16)])
    assert np.all(np.diff(levels) > 0.01)
    np.testing.assert_allclose(elevation, levels[ring], atol=1e-4)
    if driven.options.driver == "ouster":
        np.testing.assert_allclose(points["range"], distance * 1000, atol=1.0)
    if driven.options.driver == "autoware":
        np.testing.assert_allclose(points["distance"], distance, rtol=1e-6)
        np.testing.assert_allclose(points["elevation"], elevation, atol=1e-4)
        off = (points["azimuth"] - np.arctan2(y, x) + np.pi) % (2 * np.pi) - np.pi
        assert np.abs(off).max() < 1e-4


def test_rays_stop_at_the_first_surface_in_their_way(drive, rotations):
    chance, lidar = np.random.default_rng(5), drive.truth["lidars"]["top"]
    for logged in drive.on(lidar["topic"])[::9]:
        points = chance.choice(returned(logged.message), 60, replace=False)
        fired = times_ns(points, logged.stamp_ns)
        origin = lidar_poses(rotations, drive, lidar, fired)[0]
        ray = in_map(rotations, drive, lidar, points, fired) - origin
        length = np.linalg.norm(ray, axis=1, keepdims=True)
        part = np.linspace(0.0, 1.0, 400)[:, None, None] * (1 - 0.01 / length)
        assert signed_distances(drive.truth, (origin + part * ray).reshape(-1, 3)).min() > 0.0


def test_every_kind_of_surface_is_seen(drive, rotations):
    lidar, seen = drive.truth["lidars"]["top"], set()
    kinds = ["ground", *["pole"] * len(drive.truth["poles"])]
    kinds += [box["kind"] for box in (*drive.truth["boxes"], *drive.truth["walls"])]
    for logged in drive.on(lidar["topic"])[::5]:
        points = returned(logged.message)
        places = in_map(rotations, drive, lidar, points, times_ns(points, logged.stamp_ns))
        nearest = np.abs(signed_distances(drive.truth, places)).argmin(axis=0)
        seen |= {kinds[index] for index in np.unique(nearest)}
    assert seen == {"ground", "pole", "building", "van", "crate", "wall"}


def test_sweeps_of_a_moving_lidar_are_distorted_and_those_of_a_standing_one_are_not(drive, rotations):
    lidar = drive.truth["lidars"]["top"]
    largest = []
    for logged in (drive.on(lidar["topic"])[0], drive.on(lidar["topic"])[-1]):
        points = returned(logged.message)
        at_stamp = np.full(len(points), logged.stamp_ns)
        distances = signed_distances(drive.truth, in_map(rotations, drive, lidar, points, at_stamp))
        largest.append(np.abs(distances).min(axis=0).max())
    assert largest[0] < 1e-3
    assert largest[1] > 0.3


def test_range_noise_is_what_was_asked_for(tmp_path, read_drive, rotations):
    options = DriveOptions(seconds=0.3, points=20_000, cameras=0, range_noise_m=0.05)
    noisy = read_drive(write_demo_drive(tmp_path / "noisy", options), options)
    clean_options = DriveOptions(seconds=0.3, points=20_000, cameras=0)
    clean = read_drive(write_demo_drive(tmp_path / "clean", clean_options), clean_options)
    for one, other in zip(noisy.on("/lidar/top/points"), clean.on("/lidar/top/points"), strict=True):
        lengths = [np.linalg.norm([returned(each.message)[axis] for axis in "xyz"], axis=0) for each in (one, other)]
        error = lengths[0] - lengths[1]
        assert abs(error.mean()) < 0.002
        assert abs(error.std() - 0.05) < 0.002


@pytest.mark.parametrize(("points", "rings"), [(30_000, 32), (130_000, 64), (200_000, 128)])
def test_sweeps_scale_to_the_chosen_number_of_points(points, rings, tmp_path, read_drive):
    options = DriveOptions(seconds=0.1, points=points, cameras=0)
    written = read_drive(write_demo_drive(tmp_path / "drive", options), options)
    cloud = points_of(written.on("/lidar/top/points")[0].message)
    assert 0.9 * points < cloud.size <= 1.01 * points
    assert set(np.unique(cloud["ring"])) == set(range(rings))
