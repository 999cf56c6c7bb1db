# SPDX-License-Identifier: Apache-2.0
"""A converted drive at a receiver, in a dataset with the true boxes as annotations and in one without."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from drives import Drive

from nucleus_bridge.cli.main import main
from nucleus_bridge.convert import ConversionReport

sys.path.append(str(Path(__file__).parent))

from label_cases import KEY, Held

from nucleus_bridge.testing.receiver import Receiver, SceneRules, resolvers_from_mappings
from nucleus_bridge.testing.receiver.ground_truth import annotate_spool, boxes_of_drive

MODELS = count()


@pytest.fixture(scope="session")
def receiver(
    drive: Drive, converted: ConversionReport, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Receiver, list[str]]]:
    """A receiver with both datasets, and the options that lead there."""
    folder = tmp_path_factory.mktemp("labels")
    spool = str(converted.scenes[0].folder.parent.parent)
    store = folder / "store"
    store.mkdir()
    resolvers = resolvers_from_mappings([f"file://{store}={store}"])
    options = ["--store", f"file://{store}", "--set", "upload.poll_interval_s=0.05"]
    rules = SceneRules(extra_url_schemes=("file",))
    with Receiver(folder / "received", resolvers=resolvers, rules=rules) as started:
        with pytest.MonkeyPatch.context() as patch:
            _point_to(patch, started)
            for dataset in ("town", "labelled"):
                assert main(["upload", spool, "--dataset", dataset, *options]) == 0
        annotate_spool(started.url, KEY, "labelled", Path(spool), boxes_of_drive(drive.truth))
        yield started, options


def _point_to(patch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    patch.setenv("NUCLEUS_ENDPOINT", receiver.url)
    patch.setenv("NUCLEUS_API_KEY", KEY)


def _held(drive: Drive, converted: ConversionReport, receiver: tuple[Receiver, list[str]], dataset: str) -> Held:
    lidar = next(iter(drive.truth["lidars"].values()))
    stamps = [int(sweep["stamp_ns"]) for sweep in lidar["sweeps"]]
    spool = converted.scenes[0].folder.parent.parent
    options = ["--dataset", dataset, *receiver[1]]
    return Held(spool, boxes_of_drive(drive.truth), stamps, options, receiver[0], f"net-{next(MODELS)}")


@pytest.fixture
def uploaded(
    drive: Drive,
    converted: ConversionReport,
    receiver: tuple[Receiver, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> Held:
    """The drive's scenes at the receiver, without labels, and the name of a model of the test's own."""
    _point_to(monkeypatch, receiver[0])
    return _held(drive, converted, receiver, "town")


@pytest.fixture
def held(
    drive: Drive,
    converted: ConversionReport,
    receiver: tuple[Receiver, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> Held:
    """The same with the true boxes as annotations of every cloud."""
    _point_to(monkeypatch, receiver[0])
    return _held(drive, converted, receiver, "labelled")
