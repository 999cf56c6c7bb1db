# SPDX-License-Identifier: Apache-2.0
"""What survives a stop, a kill and a damaged file."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from receiver_driver import DEADLINE_S, Driver, counts, make_scene

from nucleus_bridge.errors import InputError, OutputError
from nucleus_bridge.testing.receiver import Receiver


def everything(driver: Driver, dataset: str, job_id: str) -> list[Any]:
    """Return what a client can see of a dataset and a job."""
    routes = [f"dataset/{dataset}/{what}" for what in ("info", "scenes_list", "scene/s1", "refloc/s1-front-0")]
    routes += ["dataset/details", f"job/{job_id}", f"job/{job_id}/errors"]
    return [driver.call("GET", route, {}).json() for route in routes]


def test_everything_is_there_after_a_restart(serve: Callable[..., Driver]) -> None:
    driver = serve()
    dataset = driver.create()
    job = driver.upload(dataset, make_scene("s1"), make_scene("s2"), "no scene")
    driver.call("DELETE", f"dataset/{dataset}/scene/s2", {})
    seen = everything(driver, dataset, job["job_id"])
    again = serve()
    assert again.receiver is not driver.receiver
    assert everything(again, dataset, job["job_id"]) == seen
    assert counts(again.upload(dataset, make_scene("s1"))) == {"ignored_scenes": 1}
    thief = make_scene("s3")
    thief["frames"][0]["lidar"]["reference_id"] = "s1-lidar-0"
    assert counts(again.upload(dataset, thief)) == {"scenes_errored": 1}


def test_an_upload_url_outlives_a_restart_on_the_same_port(serve: Callable[..., Driver]) -> None:
    driver = serve()
    dataset = driver.create()
    url, port = driver.sign(dataset, "0" * 32), int(driver.receiver.origin.rpartition(":")[2])
    again = serve(port=port)
    assert requests.put(url, data=(json.dumps(make_scene()) + "\n").encode(), timeout=60).status_code == 200
    assert counts(again.wait(again.start_job(dataset, "0" * 32))) == {"new_scenes": 1}


def test_a_job_that_was_interrupted_goes_on_and_counts_its_scenes_once(
    serve: Callable[..., Driver], bucket: Path
) -> None:
    reading, release = threading.Event(), threading.Event()

    def held(url: str) -> Iterator[bytes]:
        if "held" in url:
            reading.set()
            release.wait(DEADLINE_S)
        yield (bucket / url.rpartition("/")[2]).read_bytes()

    driver = serve(resolvers={"s3": held})
    dataset = driver.create()
    body = "".join(
        json.dumps(make_scene(name, base=base)) + "\n" for name, base in (("s1", "s3://a"), ("s2", "s3://held"))
    )
    job_id = driver.start_job(dataset, driver.put(dataset, body.encode()))
    assert reading.wait(DEADLINE_S)
    threading.Thread(target=lambda: driver.receiver.stopping.wait(DEADLINE_S) and release.set()).start()
    driver.receiver.stop()
    assert len(driver.receiver.scenes(dataset)) == 1
    again = serve(resolvers={"s3": lambda url: (bucket / url.rpartition("/")[2]).read_bytes()})
    job = again.wait(job_id)
    assert (job["status"], counts(job)) == ("Completed", {"new_scenes": 2})
    assert again.references(dataset) == ["s1", "s2"]


PROGRAM = """
import sys
from nucleus_bridge.testing.receiver import Receiver, resolvers_from_mappings
receiver = Receiver(sys.argv[1], resolvers=resolvers_from_mappings([sys.argv[2]]))
receiver.start()
print(receiver.url, flush=True)
receiver.serve_forever()
"""


class Process:
    """A receiver in a process of its own, which can be killed."""

    def __init__(self, folder: Path, bucket: Path) -> None:
        arguments = [sys.executable, "-c", PROGRAM, str(folder), f"s3://bucket={bucket}"]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=DEADLINE_S)


def test_what_was_answered_survives_a_kill(tmp_path: Path, bucket: Path) -> None:
    folder = tmp_path / "kept"
    jobs: list[str] = []
    process = Process(folder, bucket)
    try:
        remote: Any = type("Remote", (), {"url": process.url})
        driver = Driver(remote)
        dataset = driver.create()
        for number in range(5):
            body = (json.dumps(make_scene(f"s{number}", frames=20)) + "\n").encode()
            jobs.append(driver.start_job(dataset, driver.put(dataset, body)))
    finally:
        process.kill()
    with Receiver(folder, resolvers={"s3": lambda url: (bucket / url.rpartition("/")[2]).read_bytes()}) as receiver:
        again = Driver(receiver)
        assert [counts(again.wait(job)) for job in jobs] == [{"new_scenes": 1}] * 5
        assert again.references(dataset) == [f"s{number}" for number in range(5)]


def test_serve_forever_ends_on_a_signal(tmp_path: Path, bucket: Path) -> None:
    process = Process(tmp_path / "kept", bucket)
    assert requests.get(f"{process.url}/dataset/details", auth=("k", ""), timeout=60).json() == []
    process.process.send_signal(2)
    process.process.communicate(timeout=DEADLINE_S)
    assert process.process.returncode not in (None, 0)
    with Receiver(tmp_path / "kept"):
        pass


def test_one_receiver_a_folder(serve: Callable[..., Driver]) -> None:
    driver = serve()
    with pytest.raises(InputError, match="another receiver is serving it"):
        Receiver(driver.receiver.directory).start()
    driver.receiver.stop()
    with Receiver(driver.receiver.directory) as second:
        assert second.url.startswith("http://127.0.0.1:")


def test_a_port_in_use_is_said(serve: Callable[..., Driver], tmp_path: Path) -> None:
    port = int(serve().receiver.origin.rpartition(":")[2])
    for number in (port, 70_000):
        with pytest.raises(InputError, match=f"port {number} cannot be used"):
            Receiver(tmp_path / "other", number).start()
    with Receiver(tmp_path / "other") as free:
        assert free.url


def test_a_file_in_place_of_the_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file: cannot be served from"):
        Receiver(tmp_path / "file").start()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_no_other_host_is_served(tmp_path: Path, host: str) -> None:
    with pytest.raises(InputError, match=r"serves 127\.0\.0\.1 only"):
        Receiver(tmp_path, host=host)


HOLLOW = json.dumps({"scene_id": "scn_1", "reference_id": "s1", "job_id": "j", "outcome": "new", "payload": {}})


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"scene_id": 1}', "\x00", HOLLOW])
@pytest.mark.parametrize("which", ["scenes/*.json", "dataset.json"])
def test_a_damaged_file_is_named(serve: Callable[..., Driver], which: str, content: str) -> None:
    driver = serve()
    dataset = driver.create()
    driver.upload(dataset, make_scene())
    driver.receiver.stop()
    (path,) = (driver.receiver.directory / "datasets" / dataset).glob(which)
    path.write_text(content)
    with pytest.raises(InputError, match=path.name):
        serve()


def test_a_job_that_fails_inside_is_the_servers_error_and_the_next_one_runs(driver: Driver) -> None:
    dataset = driver.create()
    driver.upload(dataset, make_scene("s1"))
    (path,) = (driver.receiver.directory / "datasets" / dataset / "scenes").glob("*.json")
    path.write_text("damaged")
    job = driver.upload(dataset, make_scene("s1"))
    assert (job["status"], driver.errors(job)) == ("Errored_Server", ["internal error: InputError"])
    assert counts(driver.upload(dataset, make_scene("s2"))) == {"new_scenes": 1}


def test_leftovers_of_a_crash_are_cleared(serve: Callable[..., Driver]) -> None:
    driver = serve()
    dataset = driver.create()
    driver.upload(dataset, make_scene())
    driver.receiver.stop()
    root = driver.receiver.directory / "datasets"
    leftovers = [root / dataset / "scenes" / ".x.json.1.tmp", root / dataset / "uploads" / ".x.1.tmp"]
    for path in leftovers:
        path.write_text("half")
    (root / "deleted-ds_1").mkdir()
    (root / "ds_2" / "scenes").mkdir(parents=True)
    assert serve().references(dataset) == ["s1"]
    assert not any(path.exists() for path in [*leftovers, root / "deleted-ds_1", root / "ds_2"])


def test_a_receiver_that_was_not_started_says_so(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path)
    with pytest.raises(InputError, match="not started"):
        _ = receiver.url
    receiver.stop()
    with pytest.raises(InputError, match="can be started once"):
        receiver.start()


def test_stop_ends_connections_that_are_kept_alive(serve: Callable[..., Driver]) -> None:
    driver = serve()
    with requests.Session() as session:
        session.auth = driver.auth
        assert session.get(f"{driver.receiver.url}/dataset/details", timeout=60).status_code == 200
        began = time.monotonic()
        driver.receiver.stop()
        assert time.monotonic() - began < driver.receiver.limits.idle_s
        with pytest.raises(requests.ConnectionError):
            session.get(f"{driver.receiver.url}/dataset/details", timeout=60)


def test_the_signing_key_is_for_its_owner_only(driver: Driver) -> None:
    assert (driver.receiver.directory / "signing_key").stat().st_mode & 0o077 == 0


def test_a_job_whose_dataset_was_deleted_fails(serve: Callable[..., Driver], bucket: Path) -> None:
    reading, release = threading.Event(), threading.Event()

    def held(url: str) -> bytes:
        reading.set()
        release.wait(DEADLINE_S)
        return (bucket / url.rpartition("/")[2]).read_bytes()

    driver = serve(resolvers={"s3": held})
    dataset = driver.create()
    body = (json.dumps(make_scene()) + "\n").encode()
    request_id = driver.put(dataset, body)
    first, second = driver.start_job(dataset, request_id), driver.start_job(dataset, request_id)
    assert reading.wait(DEADLINE_S)
    driver.call("DELETE", f"dataset/{dataset}", {})
    release.set()
    assert [driver.wait(job)["status"] for job in (first, second)] == ["Errored_User"] * 2
    assert driver.call("GET", f"job/{second}/errors", {}).json() == ["the dataset was deleted"]
