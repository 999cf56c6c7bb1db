# SPDX-License-Identifier: Apache-2.0
"""The service's own client, in an environment of its own, reads our scenes and gives the same payload back."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from drives import Drive

from nucleus_bridge.config import config_from_values
from nucleus_bridge.convert import ConversionReport, convert_bag

READ_AND_GIVE_BACK = """
import json, sys
from nucleus import LidarScene
for path in sys.argv[1:]:
    payload = json.load(open(path))
    scene = LidarScene.from_json(payload)
    scene.validate()
    print(json.dumps(scene.to_payload()))
"""

SAMPLE = {
    "lidar_names": ["lidar"],
    "lidars.lidar.topic": "/lidar/points",
    "camera_names": ["front", "front_left", "back"],
    **{f"cameras.{c}.image_topic": f"/camera/{c}/image_raw/compressed" for c in ("front", "front_left", "back")},
    **{f"cameras.{c}.info_topic": f"/camera/{c}/camera_info" for c in ("front", "front_left", "back")},
    "metadata.weather": "dry",
}


def given_back(python: Path, scene: Path) -> dict:
    run = subprocess.run(
        [str(python), "-c", READ_AND_GIVE_BACK, str(scene)], capture_output=True, text=True, check=False, timeout=300
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def with_urls(scene: Path, target: Path, base: str) -> Path:
    """Give the items URLs as an upload does."""
    payload = json.loads(scene.read_text())
    for frame in payload["frames"]:
        for item in frame.values():
            item["url"] = f"{base}/{payload['reference_id']}/{item['url']}"
    target.write_text(json.dumps(payload))
    return target


@pytest.mark.parametrize("base", ["s3://bucket/drives", "https://example.org/drives"])
def test_the_demo_drive_comes_back_as_it_went(
    client_python: Path, converted: ConversionReport, drive: Drive, tmp_path: Path, base: str
) -> None:
    scene = with_urls(converted.scenes[0].folder / "scene.json", tmp_path / "scene.json", base)
    assert given_back(client_python, scene) == json.loads(scene.read_text())


def test_the_sealed_file_itself_is_read_by_the_client(client_python: Path, converted: ConversionReport) -> None:
    scene = converted.scenes[0].folder / "scene.json"
    assert given_back(client_python, scene) == json.loads(scene.read_text())


def test_scales_sample_scene_comes_back_as_it_went(client_python: Path, real_data: Path, tmp_path: Path) -> None:
    report = convert_bag(real_data / "scale_sample", config_from_values(SAMPLE), tmp_path / "spool")
    assert report.complete
    assert [(scene.manifest.frames, scene.manifest.items) for scene in report.scenes] == [(5, 20)]
    scene = report.scenes[0].folder / "scene.json"
    payload = json.loads(scene.read_text())
    assert payload["metadata"] == {"weather": "dry"}
    assert given_back(client_python, scene) == payload


def test_intensity_of_the_sample_scene_is_brought_to_one(real_data: Path, tmp_path: Path) -> None:
    report = convert_bag(real_data / "scale_sample", config_from_values(SAMPLE), tmp_path / "spool")
    cloud = json.loads((report.scenes[0].folder / "lidar" / "000000.json").read_text())
    intensities = [point["i"] for point in cloud["points"]]
    assert 0.9 < max(intensities) <= 1.0
    assert min(intensities) >= 0.0
    assert len({round(value * 255) for value in intensities}) > 100


def test_ouster_without_a_pose_names_what_is_missing_and_with_its_own_frame_it_converts(
    real_data: Path, tmp_path: Path
) -> None:
    values = {"lidar_names": ["os1"], "lidars.os1.topic": "/os1_cloud_node/points"}
    from nucleus_bridge.errors import InputError

    with pytest.raises(InputError) as caught:
        convert_bag(real_data / "ouster_os1", config_from_values(values), tmp_path / "spool")
    for text in ("'map'", "'base_link'", "os1_lidar", "os1_sensor", "os1_imu"):
        assert text in str(caught.value)
    here = config_from_values({**values, "world_frame": "os1_lidar", "device_frame": "os1_lidar"})
    report = convert_bag(real_data / "ouster_os1", here, tmp_path / "spool")
    assert report.complete
    losses = report.scenes[0].manifest.losses["/os1_cloud_node/points"]
    assert losses["zero_points"] + report.scenes[0].manifest.points == 2 * 64 * 2048
    assert losses["zero_points"] > 0.6 * 2 * 64 * 2048
