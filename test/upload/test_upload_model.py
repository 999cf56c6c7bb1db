# SPDX-License-Identifier: Apache-2.0
"""Whatever happens to a spool, several destinations and their stores, no scene is lost.

A model of what each destination holds is kept beside the real thing: real HTTP, real processes' leases, kills at any
named step. After each step: a scene that is not in the spool any more is held, complete, by the destination that it was
deleted for; nothing that is done is held twice, and nothing is done that is not held.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from upload_scenes import KEY, file_receiver, scene_name, seal_scene
from upload_scenes import settings as upload_settings

from nucleus_bridge.errors import BridgeError, RejectedError
from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.leases import Leases
from nucleus_bridge.spool.state import SceneState, StateBook
from nucleus_bridge.testing.receiver import Receiver
from nucleus_bridge.upload.nucleus.client import NucleusClient
from nucleus_bridge.upload.retry import Retry
from nucleus_bridge.upload.uploader import Uploader

PLACES = ("rehearsal", "real", "other")
SCENES = 3
STEPS = ("claimed", "file_sent", "before_stored", "scenes_put", "job_started", "job_ended", "before_done", "after_done")


class Killed(BaseException):
    """As hard as a kill can be within one process: nothing in between catches it."""


class Uploads(RuleBasedStateMachine):
    """One spool, three receivers with a store each."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="upload-model-"))
        self.spool = self.root / "spool"
        self.receivers: dict[str, Receiver] = {}
        self.deleted_for: dict[str, set[str]] = {}

    @initialize()
    def begin(self) -> None:
        for place in PLACES:
            receiver = file_receiver(self.root / f"{place}-kept", self.root / f"{place}-objects")
            self.receivers[place] = receiver.start()
        Spool(self.spool).create()

    def teardown(self) -> None:
        for receiver in self.receivers.values():
            receiver.stop()
        shutil.rmtree(self.root, ignore_errors=True)

    # what may happen

    @rule(number=st.integers(0, SCENES - 1), salt=st.integers(0, 1))
    def record(self, number: int, salt: int) -> None:
        """A scene is converted, or converted again with other content."""
        seal_scene(self.spool, number, frames=1, salt=salt, replace=True)
        self.deleted_for.pop(scene_name(number), None)

    @rule(place=st.sampled_from(PLACES), delete=st.booleans(), update=st.booleans(), again=st.booleans())
    def upload(self, place: str, delete: bool, update: bool, again: bool) -> None:
        self.run(place, delete=delete, update=update, again=again)

    @rule(place=st.sampled_from(PLACES), delete=st.booleans(), step=st.sampled_from(STEPS), times=st.integers(1, 3))
    def upload_and_be_killed(self, place: str, delete: bool, step: str, times: int) -> None:
        left = [times]

        def die(name: str) -> None:
            if name == step:
                left[0] -= 1
                if left[0] <= 0:
                    raise Killed

        with ExitStack() as patches:
            for module in ("spool.state", "upload.scene_files", "upload.nucleus.submission"):
                patches.enter_context(mock.patch(f"nucleus_bridge.{module}.failpoint", die))
            self.run(place, delete=delete)

    @rule(place=st.sampled_from(PLACES), number=st.integers(0, SCENES - 1))
    def somebody_deletes_at_the_service(self, place: str, number: int) -> None:
        client, dataset_id = self.client(place)
        if dataset_id is not None:
            client.delete_scene(dataset_id, scene_name(number))
            if scene_name(number) in self.deleted_for:
                self.deleted_for[scene_name(number)].discard(place)
                if not self.deleted_for[scene_name(number)]:
                    del self.deleted_for[scene_name(number)]  # a person removed the last copy

    @rule(place=st.sampled_from(PLACES), number=st.integers(0, SCENES - 1))
    def somebody_deletes_in_the_store(self, place: str, number: int) -> None:
        name = scene_name(number)
        if place not in self.deleted_for.get(name, ()):  # else a person removed the last copy
            shutil.rmtree(self.root / f"{place}-objects" / name, ignore_errors=True)

    @rule(place=st.sampled_from(PLACES), number=st.integers(0, SCENES - 1))
    def somebody_edits_the_metadata(self, place: str, number: int) -> None:
        client, dataset_id = self.client(place)
        if dataset_id is not None and scene_name(number) in client.scene_references(dataset_id):
            entry = {"reference_id": scene_name(number), "metadata": {"vehicle": "edited"}}
            client.merge_metadata(dataset_id, "scene", [entry])

    @rule(number=st.integers(0, SCENES - 1))
    def another_process_holds_a_scene(self, number: int) -> None:
        other = Leases(Spool(self.spool))
        other.start()
        try:
            other.take(scene_name(number))
            self.run("real", delete=True)
        finally:
            other.close()

    @rule(number=st.integers(0, SCENES - 1))
    def states_are_lost(self, number: int) -> None:
        (self.spool / "state" / f"{scene_name(number)}.json").unlink(missing_ok=True)

    @rule(number=st.integers(0, SCENES - 1))
    def a_state_is_of_an_older_release(self, number: int) -> None:
        path = self.spool / "state" / f"{scene_name(number)}.json"
        if path.is_file():
            document = json.loads(path.read_text())
            for key in ("endpoint", "elsewhere", "project", "template", "dataset_name"):
                document.pop(key, None)
            path.write_text(json.dumps(document))

    # what must hold

    @invariant()
    def what_is_gone_was_held_when_it_was_deleted(self) -> None:
        for name, places in self.deleted_for.items():
            assert any(self.is_held(place, name) for place in places), f"{name} is lost"

    @invariant()
    def no_dataset_holds_a_scene_twice(self) -> None:
        for place in self.receivers:
            _, dataset_id = self.client(place)
            if dataset_id is not None:
                rows = Counter(scene["reference_id"] for scene in self.receivers[place].scenes(dataset_id))
                assert not [name for name, count in rows.items() if count > 1]

    # how

    def run(self, place: str, *, delete: bool, update: bool = False, again: bool = False) -> None:
        """Upload, and note which scenes left the spool: at that very moment the destination must hold them."""
        before = self.in_spool()
        options: dict[str, Any] = {"delete_after": delete, "update": update, "poll_interval_s": 0.05}
        options |= {"timeout_s": 20.0, "job_timeout_s": 20.0, "dataset_name": "drives"}
        store = f"file://{self.root / f'{place}-objects'}"
        chosen = upload_settings(self.receivers[place], store, **options)
        retry = Retry(give_up_after_s=20.0, random=lambda: 0.05)
        uploader = Uploader(self.spool, chosen, key=KEY, retry=retry, lease_s=0.0, retry_quarantined=again)
        try:
            uploader.run()
        except (Killed, BridgeError) as error:
            note(f"{place}: {type(error).__name__}: {error}")
        uploader._leases.close()  # as the end of a process would
        for name in before - self.in_spool():
            assert delete, f"{name} vanished although nothing was to be deleted"
            assert self.is_held(place, name), f"{name} was deleted and {place} does not hold it"
            self.deleted_for.setdefault(name, set()).add(place)
        for record in StateBook(Spool(self.spool), uploader._destination.key).all():
            if record.state is SceneState.DONE and uploader._destination.key.dataset_id:
                self.done_is_listed(place, record.reference_id)

    def done_is_listed(self, place: str, name: str) -> None:
        """A note may be overtaken by people at the service, not by an upload that just ended; so only report it."""
        if not self.is_held(place, name):
            note(f"{name} is noted as done at {place}, where somebody deleted it")

    def in_spool(self) -> set[str]:
        spool = Spool(self.spool)
        aside = {entry.name.partition("~")[0] for entry in spool.quarantine_dir.glob("*")}
        return {folder.name for folder in spool.scenes()} | aside

    def client(self, place: str) -> tuple[NucleusClient, str | None]:
        client = NucleusClient(self.receivers[place].url, KEY)
        return client, client.find_dataset("drives")

    def is_held(self, place: str, name: str) -> bool:
        """Whether dataset and store hold every frame and every file of a scene."""
        client, dataset_id = self.client(place)
        if dataset_id is None:
            return False
        try:
            scene = client.get_scene(dataset_id, name)
        except RejectedError:
            return False
        urls = [item.get("pointcloud_url") or item["image_url"] for frame in scene["frames"] for item in frame.values()]
        return len(urls) == 2 and all(os.path.isfile(url.removeprefix("file://")) for url in urls)  # noqa: PTH113


def examples(count: int) -> settings:
    return settings(
        max_examples=count,
        stateful_step_count=8,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nucleus_bridge.upload.uploader.SCENES_AT_ONCE", 2)
    monkeypatch.setattr("nucleus_bridge.upload.uploader.STOP_S", 0.5)


def test_no_scene_is_lost_whatever_happens_to_spool_and_destinations() -> None:
    run_state_machine_as_test(Uploads, settings=examples(6))


@pytest.mark.slow
def test_no_scene_is_lost_in_many_runs() -> None:
    run_state_machine_as_test(Uploads, settings=examples(int(os.environ.get("NUCLEUS_BRIDGE_MODEL_RUNS", "2000"))))
