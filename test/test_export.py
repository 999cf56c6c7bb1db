# SPDX-License-Identifier: Apache-2.0
"""Sealed scenes to another format and back: the same files as a conversion of the recording gives."""

from __future__ import annotations

import filecmp
import json
from dataclasses import replace
from pathlib import Path

import pytest
from drives import Drive, make_drive

from nucleus_bridge.cli.main import main
from nucleus_bridge.config import load_config
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.errors import InputError, SceneError, SceneExistsError
from nucleus_bridge.export import export_scene
from nucleus_bridge.spool import Manifest
from nucleus_bridge.testing.demo import DriveOptions

FUSION = ("sensor_fusion_json", "sensor_fusion_protobuf")
OPTIONS = DriveOptions(
    seconds=0.6,
    points=300,
    cameras=4,
    lidars=2,
    radars=1,
    image_width=160,
    image_height=100,
    camera_model="plumb_bob,rational_polynomial,equidistant,omnidirectional",
)
CHOICES = ["point_fields=[intensity,device,time]", "metadata.weather=rain", "cameras.rear.priority=3"]
PLAIN = [*CHOICES, "camera_names=[front,rear,left]", "radar_names=[]"]
"""What Nucleus scenes hold as well."""


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    return make_drive(tmp_path_factory.mktemp("export"), OPTIONS)


@pytest.fixture(scope="module")
def scenes(drive: Drive) -> dict[tuple[str, str], Path]:
    """Folders of the drive's scene by what was chosen and format."""
    made = {}
    for choice, overrides in (("plain", PLAIN), ("full", CHOICES)):
        for name in ("nucleus", *FUSION):
            spool = drive.bag.parent / choice / name
            (scene,) = convert_bag(drive.bag, load_config(drive.config_path, overrides), spool, format=name).scenes
            made[choice, name] = scene.folder
    return made


def differing(one: Path, other: Path) -> list[str]:
    files = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
    assert files == sorted(str(path.relative_to(other)) for path in other.rglob("*") if path.is_file())
    return [path for path in files if not filecmp.cmp(one / path, other / path, shallow=False)]


@pytest.mark.parametrize("name", FUSION)
def test_an_export_is_what_a_conversion_gives(scenes: dict[tuple[str, str], Path], tmp_path: Path, name: str) -> None:
    made = export_scene(scenes["plain", "nucleus"], name, tmp_path / "spool")
    assert differing(made.folder, scenes["plain", name]) == []
    from_json = export_scene(scenes["plain", "sensor_fusion_json"], "sensor_fusion_protobuf", tmp_path / "other")
    assert differing(from_json.folder, scenes["plain", "sensor_fusion_protobuf"]) == []


def test_back_and_forth_nothing_is_lost(scenes: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    for choice in ("plain", "full"):
        there = export_scene(scenes[choice, "nucleus"], "sensor_fusion_json", tmp_path / choice / "json")
        back = export_scene(there.folder, "nucleus", tmp_path / choice / "nucleus")
        assert differing(back.folder, scenes[choice, "nucleus"]) == []


def test_images_are_shared(scenes: dict[tuple[str, str], Path]) -> None:
    spool = scenes["plain", "nucleus"].parents[2] / "linked"
    made = export_scene(scenes["plain", "nucleus"], "sensor_fusion_json", spool)
    for path in made.folder.glob("*/*.jpg"):
        assert path.samefile(scenes["plain", "nucleus"] / path.relative_to(made.folder))


def test_images_are_copied_where_there_are_no_links(
    scenes: dict[tuple[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_paths: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", no_links)
    made = export_scene(scenes["plain", "nucleus"], "sensor_fusion_json", tmp_path / "spool")
    assert differing(made.folder, scenes["plain", "sensor_fusion_json"]) == []
    assert not (made.folder / "front/000000.jpg").samefile(scenes["plain", "nucleus"] / "front/000000.jpg")


def test_radar_points_that_a_nucleus_scene_only_counts_are_said_to_be_missing(
    scenes: dict[tuple[str, str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = scenes["full", "nucleus"]
    assert main(["export", str(source), "--format", "sensor_fusion_json", "--output", str(tmp_path)]) == 0
    said = capsys.readouterr()
    count = Manifest.read(source).sensors["front_radar"]["points"]
    assert f"warning: {count} radar detections of /radar/front/points" in said.err
    made = Manifest.read(tmp_path / "scenes" / source.name)
    assert made.losses["/radar/front/points"] == {"not_in_source": count}
    assert made.sensors["front_radar"]["points"] == 0
    assert source.name in said.out


def test_what_nucleus_cannot_hold_is_refused_by_name(
    drive: Drive, scenes: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="radar points, which a Nucleus scene cannot hold"):
        export_scene(scenes["full", "sensor_fusion_json"], "nucleus", tmp_path / "spool")
    config = load_config(drive.config_path, ["camera_names=[right]", "radar_names=[]"])
    (scene,) = convert_bag(drive.bag, config, tmp_path / "json", format="sensor_fusion_json").scenes
    with pytest.raises(InputError, match=r"right of .* is omnidirectional"):
        export_scene(scene.folder, "nucleus", tmp_path / "spool")
    for name in ("nucleus", "sensor_fusion_json"):
        with pytest.raises(InputError, match="32-bit floats"):
            export_scene(scenes["plain", "sensor_fusion_protobuf"], name, tmp_path / "spool")
    with pytest.raises(InputError, match="is nucleus already"):
        export_scene(scenes["plain", "nucleus"], "nucleus", tmp_path / "spool")
    assert list((tmp_path / "spool/scenes").iterdir()) == []
    assert list((tmp_path / "spool/open").iterdir()) == []


def test_one_spool_has_one_format_of_a_scene(scenes: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    source = scenes["plain", "nucleus"]
    first = export_scene(source, "sensor_fusion_json", tmp_path)
    assert not first.existed
    assert export_scene(source, "sensor_fusion_json", tmp_path).existed
    with pytest.raises(SceneExistsError, match=r"sensor_fusion_json.*sensor_fusion_protobuf.*spool of its own"):
        export_scene(source, "sensor_fusion_protobuf", tmp_path)
    assert export_scene(source, "sensor_fusion_protobuf", tmp_path, force=True).manifest.format == FUSION[1]


def copy_of(source: Path, folder: Path) -> Path:
    import shutil

    return Path(shutil.copytree(source, folder / source.name))


def test_what_would_be_lost_of_a_payload_is_refused(scenes: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    source = copy_of(scenes["plain", "nucleus"], tmp_path)
    payload = json.loads((source / "scene.json").read_text())

    def refused(changed: object, match: str) -> None:
        (source / "scene.json").write_text(json.dumps(changed))
        with pytest.raises(SceneError, match=match):
            export_scene(source, "sensor_fusion_json", tmp_path / "spool")

    refused({**payload, "tracks": []}, "tracks")
    first = payload["frames"][0]
    refused({**payload, "frames": [{**first, "front": {**first["front"], "width": 160}}]}, "frame 0 says more")
    refused({**payload, "frames": [{"lidar": first["front"]}]}, "front/000000.jpg")
    refused({**payload, "frames": [{"front": first["front"]}]}, "frame 0 is damaged")
    refused({**payload, "frames": 7}, "frames is missing")
    refused([payload], r"scene\.json")
    refused({**payload, "frames": [{**first, "lidar": {**first["lidar"], "url": "../../x"}}]}, "leads out")
    cloud = source / "lidar/000000.json"
    cloud.write_text(cloud.read_text().replace('"timestamp"', '"more":1,"timestamp"'))
    refused(payload, "more would be lost")
    cloud.write_text("{}")
    refused(payload, "list of points")
    cloud.unlink()
    refused(payload, "No such file")


def test_a_missing_image_is_an_error(scenes: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    source = copy_of(scenes["plain", "nucleus"], tmp_path)
    (source / "rear/000001.jpg").unlink()
    with pytest.raises(SceneError, match=r"rear/000001.jpg: is missing"):
        export_scene(source, "sensor_fusion_protobuf", tmp_path / "spool")
    manifest = Manifest.read(scenes["plain", "nucleus"])
    stray = replace(manifest.files[0], path="../../escape.jpg")
    (source / "manifest.json").write_bytes(replace(manifest, files=(stray,)).to_json())
    with pytest.raises(SceneError, match="not a path inside of the scene"):
        export_scene(source, "sensor_fusion_protobuf", tmp_path / "spool")


def test_wrong_arguments_are_told_in_one_line(
    scenes: dict[tuple[str, str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ["--format", "sensor_fusion_json", "--output", str(tmp_path / "spool")]
    assert main(["export", str(tmp_path), *wanted]) == 2
    assert "give a folder below SPOOL/scenes" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    taken = ["--format", "sensor_fusion_json", "--output", str(tmp_path / "file")]
    assert main(["export", str(scenes["plain", "nucleus"]), *taken]) == 2
    assert capsys.readouterr().err.count("\n") == 1
