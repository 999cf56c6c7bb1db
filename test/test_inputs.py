# SPDX-License-Identifier: Apache-2.0
"""One drive recorded in many forms gives the same scenes, whatever the workers, the chunks and the place it starts."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from sample_config import CONFIG

from nucleus_bridge.archive.chunks import NotDivisibleError, chunks_of, whole_events
from nucleus_bridge.config import Config, load_config
from nucleus_bridge.convert import ConversionReport, convert_bag
from nucleus_bridge.decode.video import COMPRESSED_IMAGE, COMPRESSED_VIDEO, FFMPEG_PACKET
from nucleus_bridge.recordings import open_recording
from nucleus_bridge.render import SceneRecorder
from nucleus_bridge.render.workers import InlineExecutor
from nucleus_bridge.replay import primed_pipeline
from nucleus_bridge.spool import Spool

MADE = Path(os.environ.get("NUCLEUS_BRIDGE_TEST_DATA", "/nowhere"), "inputs", "made")
pytestmark = pytest.mark.skipif(not MADE.exists(), reason="NUCLEUS_BRIDGE_TEST_DATA is not set")
VIDEO_DEFINITIONS = {
    COMPRESSED_VIDEO: "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n",
    FFMPEG_PACKET: "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\nuint8 flags\n"
    "bool is_bigendian\nuint8[] data\n",
}
VIDEO = {
    "video_foxglove": ("video", ("front", "rear")),
    "video_ffmpeg": ("ffmpeg", ("front", "rear")),
}


def config(
    folder: Path,
    lidar: str = "/lidar/top/points",
    suffix: str = "",
    cameras: tuple[str, ...] = (),
    further: tuple[str, ...] = (),
) -> Config:
    path = folder / "config.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    changes = [f"lidars.top.topic={lidar}", f"camera_names=[{', '.join(cameras)}]"]
    changes += [f"cameras.{name}.image_topic=/camera/{name}/image_raw/{suffix}" for name in cameras]
    return load_config(path, [*changes, *further])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the scene of the plain recording."""
    folder = tmp_path_factory.mktemp("plain")
    report = convert_bag(
        MADE / "base", config(folder, suffix="compressed", cameras=("front", "rear")), folder / "spool"
    )
    return _scene(report)


def _scene(report: ConversionReport) -> Path:
    assert len(report.scenes) == 1
    return report.scenes[0].folder


def _json(path: Path) -> dict[str, object]:
    content = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize("name", VIDEO)
def test_videos_give_the_frames_and_poses_of_the_jpegs(tmp_path: Path, plain: Path, name: str) -> None:
    suffix, cameras = VIDEO[name]
    report = convert_bag(MADE / name, config(tmp_path, suffix=suffix, cameras=cameras), tmp_path / "spool")
    scene = _scene(report)
    assert report.losses == {}
    frames, true = (_json(folder / "scene.json")["frames"] for folder in (scene, plain))
    for frame, true_frame in zip(frames, true, strict=True):  # type: ignore[arg-type]
        for camera in cameras:
            assert frame[camera]["metadata"]["camera_params"] == true_frame[camera]["metadata"]["camera_params"]
    for path in sorted(scene.glob("top/*.json")):
        assert path.read_bytes() == (plain / "top" / path.name).read_bytes()
    for camera in cameras:
        for path in sorted(scene.glob(f"{camera}/*.jpg")):
            picture, truth = (cv2.imread(str(file)) for file in (path, plain / camera / path.name))
            assert np.abs(picture.astype(float) - truth).mean() < 5


def _contents(spool: Path) -> dict[str, bytes]:
    return {str(path.relative_to(spool)): path.read_bytes() for path in sorted(spool.glob("scenes/*/**/*.*"))}


@pytest.mark.parametrize("name", VIDEO)
def test_workers_and_chunks_change_nothing(tmp_path: Path, name: str) -> None:
    suffix, cameras = VIDEO[name]
    wanted = config(tmp_path, suffix=suffix, cameras=cameras, further=("scene.max_frames=6",))
    convert_bag(MADE / name, wanted, tmp_path / "one")
    convert_bag(MADE / name, wanted, tmp_path / "two", workers=2)
    in_chunks = _in_chunks(MADE / name, wanted, tmp_path / "chunks")
    assert _contents(tmp_path / "one") == _contents(tmp_path / "two") == in_chunks != {}


def _in_chunks(bag: Path, wanted: Config, folder: Path) -> dict[str, bytes]:
    spool = Spool(folder)
    spool.create()
    with open_recording(bag) as recording:
        for chunk in list(chunks_of(recording, primed_pipeline(recording, wanted), 1)):
            recorder = SceneRecorder(wanted, spool, InlineExecutor())
            for event in whole_events(chunk, recording, wanted):
                recorder.handle([event])
            recorder.finish()
    return _contents(folder)


def test_a_recording_that_begins_between_key_pictures_loses_nothing_by_fault(tmp_path: Path) -> None:
    topics = {"/camera/front/image_raw/video": 3, "/camera/rear/image_raw/video": 7}
    _copy_without_first(MADE / "video_foxglove", tmp_path / "bag", topics)
    wanted = config(tmp_path, suffix="video", cameras=("front", "rear"))
    report = convert_bag(tmp_path / "bag", wanted, tmp_path / "spool")
    assert report.losses == {name: {"before_keyframe": 10 - count} for name, count in topics.items()}
    assert report.complete


def test_a_packet_that_was_lost_is_a_fault(tmp_path: Path) -> None:
    _copy_without_first(MADE / "video_foxglove", tmp_path / "bag", {"/camera/front/image_raw/video": 1}, skip_from=13)
    wanted = config(tmp_path, suffix="video", cameras=("front",))
    report = convert_bag(tmp_path / "bag", wanted, tmp_path / "spool")
    assert report.losses == {"/camera/front/image_raw/video": {"broken_gop": 6}}
    assert not report.complete


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("type_name", [COMPRESSED_VIDEO, FFMPEG_PACKET, COMPRESSED_IMAGE])
def test_pictures_that_build_on_later_ones_find_their_frames(
    tmp_path: Path, plain: Path, codec: str, type_name: str
) -> None:
    """Their messages come in the order of decoding: stamps go back without a step of the clock."""
    bag = _with_b_pictures(tmp_path / "bag", codec, type_name)
    wanted = config(tmp_path, suffix="video", cameras=("front",), further=("scene.max_frames=6",))
    report = convert_bag(bag, wanted, tmp_path / "spool", workers=2)
    assert report.losses == {}
    pictures = sorted(tmp_path.glob("spool/scenes/*/front/*.jpg"))
    truth = sorted(plain.glob("front/*.jpg"))
    assert len(pictures) == len(truth) == 22
    for picture, true in zip(pictures, truth, strict=True):
        assert cv2.PSNR(cv2.imread(str(picture)), cv2.imread(str(true))) > 30
    with pytest.raises(NotDivisibleError):  # so that an archive converts it whole
        _in_chunks(bag, wanted, tmp_path / "chunks")


def _with_b_pictures(target: Path, codec: str, type_name: str) -> Path:
    """Write the drive with the pictures of one camera as a video with three B pictures in a row."""
    topic, encoder = "/camera/front/image_raw/compressed", {"h264": "libx264", "hevc": "libx265"}[codec]
    types = get_typestore(Stores.ROS2_JAZZY)
    for name, definition in VIDEO_DEFINITIONS.items():
        types.register(get_types_from_msg(definition, name))
    with open_recording(MADE / "base") as recording:
        images = list(recording.messages([topic]))
        others = list(recording.messages([known.name for known in recording.topics if "/image_raw" not in known.name]))
    headers = [types.deserialize_cdr(image.data, COMPRESSED_IMAGE).header for image in images]
    packets = _encoded(encoder, [types.deserialize_cdr(image.data, COMPRESSED_IMAGE).data for image in images])
    assert [packet.pts for packet in packets] != sorted(packet.pts for packet in packets) == list(range(len(images)))
    with Writer(target, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {
            name: writer.add_connection(name, kind, typestore=types)
            for name, kind in {(message.topic, message.type_name) for message in others}
        }
        for message in others:
            writer.write(connections[message.topic], message.log_ns, message.data)
        video = writer.add_connection("/camera/front/image_raw/video", type_name, typestore=types)
        for number, (packet, image) in enumerate(zip(packets, images, strict=True)):
            header, data = headers[packet.pts], np.frombuffer(bytes(packet), np.uint8)
            fields = {
                COMPRESSED_VIDEO: {"timestamp": header.stamp, "frame_id": header.frame_id, "format": codec},
                FFMPEG_PACKET: {
                    "header": header,
                    "width": 400,
                    "height": 256,
                    "encoding": encoder,
                    "pts": number,
                    "flags": 0,
                    "is_bigendian": False,
                },
                COMPRESSED_IMAGE: {"header": header, "format": codec},
            }
            content = types.types[type_name](data=data, **fields[type_name])
            writer.write(video, image.log_ns, types.serialize_cdr(content, type_name))
    return target


def _encoded(encoder: str, jpegs: list[np.ndarray]) -> list[av.Packet]:
    context = av.CodecContext.create(encoder, "w")
    context.width, context.height, context.pix_fmt = 400, 256, "yuv420p"
    context.time_base, context.gop_size, context.max_b_frames = Fraction(1, 10), 10, 3
    context.options = {"preset": "fast", "crf": "15"}
    if encoder == "libx265":
        context.options |= {"x265-params": "log-level=none:bframes=3:b-adapt=0:keyint=10:repeat-headers=1"}
    packets = []
    for number, jpeg in enumerate(jpegs):
        frame = av.VideoFrame.from_ndarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), format="bgr24")
        frame.pts = number
        packets += context.encode(frame)
    return [*packets, *context.encode(None)]


def _copy_without_first(source: Path, target: Path, left_out: dict[str, int], skip_from: int = 0) -> None:
    types = get_typestore(Stores.ROS2_JAZZY)
    with open_recording(source) as recording, Writer(target, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        known = {topic.name: topic for topic in recording.topics}
        connections, seen = {}, dict.fromkeys(known, 0)
        for message in recording.messages(list(known)):
            number, seen[message.topic] = seen[message.topic], seen[message.topic] + 1
            if skip_from <= number < skip_from + left_out.get(message.topic, 0):
                continue
            if message.topic not in connections:
                kind = (
                    {"typestore": types}
                    if message.type_name in types.types
                    else {"msgdef": known[message.topic].definition, "rihs01": "RIHS01_0"}
                )
                connections[message.topic] = writer.add_connection(message.topic, message.type_name, **kind)
            writer.write(connections[message.topic], message.log_ns, message.data)


def test_livox_messages_give_the_points_of_the_clouds(tmp_path: Path, plain: Path) -> None:
    report = convert_bag(MADE / "livox_custommsg", config(tmp_path, "/livox/lidar"), tmp_path / "spool")
    assert report.losses == {"/livox/lidar": {"zero_points": 250}}
    paths = sorted(_scene(report).glob("top/*.json"))
    assert len(paths) == 22
    for path in paths:
        points, truth = (_points(file) for file in (path, plain / "top" / path.name))
        assert np.abs(points - truth).max() < 0.0011


@pytest.mark.parametrize(("form", "tolerance_m"), [("zlib", 0.0), ("zstd", 0.0), ("draco", 0.0), ("cloudini", 0.0016)])
def test_compressed_clouds_give_the_points_of_the_clouds(
    tmp_path: Path, plain: Path, form: str, tolerance_m: float
) -> None:
    wanted = config(tmp_path, f"/lidar/top/points/{form}")
    report = convert_bag(MADE / "clouds_compressed", wanted, tmp_path / "spool")
    assert report.losses == {}
    paths = sorted(_scene(report).glob("top/*.json"))
    assert len(paths) == 5
    for path in paths:
        points, truth = (_points(file) for file in (path, plain / "top" / path.name))
        assert np.abs(points - truth).max() <= tolerance_m


def _points(path: Path) -> np.ndarray:
    points = _json(path)["points"]
    assert isinstance(points, list)
    return np.array([[point[axis] for axis in "xyz"] for point in points])
