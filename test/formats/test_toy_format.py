# SPDX-License-Identifier: Apache-2.0
"""A format that only this test knows takes part in everything: one object in the registry, and nothing else."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from drives import Drive, make_drive
from kitti_like import KittiLike

from nucleus_bridge.cli.main import main
from nucleus_bridge.config import Config, load_config
from nucleus_bridge.convert import ConversionReport, convert_bag
from nucleus_bridge.errors import ConfigError, InputError
from nucleus_bridge.export import export_scene
from nucleus_bridge.formats import registry
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.spool import Manifest
from nucleus_bridge.testing.demo import DriveOptions
from nucleus_bridge.validate.scenes import validate_path

TOY = KittiLike()
OPTIONS = DriveOptions(
    seconds=0.6,
    points=600,
    cameras=2,
    lidars=2,
    radars=1,
    image_width=160,
    image_height=100,
    camera_model="plumb_bob,equidistant",
)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    return make_drive(tmp_path_factory.mktemp("toy"), OPTIONS)


@pytest.fixture(autouse=True, scope="module")
def known() -> Iterator[None]:
    with registry.added(TOY):
        yield


def toy_config(drive: Drive, *overrides: str) -> Config:
    return load_config(drive.config_path, [f"scene.format={TOY.name}", *overrides])


@pytest.fixture(scope="module")
def made(drive: Drive, known: None) -> ConversionReport:
    return convert_bag(drive.bag, toy_config(drive, "metadata.weather=rain"), drive.bag.parent / "spool")


@pytest.fixture(scope="module")
def nucleus(drive: Drive, known: None) -> ConversionReport:
    return convert_bag(drive.bag, drive.config, drive.bag.parent / "nucleus")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_recording_is_converted_and_images_that_the_format_cannot_describe_are_rectified(
    made: ConversionReport, nucleus: ConversionReport
) -> None:
    (scene,) = made.scenes
    assert scene.manifest.format == TOY.name
    assert (scene.manifest.frames, scene.manifest.items) == (6, 18)
    assert scene.manifest.metadata == {"weather": "rain"}
    assert not (scene.folder / "scene.json").exists()
    assert {path.partition("/")[0] for path in files(scene.folder)} == {
        *("velodyne", "image_front", "image_rear", "poses.txt", "calib.txt", "manifest.json")
    }
    reader, other = open_scene(scene.folder), open_scene(nucleus.scenes[0].folder)
    assert list(reader.cameras) == list(other.cameras) == ["front", "rear"]
    for index in range(6):
        frame, wanted = reader.frame(index), other.frame(index)
        assert np.abs(frame.points.xyz - wanted.points.xyz).max() < 6e-4  # rounded there, 32-bit floats here
        assert np.abs(frame.position - wanted.position).max() < 1e-6
        assert frame.timestamp_ns == wanted.timestamp_ns
        for image in frame.images:
            assert not any(image.model.distortion.values())
            assert cv2.imdecode(np.frombuffer(reader.image(image), np.uint8), cv2.IMREAD_COLOR).shape == (100, 160, 3)


def test_any_number_of_workers_writes_the_same(drive: Drive, made: ConversionReport, tmp_path: Path) -> None:
    config = toy_config(drive, "metadata.weather=rain")
    (scene,) = convert_bag(drive.bag, config, tmp_path / "spool", workers=2).scenes
    assert files(scene.folder) == files(made.scenes[0].folder)


def test_it_is_checked_by_its_own_rules_and_by_those_of_all_scenes(made: ConversionReport, tmp_path: Path) -> None:
    folder = made.scenes[0].folder
    (report,) = validate_path(folder)
    assert report.ok
    assert {rule.rule for rule in report.rules} > {"velodyne-whole", "poses-counted", "checksums", "manifest-fields"}
    damaged = Path(shutil.copytree(folder, tmp_path / folder.name))
    cloud = damaged / "velodyne/000003.bin"
    cloud.write_bytes(cloud.read_bytes()[:-5])
    (report,) = validate_path(damaged)
    assert {rule.rule for rule in report.rules if not rule.ok} == {"velodyne-whole", "file-sizes"}


def test_it_has_a_review_page(made: ConversionReport, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert main(["preview", str(made.scenes[0].folder), "-o", str(path)]) == 0
    text = path.read_text()
    data = text[text.index('<script type="application/json"') :]
    page = json.loads(data[data.index(">") + 1 : data.index("</script>")])
    assert page["cameras"] == ["front", "rear"]
    assert [len(frame["images"]) for frame in page["frames"]] == [2] * 6
    assert sum(frame["points"] for frame in page["frames"]) == made.scenes[0].manifest.points


def test_it_is_in_the_catalogue_with_its_track(made: ConversionReport, tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    assert main(["catalogue", str(made.scenes[0].folder.parent.parent), "-o", str(path)]) == 0
    with closing(sqlite3.connect(path)) as database:
        ((kind, frames, metres),) = database.execute("SELECT format, frames, distance_m FROM scenes").fetchall()
    track = np.array([open_scene(made.scenes[0].folder).frame(index).position for index in range(6)])
    assert (kind, frames) == (TOY.name, 6)
    assert metres == pytest.approx(np.linalg.norm(np.diff(track, axis=0), axis=1).sum())


def test_scenes_are_exported_to_it_and_refused_by_name_where_something_would_be_lost(
    drive: Drive, nucleus: ConversionReport, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="which a KITTI-like scene cannot say"):
        export_scene(nucleus.scenes[0].folder, TOY.name, tmp_path / "spool")
    plain = load_config(drive.config_path, ["cameras.front.rectify=always", "camera_names=[front]"])
    (source,) = convert_bag(drive.bag, plain, tmp_path / "plain").scenes
    made = export_scene(source.folder, TOY.name, tmp_path / "spool")
    (report,) = validate_path(made.folder)
    assert report.ok
    image = "image_front/000002.jpg"
    assert (made.folder / image).samefile(source.folder / "front/000002.jpg")
    reader, original = open_scene(made.folder), open_scene(source.folder)
    assert np.abs(reader.frame(2).points.xyz - original.frame(2).points.xyz).max() < 1e-4
    fusion = convert_bag(drive.bag, plain, tmp_path / "fusion", format="sensor_fusion_json").scenes[0]
    with pytest.raises(InputError, match="radar points, which a KITTI-like scene cannot hold"):
        export_scene(fusion.folder, TOY.name, tmp_path / "other")


def test_it_is_exported_to_other_formats_unless_it_says_what_they_would_miss(
    made: ConversionReport, tmp_path: Path
) -> None:
    (scene,) = made.scenes
    other = export_scene(scene.folder, "nucleus", tmp_path / "nucleus")
    (report,) = validate_path(other.folder)
    assert report.ok, [rule for rule in report.rules if not rule.ok]
    assert (other.folder / "front/000000.jpg").is_file()
    assert json.loads((other.folder / "scene.json").read_text())["metadata"] == {"weather": "rain"}
    with registry.added(KittiLike(loses="there is no GPS")), pytest.raises(InputError, match="there is no GPS"):
        export_scene(scene.folder, "nucleus", tmp_path / "refused")


@pytest.mark.parametrize("task", [False, True])
def test_no_upload_takes_it_and_says_so_before_anything_is_sent(
    made: ConversionReport, tmp_path: Path, capsys: pytest.CaptureFixture[str], task: bool
) -> None:
    spool = shutil.copytree(made.scenes[0].folder.parent.parent, tmp_path / "spool")
    template = tmp_path / "task.yaml"
    template.write_text("project: p\ninstruction: x\nlabels: [car]\n")
    where = ["--task", str(template)] if task else ["--dataset", "d"]
    assert main(["upload", str(spool), "--store", "s3://bucket/drives", "--dry-run", *where]) == 2
    said = capsys.readouterr().err
    assert f"{made.scenes[0].manifest.reference_id}: is a scene of format {TOY.name}, which no upload takes" in said


def test_without_it_its_scenes_and_its_name_are_refused_with_the_known_ones(
    drive: Drive, made: ConversionReport, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = made.scenes[0].folder
    assert Manifest.read(folder).format == TOY.name
    before = dict(registry._FORMATS)
    del registry._FORMATS[TOY.name]
    try:
        with pytest.raises(ConfigError, match=r"must be one of nucleus, .* not 'kitti_like'"):
            toy_config(drive)
        (report,) = validate_path(folder)
        assert {rule.rule for rule in report.rules if not rule.ok} == {"format-known"}
        assert main(["preview", str(folder), "-o", str(tmp_path / "x.html")]) == 2
        assert "'kitti_like' is not known" in capsys.readouterr().err
    finally:
        registry._FORMATS.update(before)
