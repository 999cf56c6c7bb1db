# SPDX-License-Identifier: Apache-2.0
"""What the person in the vehicle sees, over DDS: judged by the sealed scene, by OpenCV and by the drive's truth."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from drives import SHORT, Drive, make_drive

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("tf2_msgs", reason="needs tf2_msgs: nucleus-bridge ros-setup tf2_msgs")
import rclpy
from live_graph import HERE, RECORDER, Observer, observing, recorder, replay, wait_until
from nav_msgs.msg import Path as Track
from sensor_msgs.msg import CompressedImage, PointCloud2

from nucleus_bridge.pipeline.events import FrameReady, SceneEnded
from nucleus_bridge.ros.recorder import RecorderNode
from nucleus_bridge.ros.running import Stop
from nucleus_bridge.ros.view import View, overlay_topic

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def seen_drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    return make_drive(tmp_path_factory.mktemp("seen"), replace(SHORT, image_width=640, image_height=400))


class Viewer:
    """Keeps what comes on a topic, by stamp."""

    def __init__(self, observer: Observer, kind: Any, topic: str) -> None:
        self.messages: dict[int, Any] = {}
        self._node = observer.node
        self._subscription = observer.node.create_subscription(kind, topic.replace("~", RECORDER), self._take, 10)

    def _take(self, message: Any) -> None:
        self.messages[message.header.stamp.sec * 10**9 + message.header.stamp.nanosec] = message

    def close(self) -> None:
        self._node.destroy_subscription(self._subscription)


def scene_of(spool: Path) -> tuple[dict, dict, Path]:
    [folder] = spool.glob("scenes/*")
    return json.loads((folder / "scene.json").read_text()), json.loads((folder / "manifest.json").read_text()), folder


def points_of(folder: Path, number: int) -> np.ndarray:
    points = json.loads((folder / "top" / f"{number:06d}.json").read_text())["points"]
    return np.array([[point["x"], point["y"], point["z"]] for point in points])


def test_clouds_images_and_track_are_those_of_the_scene(seen_drive: Drive, tmp_path: Path) -> None:
    with observing() as observer:
        cloud, track = Viewer(observer, PointCloud2, "~/cloud"), Viewer(observer, Track, "~/trajectory")
        cameras = {n: Viewer(observer, CompressedImage, overlay_topic(n)) for n in ("front", "rear")}
        with recorder(seen_drive.config_path, tmp_path, "ros.view_hz:=20.0") as node:
            with replay(seen_drive.bag, seen_by=observer) as player:
                player.wait_for("done")
            wait_until(lambda: track.messages and all(one.messages for one in cameras.values()), "what is watched")
            assert node.end() == 0, node.output
            assert not [line for line in node.lines if "cannot be shown" in line]
    scene, manifest, folder = scene_of(tmp_path)
    offset = np.array([manifest["world_offset"][axis] for axis in "xyz"])
    stamps = [stamp["time_ns"] for stamp in manifest["stamps"]]
    assert len(cloud.messages) > 5
    for stamp_ns, message in list(cloud.messages.items())[-6:]:
        assert message.header.frame_id == "map"
        rows = np.frombuffer(message.data, np.dtype([(field.name, "<f4") for field in message.fields]))
        found = np.stack([rows["x"], rows["y"], rows["z"]], axis=1) - offset
        np.testing.assert_allclose(found, points_of(folder, stamps.index(stamp_ns)), atol=1e-3)
    truth = {sweep["stamp_ns"]: sweep["map_from_base_link"] for sweep in seen_drive.truth["lidars"]["top"]["sweeps"]}
    last = track.messages[max(track.messages)]
    assert len(last.poses) > 2
    for pose in last.poses:
        place = truth[pose.header.stamp.sec * 10**9 + pose.header.stamp.nanosec]["translation"]
        assert [getattr(pose.pose.position, axis) for axis in "xyz"] == pytest.approx(place, abs=0.01)
    for name, viewer in cameras.items():
        assert viewer.messages
        for stamp_ns, message in viewer.messages.items():
            assert_points_are_drawn_on(message, name, stamp_ns, scene, folder)


def assert_points_are_drawn_on(message: Any, camera: str, stamp_ns: int, scene: dict, folder: Path) -> None:
    number, item = next(
        (number, item)
        for number, frame in enumerate(scene["frames"])
        for name, item in frame.items()
        if name == camera and int(item["metadata"]["camera_params"].get("timestamp", stamp_ns)) == stamp_ns
    )
    params = item["metadata"]["camera_params"]
    drawn = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR).astype(int)
    plain = cv2.imread(str(folder / camera / f"{number:06d}.jpg")).astype(int)
    assert drawn.shape == plain.shape
    turn = rotation(params["heading"])
    local = (points_of(folder, number) - [params["position"][axis] for axis in "xyz"]) @ turn
    height, width = plain.shape[:2]
    widest = 0.6 * np.hypot(width, height) / params["fx"]  # beyond it OpenCV's polynomial turns back into the image
    local = local[(local[:, 2] > 0.5) & (np.hypot(local[:, 0], local[:, 1]) < widest * local[:, 2])]
    matrix = np.array([[params["fx"], 0, params["cx"]], [0, params["fy"], params["cy"]], [0, 0, 1]])
    lens = np.array([params.get(name, 0.0) for name in ("k1", "k2", "p1", "p2", "k3")])
    pixels = cv2.projectPoints(local[:, None], np.zeros(3), np.zeros(3), matrix, lens)[0].reshape(-1, 2)
    inside = ((pixels > 2) & (pixels < [width - 3, height - 3])).all(axis=1)
    columns, rows = np.rint(pixels[inside]).astype(int).T
    is_near = local[inside, 2] < 15  # far points are blue, as the sky is
    assert len(rows) > 200
    change = np.abs(drawn - plain).max(axis=2)
    around = cv2.dilate(change.astype(np.uint8), np.ones((3, 3), np.uint8))
    assert (around[rows, columns][is_near] > 15).mean() > 0.95
    near = np.zeros(change.shape, np.uint8)
    near[rows, columns] = 1
    far = cv2.dilate(near, np.ones((9, 9), np.uint8)) == 0
    assert (change[far] > 30).mean() < 0.02


def rotation(heading: dict[str, float]) -> np.ndarray:
    x, y, z, w = (heading[axis] for axis in "xyzw")
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


@pytest.fixture
def node() -> Iterator[Any]:
    context = rclpy.Context()
    rclpy.init(context=context)
    made = rclpy.create_node("view", context=context)
    yield made
    made.destroy_node()
    rclpy.shutdown(context=context)


def frame_at(number: int, x: float = 0.0) -> FrameReady:
    pose = SimpleNamespace(translation=np.array([x, 0.0, 0.0]), rotation_xyzw=np.array([0.0, 0.0, 0.0, 1.0]))
    frame = SimpleNamespace(timestamp_ns=number, world_from_device=pose, images=(), sweeps=())
    return FrameReady(number, frame)  # type: ignore[arg-type]


def test_nobody_listening_costs_nothing(node: Any, seen_drive: Drive) -> None:
    view = View(node, seen_drive.config, pytest.fail)
    view.look()
    view.take(frame_at(1))
    assert view._thread is None
    assert view._newest is None
    assert not view._track
    view.close()


def test_a_frame_waits_for_none_and_the_newest_is_shown(node: Any, seen_drive: Drive) -> None:
    """While one frame is rendered others come: they take each other's place, and ``take`` returns at once."""
    came: list[Track] = []
    node.create_subscription(Track, "~/trajectory", came.append, 100)
    view = View(node, seen_drive.config, pytest.fail)
    view.view_hz = 0.5
    wait_until(lambda: view.look() or view._watched, "the subscription")

    def spun() -> list[Track]:
        rclpy.spin_once(node, executor=executor, timeout_sec=0.05)
        return came

    executor = rclpy.executors.SingleThreadedExecutor(context=node.context)
    view.take(frame_at(1, x=1.0))
    wait_until(lambda: len(spun()) == 1, "the first frame")
    for number in range(2, 50):
        view.take(frame_at(number, x=float(number)))
    view.take(frame_at(50, x=49.1))  # a step too small for the track
    wait_until(lambda: len(spun()) == 2, "the newest frame")
    assert [pose.pose.position.x for pose in came[1].poses] == [float(x) for x in range(1, 50)]
    view.take(SceneEnded("pose_jump", {}, {}, {}))
    view.take(frame_at(60, x=0.0))
    wait_until(lambda: len(spun()) == 3, "the frame after the jump")
    assert [pose.pose.position.x for pose in came[2].poses] == [0.0]
    view.close()
    executor.shutdown()


def test_what_cannot_be_shown_is_warned_of_and_the_rest_is_shown(node: Any, seen_drive: Drive) -> None:
    warned: list[str] = []
    node.create_subscription(PointCloud2, "~/cloud", lambda _: None, 100)
    node.create_subscription(Track, "~/trajectory", lambda _: None, 100)
    view = View(node, seen_drive.config, warned.append)
    wait_until(lambda: view.look() or len(view._watched) == 2, "the subscriptions")
    view.take(frame_at(1))
    wait_until(lambda: warned, "the warning")
    assert warned[0].startswith("the cloud cannot be shown: ")
    view.close()


IMAGE, CLOUD, TRACK = "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/PointCloud2", "nav_msgs/msg/Path"
REPORT, PAIR = "diagnostic_msgs/msg/DiagnosticArray", "diagnostic_msgs/msg/KeyValue"
Shown = set[tuple[str, str]]


def in_rviz(text: str) -> tuple[Shown, set[str]]:
    kinds = {"PointCloud2": CLOUD, "Path": TRACK, "Image": IMAGE}
    displays = [one for one in yaml.safe_load(text)["Visualization Manager"]["Displays"] if "Topic" in one]
    plugins = {one["Class"].split("/")[0] for one in displays}
    assert plugins == {"rviz_default_plugins"}
    return {(one["Topic"]["Value"], kinds[one["Class"].split("/")[1]]) for one in displays}, set()


def in_foxglove(text: str) -> tuple[Shown, set[str]]:
    layout = json.loads(text)
    shown: Shown = set()
    services: set[str] = set()
    kinds = {"point": CLOUD, "line": TRACK}
    for name, panel in layout["configById"].items():
        kind = name.split("!")[0]
        if kind == "3D":
            shown |= {
                (topic, kinds["line" if "lineWidth" in one else "point"]) for topic, one in panel["topics"].items()
            }
        elif kind == "Image":
            shown.add((panel["imageMode"]["imageTopic"], IMAGE))
        elif kind == "CallService":
            services.add(panel["serviceName"])
        else:
            shown.add(
                {
                    "DiagnosticSummary": (panel.get("topicToRender"), REPORT),
                    "RawMessages": (panel.get("topicPath"), PAIR),
                }[kind]
            )
    places, panels = [layout["layout"]], set()
    while places:
        place = places.pop()
        if isinstance(place, str):
            panels.add(place)
        else:
            assert place["direction"] in ("row", "column")
            places += [place["first"], place["second"]]
    assert panels == layout["configById"].keys()
    return shown, services


def in_rqt(text: str) -> tuple[Shown, set[str]]:
    manager = json.loads(text)["groups"]["pluginmanager"]
    running = ast.literal_eval(manager["keys"]["running-plugins"]["repr"])
    groups = {f"plugin__{name.replace('/', '__')}__{number}" for name, numbers in running.items() for number in numbers}
    assert groups == manager["groups"].keys()
    shown: Shown = {("/diagnostics", REPORT)} if "rqt_robot_monitor/RobotMonitor" in running else set()
    services = set()
    for group in manager["groups"].values():
        keys = group["groups"].get("plugin", {"keys": {}})["keys"]
        given = {name: ast.literal_eval(one["repr"]) for name, one in keys.items()}
        shown |= {(topic, IMAGE) for name, topic in given.items() if name == "topic"}
        services |= {service for name, service in given.items() if name == "current_service_name"}
    return shown, services


VIEWS = {"nucleus_bridge.rviz": in_rviz, "foxglove_layout.json": in_foxglove, "nucleus_bridge.perspective": in_rqt}


@pytest.mark.parametrize("name", VIEWS)
def test_the_views_that_are_installed_show_what_is_published(name: str, node: Any, seen_drive: Drive) -> None:
    """Each topic with its type, each service with its name; the panels are those of the layout."""
    given = ["--ros-args", "--params-file", str(seen_drive.config_path)]
    own = RecorderNode(Stop(), context=node.context, cli_args=given)
    view = View(own, seen_drive.config, pytest.fail)
    of_node = own.get_name(), own.get_namespace()
    shown, called = VIEWS[name]((HERE.parent.parent / "config" / name).read_text())
    assert shown >= {(f"{RECORDER}/overlay/{camera}/compressed", IMAGE) for camera in ("front", "rear")}

    def missing() -> set[object]:
        published = {(topic, *types) for topic, types in own.get_publisher_names_and_types_by_node(*of_node)}
        services = {service for service, _ in own.get_service_names_and_types_by_node(*of_node)}
        return (shown - published) | (called - services)

    wait_until(lambda: not missing(), "all that is shown", lambda: str(missing()))
    view.close()
    own.close()
    own.destroy_node()
    assert called or name.endswith(".rviz")


def test_topics_of_cameras_have_names_that_ros_takes() -> None:
    assert overlay_topic("front-left_2") == "~/overlay/front_left_2/compressed"
