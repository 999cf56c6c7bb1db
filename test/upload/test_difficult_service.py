# SPDX-License-Identifier: Apache-2.0
"""A table of difficult answers: what the user sees, where each scene stands, that nothing is lost, and how it ends."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from difficult_service import DifficultService, Rule
from upload_scenes import KEY, assert_whole, held_scenes, records, scene_name, seal_scenes, settings

from nucleus_bridge.errors import AuthError, JobCancelledError, UploadError
from nucleus_bridge.spool.state import StateRecord
from nucleus_bridge.testing.receiver import Receiver
from nucleus_bridge.upload.observer import UploadObserver
from nucleus_bridge.upload.retry import Retry
from nucleus_bridge.upload.uploader import Uploader

FIRST, SECOND = scene_name(0), scene_name(1)
SUBMIT, LOOK, LIST, SHOW = r"POST .*/upload_scenes", r"GET .*/job/[^/]+$", r"GET .*/scenes_list", r"GET .*/scene/"
ERRORS, PUT, SIGN = r"GET .*/job/[^/]+/errors", r"PUT /put/", r"GET .*/signedUrl/"
HTML = b"<html><body>Log in to the hotel's network</body></html>"


@dataclass(frozen=True)
class Row:
    """One answer of the service and what must come of it.

    Attributes:
        name: Of the case.
        rules: What the service does.
        says: What the user must read, in an error, a scene's line or a note.
        states: Of the two scenes, in their order.
        raises: What ends the run, if it does not end by itself.
        submissions: How often scenes were submitted; None for any number.
        options: Settings that differ.
        either: Whether it may be the other scene, too: the one that is stored first is submitted first.
    """

    name: str
    rules: list[Rule]
    says: str
    states: tuple[str, str]
    raises: type[Exception] | None = None
    submissions: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    either: bool = False


def job(status: str, message: Any = None, errors: list[str] | None = None) -> list[Rule]:
    """A job that is taken, does nothing and ends, or does not end, as told."""
    started = {"job_id": "job_x", "job_last_known_status": "Running", "job_type": "uploadLidarScene"}
    looked: dict[str, Any] = {"job_id": "job_x", "status": status}
    if message is not None:
        looked["message"] = message
    return [
        Rule(SUBMIT, 200, {**started, "job_creation_time": "2026-01-01T00:00:00.000Z"}),
        Rule(ERRORS, 200, errors or []),
        Rule(LOOK, 200, looked),
    ]


def ended(status: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A job that has done its work is said to have ended otherwise."""
    return lambda answer: {**answer, "status": status if answer["status"] == "Completed" else answer["status"]}


def shown(change: Callable[[dict[str, Any]], Any], match: str = SHOW) -> list[Rule]:
    """The service shows the first scene otherwise than it was submitted."""

    def changed(scene: dict[str, Any]) -> dict[str, Any]:
        if scene.get("reference_id") != FIRST:
            return scene
        scene = copy.deepcopy(scene)
        found = change(scene)
        return scene if found is None else found

    return [Rule(match, change=changed)]


def every_url(scene: dict[str, Any], make: Callable[[str], str]) -> None:
    for frame in scene["frames"]:
        for item in frame.values():
            for key in ("pointcloud_url", "image_url"):
                if key in item:
                    item[key] = make(item[key])


NAMES_ITEM = f"{FIRST}-front-000001"
OK = ("done", "done")
STAY = ("stored", "stored")
ROWS = [
    # how jobs end
    Row("completed and nothing there", job("Completed"), "ended as Completed without this scene", ("failed", "failed")),
    Row(
        "completed with an error for each scene",
        [*job("Completed", errors=[f"scene {FIRST}: cannot read s3://b/x", f"scene {SECOND}: cannot read s3://b/x"])],
        "2 scenes failed alike and none was taken; they are left as they are: scene .*: cannot read s3://b/x",
        STAY,
        UploadError,
    ),
    Row(
        "an error names an item alone",
        [Rule(ERRORS, 200, [f"item {NAMES_ITEM} is not an image"])],
        "is not an image",
        ("quarantined", "done"),
    ),
    Row(
        "an error is JSON in text",
        [Rule(ERRORS, 200, ['{"item":{"referenceId":"%s"},"error":"too large"}' % NAMES_ITEM])],  # noqa: UP031
        "too large",
        ("quarantined", "done"),
    ),
    Row(
        "an error names a URL of the scene",
        [Rule(ERRORS, 200, [f"https://h/p/{FIRST}/front/000000.jpg: HTTP 403"])],
        "HTTP 403",
        ("quarantined", "done"),
    ),
    Row(
        "errored partially",
        [Rule(LOOK, change=ended("Errored_Partial")), Rule(ERRORS, 200, [f"{FIRST}: half of it"])],
        "half of it",
        ("quarantined", "done"),
    ),
    Row(
        "errored partially without a word",
        [Rule(LOOK, change=ended("Errored_Partial"))],
        "Errored_Partial",
        OK,
    ),
    Row(
        "errored by the user",
        job("Errored_User", {"final_error": "no such project"}),
        "no such project",
        STAY,
        UploadError,
    ),
    Row(
        "errored by the server",
        job("Errored_Server", "out of memory"),
        "Errored_Server: out of memory",
        ("failed", "failed"),
        submissions=6,
    ),
    Row("hanging", job("Errored_Hanging"), "Errored_Hanging", ("failed", "failed"), submissions=6),
    Row("errored in the old form", job("Errored", {"errors": ["bad luck"]}), "Errored: bad luck", ("failed", "failed")),
    Row(
        "errored in a new form",
        job("Errored_Quota", "2 TB are used"),
        "Errored_Quota: 2 TB are used",
        STAY,
        UploadError,
    ),
    Row(
        "cancelled",
        job("Cancelled"),
        "job_x was Cancelled; nothing more is submitted",
        ("failed", "stored"),
        JobCancelledError,
        1,
        either=True,
    ),
    Row("retried forever", job("Retried"), "still Retried after", ("failed", "failed"), submissions=2),
    Row("queued forever", job("Queued"), "still Queued after", ("failed", "failed"), submissions=2),
    Row("running forever", job("Running", {"progress": "50 %"}), "still Running: 50 % after", ("failed", "failed")),
    Row(
        "a status nobody knows",
        job("Paused", "ask your admin"),
        "job job_x is Paused: ask your admin",
        ("failed", "failed"),
    ),
    Row("retried, then well", [Rule(LOOK, change=lambda a: {**a, "status": "Retried"}, times=2)], "is Retried", OK),
    Row(
        "cancelled when all was done",
        [Rule(LOOK, change=ended("Cancelled"))],
        "Cancelled",
        ("done", "stored"),
        JobCancelledError,
        either=True,
    ),
    Row(
        "a job that is lost",
        [*job("Running")[:2], Rule(LOOK, 404, {"error": "no job"})],
        "unknown to the service",
        ("failed", "failed"),
    ),
    Row(
        "the status of another job",
        [Rule(LOOK, change=lambda a: {**a, "job_id": "job_y"})],
        "not what was asked for",
        ("failed", "failed"),
    ),
    Row("a status that is not text", [Rule(LOOK, 200, {"status": 7})], "not what was asked for", ("failed", "failed")),
    Row(
        "no status, but errors of the server",
        [Rule(LOOK, 500, {"error": "oops"})],
        "HTTP 500.*oops",
        ("failed", "failed"),
    ),
    Row("job errors cannot be had", [Rule(ERRORS, 404)], "", OK),
    # statuses
    Row("400 for every scene", [Rule(SUBMIT, 400, {"error": "no lidar here"})], "no lidar here", STAY, UploadError),
    Row(
        "402",
        [Rule(SUBMIT, 402, {"error": "not paid"})],
        "every scene is left as it is.*402.*not paid",
        STAY,
        UploadError,
        1,
    ),
    Row("401 in mid upload", [Rule(SUBMIT, 401, {"error": "who?"})], "NUCLEUS_API_KEY", STAY, AuthError),
    Row("403 in mid upload", [Rule(SIGN, 403, {"error": "not yours"})], "refused.*not yours", STAY, AuthError),
    Row("the dataset is gone", [Rule(SIGN, 404, {"error": "gone"})], "is not there any more", STAY, UploadError),
    Row("409", [Rule(SUBMIT, 409, {"error": "clash"})], "clash", STAY, UploadError),
    Row("413 for the scenes", [Rule(PUT, 413)], "HTTP 413", STAY, UploadError),
    Row("422", [Rule(SUBMIT, 422, {"error": "frames"})], "frames", STAY, UploadError),
    Row("429 once", [Rule(SUBMIT, 429, {}, {"Retry-After": "0"}, times=1)], "", OK),
    Row("500 forever", [Rule(SUBMIT, 500, {"error": "down"})], "HTTP 500.*down.*given up", ("failed", "failed")),
    Row("502 and HTML", [Rule(LIST, 502, HTML, times=2)], "", OK),
    Row("503 forever", [Rule(SIGN, 503)], "HTTP 503", ("failed", "failed")),
    Row("504 after all was done", [Rule(SUBMIT, 504, how="after", times=1)], "", OK),
    Row("an expired signed URL", [Rule(PUT, 403, b"<Error><Code>AccessDenied</Code></Error>", times=1)], "", OK),
    # redirects
    Row(
        "301",
        [Rule(SUBMIT, 301, b"", {"Location": "https://new.example/v1?secret=1"})],
        "redirects to https://new.example/v1; set",
        STAY,
        UploadError,
    ),
    Row(
        "a redirect to itself",
        [Rule(SIGN, 302, b"", {"Location": "signedUrl"})],
        "redirects to signedUrl",
        STAY,
        UploadError,
    ),
    Row("307 without aim", [Rule(LIST, 307)], "redirects to nowhere", STAY, UploadError),
    # what is not an answer
    Row("HTML with status 200", [Rule(LIST, 200, HTML)], "is not JSON", ("failed", "failed")),
    Row("nothing with status 200", [Rule(SUBMIT, 200, b"")], "is not JSON", ("failed", "failed")),
    Row("an empty list", [Rule(SIGN, 200, [])], "not what was asked for", ("failed", "failed")),
    Row(
        "a signed URL that is none",
        [Rule(SIGN, 200, {"signed_url": "/etc/passwd"})],
        "not what was asked for",
        ("failed", "failed"),
    ),
    Row("mute", [Rule(SUBMIT, 1, how="mute")], "no (whole )?answer", ("failed", "failed")),
    Row("mute while the job is followed", [Rule(LOOK, 1, how="mute")], "no (whole )?answer", ("failed", "failed")),
    Row("dribble", [Rule(LIST, how="dribble")], "no whole answer", ("failed", "failed")),
    Row("cut", [Rule(LIST, how="cut", times=2)], "", OK),
    Row(
        "cut forever",
        [Rule(SHOW, how="cut")],
        "connection to [^ ]+ failed or broke|ChunkedEncoding|no JSON",
        ("failed", "failed"),
    ),
    Row("reset", [Rule(PUT, 1, how="reset", times=2)], "", OK),
    # what the dataset holds
    Row(
        "a list of other ids",
        [Rule(LIST, 200, {"scenes": [{"id": "scn_1"}]})],
        "not what was asked for",
        ("failed", "failed"),
    ),
    Row(
        "another scene is shown",
        [Rule(SHOW, change=lambda a: {**a, "reference_id": "other"})],
        "not what was asked for",
        ("failed", "failed"),
    ),
    Row(
        "listed and not shown",
        [Rule(rf"{SHOW}{re.escape(FIRST)}", 404)],
        "lists the scene and does not show it",
        ("failed", "done"),
    ),
    Row(
        "a frame is missing",
        shown(lambda s: s.update(frames=s["frames"][:1])),
        "incomplete: 2 of 4 items",
        ("failed", "done"),
    ),
    Row(
        "an image is missing",
        shown(lambda s: s["frames"].__setitem__(0, {"lidar": s["frames"][0]["lidar"]})),
        "incomplete: 1 of 4 items",
        ("failed", "done"),
    ),
    Row(
        "other items are shown",
        shown(lambda s: s["frames"][1]["front"].update(reference_id="x")),
        "frames or items differ",
        ("conflict", "done"),
    ),
    Row(
        "other content",
        shown(lambda s: s["metadata"].update(scene_content="0" * 64)),
        "other clouds or images",
        ("conflict", "done"),
    ),
    Row(
        "items at another place",
        shown(lambda s: every_url(s, lambda url: url.replace("objects", "elsewhere"))),
        "at another place",
        ("conflict", "done"),
    ),
    Row(
        "other metadata",
        shown(lambda s: s["metadata"].update(vehicle="v2")),
        "other metadata .vehicle.*--update",
        ("differs", "done"),
    ),
    Row(
        "another camera",
        shown(lambda s: s["frames"][0]["front"]["camera_params"].update(fx=1.0)),
        "cameras or metadata of 1 image",
        ("differs", "done"),
    ),
    Row("no metadata shown", shown(lambda s: s.update(metadata={})), "", OK),
    Row("rewritten URLs", shown(lambda s: every_url(s, lambda url: f"https://cdn.example/{hash(url)}?sig=1")), "", OK),
    Row(
        "no scene at all",
        shown(lambda s: {"reference_id": FIRST, "frames": []}),
        "incomplete: 4 of 4|frames or items differ",
        ("conflict", "done"),
    ),
]


class Seen(UploadObserver):
    """Everything that a user would read while it runs."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def changed(self, record: StateRecord) -> None:
        self.texts.append(record.error)

    def noted(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture
def service(receiver: Receiver) -> Iterator[DifficultService]:
    made = DifficultService(receiver)
    yield made
    made.stop()


def test_the_table_is_long_enough_and_names_no_case_twice() -> None:
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names)) >= 40


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_difficult_answer_is_told_loses_nothing_and_a_later_run_ends_well(
    spool: Path, objects: Path, receiver: Receiver, service: DifficultService, row: Row
) -> None:
    names = seal_scenes(spool, 2)
    assert names == [FIRST, SECOND]
    seen = Seen()

    def run(**changes: Any) -> None:
        options: dict[str, Any] = {"give_up_after_s": 0.7, "timeout_s": 0.6, "job_timeout_s": 0.3, **changes}
        chosen = settings(receiver, f"file://{objects}", endpoint=service.url, **options)
        retry = Retry(give_up_after_s=chosen.give_up_after_s, random=lambda: 0.1)
        uploader = Uploader(
            spool, chosen, key=KEY, observer=seen, retry=retry, retry_quarantined="timeout_s" in changes
        )
        assert not uploader.run().stopped

    run_rules = [Rule(**vars(rule)) for rule in row.rules]  # their counts are used up
    service.rules = run_rules
    if row.raises is not None:
        with pytest.raises(row.raises) as caught:
            run(delete_after=True, **row.options)
        seen.texts.append(str(caught.value))
    else:
        run(delete_after=True, **row.options)
    assert re.search(row.says, "\n".join(seen.texts), re.DOTALL), seen.texts
    found = records(spool)
    states = tuple(found[name].state.value for name in names)
    assert states in ((row.states, row.states[::-1]) if row.either else (row.states,))
    if row.submissions is not None:
        assert service.count(SUBMIT) == row.submissions
    held = {scene["reference_id"] for scene in held_scenes(receiver)}
    for name in names:  # what is not at the service is in the spool, whole
        there = [folder for folder in (spool / "scenes" / name, spool / "quarantine" / name) if folder.is_dir()]
        assert len(there) == 1 or name in held
    service.rules = []
    run(timeout_s=10.0, give_up_after_s=20.0, job_timeout_s=60.0)
    assert {name: record.state.value for name, record in records(spool).items()} == dict.fromkeys(names, "done")
    assert sorted(scene["reference_id"] for scene in held_scenes(receiver)) == names
    assert_whole(spool, objects, [name for name in names if (spool / "scenes" / name).is_dir()])
