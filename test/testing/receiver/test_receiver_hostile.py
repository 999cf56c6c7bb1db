# SPDX-License-Identifier: Apache-2.0
"""Requests that no honest client sends: each is refused, tells nothing, and leaves the receiver serving."""

from __future__ import annotations

import base64
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from receiver_driver import Driver, make_scene

from nucleus_bridge.testing.receiver import Limits
from nucleus_bridge.testing.receiver.server import RequestRate

AUTH = "Authorization: Basic " + base64.b64encode(b"test_key:").decode()
HOST = "Host: 127.0.0.1"


def talk(driver: Driver, data: bytes, *, finish: bool = False) -> bytes:
    """Send raw bytes and return everything that comes back until the connection ends."""
    port = int(driver.receiver.origin.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # it had heard enough
            connection.sendall(data)
        if finish:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with suppress(ConnectionResetError):
            while block := connection.recv(1 << 16):
                answer += block
        return answer


def trickle(driver: Driver, data: bytes) -> int:
    """Send byte by byte, never idle for long, and return how many bytes went before the connection ended."""
    port = int(driver.receiver.origin.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for sent in range(len(data)):
            try:
                connection.sendall(data[sent : sent + 1])
            except OSError:
                return sent
            time.sleep(0.02)
    return len(data)


def request(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + body


def get(path: str, *headers: str) -> bytes:
    return request(f"GET {path} HTTP/1.1", HOST, AUTH, *headers)


def post(path: str, *headers: str, body: bytes = b"") -> bytes:
    return request(f"POST {path} HTTP/1.1", HOST, AUTH, *headers, body=body)


CREATE = "/v1/nucleus/dataset/create"
DETAILS = "/v1/nucleus/dataset/details"

HOSTILE: dict[str, tuple[bytes, int]] = {
    "length is not a number": (post(CREATE, "Content-Length: ten"), 400),
    "length is negative": (post(CREATE, "Content-Length: -1"), 400),
    "length has a sign": (post(CREATE, "Content-Length: +2", body=b"{}"), 400),
    "length in other digits": (post(CREATE, "Content-Length: \u00b2", body=b"{}"), 400),
    "length has underscores": (post(CREATE, "Content-Length: 1_0"), 400),
    "length is huge": (post(CREATE, "Content-Length: " + "9" * 30), 400),
    "length beyond the limit": (post(CREATE, f"Content-Length: {(16 << 20) + 1}"), 413),
    "two lengths": (post(CREATE, "Content-Length: 2", "Content-Length: 3", body=b"{}"), 400),
    "chunked body": (post(CREATE, "Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\n\r\n"), 411),
    "chunked and length": (post(CREATE, "Transfer-Encoding: chunked", "Content-Length: 2", body=b"{}"), 411),
    "no length": (post(CREATE), 400),
    "body is not UTF-8": (post(CREATE, "Content-Length: 2", body=b"\xff\xfe"), 400),
    "body is not JSON": (post(CREATE, "Content-Length: 1", body=b"{"), 400),
    "body is NaN": (post(CREATE, "Content-Length: 3", body=b"NaN"), 400),
    "body is an array": (post(CREATE, "Content-Length: 2", body=b"[]"), 400),
    "body is deep": (post(CREATE, "Content-Length: 200000", body=b"[" * 200_000), 400),
    "body is deep and closed": (post(CREATE, "Content-Length: 2000", body=b"[" * 1000 + b"]" * 1000), 400),
    "huge integer": (post(CREATE, "Content-Length: 50000", body=b"9" * 50_000), 400),
    "huge header": (get(DETAILS, "X-Junk: " + "a" * 70_000), 431),
    "many small headers": (get(DETAILS, *(f"X-{number}: {'a' * 1000}" for number in range(90))), 431),
    "too many headers": (get(DETAILS, *(f"X-{number}: a" for number in range(150))), 431),
    "huge request line": (get("/" + "a" * 70_000), 414),
    "header without colon": (request(f"GET {DETAILS} HTTP/1.1", HOST, AUTH, "nonsense", "X: y"), 400),
    "no host": (request(f"GET {DETAILS} HTTP/1.1", AUTH), 400),
    "two hosts": (request(f"GET {DETAILS} HTTP/1.1", HOST, HOST, AUTH), 400),
    "foreign host": (request(f"GET {DETAILS} HTTP/1.1", "Host: evil.example", AUTH), 421),
    "host that looks near": (request(f"GET {DETAILS} HTTP/1.1", "Host: 127.0.0.1.evil.example", AUTH), 421),
    "absolute target": (get("http://127.0.0.1" + DETAILS), 400),
    "target with raw bytes": (get("/v1/nucleus/dataset/\xe4/name"), 400),
    "target not UTF-8": (get("/v1/nucleus/dataset/%ff/name"), 400),
    "query not UTF-8": (get(DETAILS + "?a=%ff"), 400),
    "query with too many fields": (get(DETAILS + "?" + "&".join(["a=1"] * 100)), 400),
    "nul in the path": (get("/v1/nucleus/dataset/%00/name"), 404),
    "path upwards": (get("/v1/nucleus/dataset/../../../etc/passwd"), 404),
    "quoted path upwards": (get("/v1/nucleus/dataset/%2e%2e%2f%2e%2e/scenes_list"), 404),
    "review upwards": (get("/review/%2e%2e/%2e%2e%2fsigning_key"), 404),
    "file of the state": (get("/signing_key"), 404),
    "result upwards": (request("GET /results/%2e%2e/signing_key HTTP/1.1", HOST), 404),
    "result by a path": (request("GET /results/..%2f..%2fsigning_key/x HTTP/1.1", HOST), 404),
    "result with a key": (get("/results/%2e%2e/signing_key"), 400),
    "secure result upwards": (get("/v1/task/%2e%2e/response_url/signing_key"), 404),
    "task upwards": (get("/v1/task/%2e%2e%2fsigning_key"), 404),
    "label upwards": (get("/v1/nucleus/dataset/%2e%2e/groundTruth/loc/%2e%2e/%2e%2e"), 404),
    "index of no item": (get("/v1/nucleus/dataset/ds_1/iloc/-1"), 400),
    "put upwards": (request("PUT /put/../x HTTP/1.1", HOST, "Content-Length: 1", body=b"x"), 403),
    "put quoted upwards": (
        request("PUT /put/%2e%2e/%2e%2e%2fsigning_key?X-Expires=9999999999&X-Signature= HTTP/1.1", HOST),
        403,
    ),
    "unknown method": (request(f"BREW {DETAILS} HTTP/1.1", HOST, AUTH), 405),
    "old protocol": (b"GET /v1/nucleus/dataset/details\r\n\r\n", 400),
    "future protocol": (request(f"GET {DETAILS} HTTP/2.0", HOST, AUTH), 505),
    "no protocol": (request(f"GET {DETAILS} NONSENSE", HOST, AUTH), 400),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_request_is_refused_and_the_next_one_served(driver: Driver, case: str) -> None:
    data, status = HOSTILE[case]
    answer = talk(driver, data)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    for secret in (b"Traceback", b"Error(", str(driver.receiver.directory).encode(), b"nucleus_bridge"):
        assert secret not in answer
    assert driver.call("GET", "dataset/details", {}).json() == []


def test_one_answer_comes_to_one_hostile_request(driver: Driver) -> None:
    smuggled = post(CREATE, "Transfer-Encoding: chunked", "Content-Length: 2", body=b"{}" + get(DETAILS))
    assert talk(driver, smuggled).count(b"HTTP/1.1") == 1


def test_a_body_that_ends_early_is_refused(driver: Driver) -> None:
    assert talk(driver, post(CREATE, "Content-Length: 100", body=b"{"), finish=True).startswith(b"HTTP/1.1 400 ")


def test_an_upload_that_ends_early_is_not_kept(driver: Driver) -> None:
    dataset = driver.create()
    path = driver.sign(dataset, "0" * 32).removeprefix(driver.receiver.origin)
    assert b" 400 " in talk(driver, request(f"PUT {path} HTTP/1.1", HOST, "Content-Length: 9", body=b"x"), finish=True)
    assert list((driver.receiver.directory / "datasets" / dataset / "uploads").iterdir()) == []


def test_an_upload_larger_than_the_limit_is_413_before_it_is_read(serve: Callable[..., Driver]) -> None:
    driver = serve(limits=Limits(max_upload_bytes=1000))
    url = driver.sign(driver.create(), "0" * 32)
    assert requests.put(url, data=b"x" * 1000, timeout=60).status_code == 200
    assert requests.put(url, data=b"x" * 1001, timeout=60).status_code == 413
    assert requests.put(url, data=b"x" * 2_000_000, timeout=60).status_code == 413


def test_the_default_upload_limit_is_the_services(driver: Driver) -> None:
    path = driver.sign(driver.create(), "0" * 32).removeprefix(driver.receiver.origin)
    too_long = request(f"PUT {path} HTTP/1.1", HOST, "Content-Length: 536870889")
    assert talk(driver, too_long, finish=True).startswith(b"HTTP/1.1 413 ")
    just_fits = request(f"PUT {path} HTTP/1.1", HOST, "Content-Length: 536870888")
    assert talk(driver, just_fits, finish=True).startswith(b"HTTP/1.1 400 ")  # it ends early


def test_a_refusal_is_read_by_a_client_that_is_still_sending(driver: Driver) -> None:
    answer = driver.call("POST", "dataset/create", {"name": "x" * (2 << 20)}, auth=None)
    assert answer.status_code == 401


def test_several_requests_share_a_connection(driver: Driver) -> None:
    keep = f"GET {DETAILS} HTTP/1.1\r\n{HOST}\r\n{AUTH}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    assert talk(driver, keep * 5 + get(DETAILS)).count(b"HTTP/1.1 200 OK") == 6


def test_a_head_sent_too_slowly_ends_the_connection(serve: Callable[..., Driver]) -> None:
    driver = serve(limits=Limits(idle_s=0.3))
    assert trickle(driver, get(DETAILS)) < len(get(DETAILS))
    assert driver.call("GET", "dataset/details", {}).status_code == 200


def test_a_body_sent_too_slowly_is_given_up(serve: Callable[..., Driver]) -> None:
    driver = serve(limits=Limits(idle_s=0.3))
    answer = talk(driver, post(CREATE, "Content-Length: 100", body=b"{"))
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_idle_connections_do_not_lock_others_out_for_long(serve: Callable[..., Driver]) -> None:
    driver = serve(limits=Limits(max_connections=2, idle_s=0.5))
    port = int(driver.receiver.origin.rpartition(":")[2])
    idle = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(2)]
    try:
        assert driver.call("GET", "dataset/details", {}).status_code == 200
    finally:
        for connection in idle:
            connection.close()


def test_more_connections_than_allowed_are_told_to_wait(serve: Callable[..., Driver]) -> None:
    driver = serve(limits=Limits(max_connections=1))
    port = int(driver.receiver.origin.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as idle:
        idle.sendall(b"GET")
        assert talk(driver, b"").startswith(b"HTTP/1.1 503 ")


def test_more_requests_than_allowed_are_told_to_wait(serve: Callable[..., Driver]) -> None:
    driver = serve(limits=Limits(max_requests_per_s=0.5))
    statuses = [driver.call("GET", "dataset/details", {}).status_code for _ in range(200)]
    assert statuses[:5] == [200] * 5
    assert set(statuses) == {200, 429}


def test_the_rate_of_requests_is_that_of_ten_seconds() -> None:
    now = [0.0]
    rate = RequestRate(2.0, lambda: now[0])
    assert [rate.take() for _ in range(21)] == [True] * 20 + [False]
    now[0] = 1.0
    assert [rate.take() for _ in range(3)] == [True, True, False]
    now[0] = 1000.0
    assert [rate.take() for _ in range(21)] == [True] * 20 + [False]


def connection_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if "process_request_thread" in thread.name}


def test_threads_stay_bounded(serve: Callable[..., Driver]) -> None:
    before = connection_threads()  # of other receivers
    driver = serve(limits=Limits(max_connections=4))
    port = int(driver.receiver.origin.rpartition(":")[2])
    idle = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(30)]
    try:
        deadline = time.monotonic() + 60
        while len(connection_threads() - before) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(connection_threads() - before) == 4
    finally:
        for connection in idle:
            connection.close()
    driver.receiver.stop()
    assert not connection_threads() - before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
KEYS = {
    "dataset/create": [
        "name",
        "is_scene",
        "use_privacy_mode",
        "annotation_metadata_schema",
        "item_metadata_schema",
    ],
    "{}/upload_scenes?async=1": ["requestId", "update"],
    "jobs/": ["dataset_id", "show_completed", "from_date", "to_date", "limit", "job_types"],
    "dataset/{}/queryScenesPage": ["pageToken", "pageSize", "query"],
    "dataset/{}/metadata?async=0": ["metadata", "level"],
    "../task/lidarannotation": ["attachments", "labels", "attachment_type", "unique_id"],
}


@pytest.mark.parametrize("route", KEYS)
def test_no_document_makes_an_internal_error(driver: Driver, route: str) -> None:
    dataset = driver.create()
    driver.upload(dataset, make_scene())
    url = driver.receiver.url.replace("nucleus", "task/lidarannotation") if route.startswith("..") else ""
    with requests.Session() as session:
        session.auth = driver.auth

        @settings(max_examples=60, deadline=None)
        @given(st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS[route], JSON)))
        def send(document: object) -> None:
            target = url or f"{driver.receiver.url}/{route.format(dataset)}"
            answer = session.post(target, data=json.dumps(document), timeout=60)
            assert answer.status_code in (200, 400, 404, 409)
            assert answer.json() is not None

        send()


def test_nothing_secret_is_logged(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="nucleus_bridge")
    dataset = driver.create()
    url = driver.sign(dataset, "0" * 32)
    requests.put(url, data=b"{}\n", timeout=60)
    talk(driver, get("/v1/nucleus/\x1b[31mred"))
    talk(driver, get("/v1/nucleus/job/none?token=hidden"))
    assert f"/put/{dataset}/{'0' * 32}" in caplog.text
    for secret in ("dGVzdF9rZXk6", "test_key", url.partition("Signature=")[2], "hidden", "\x1b"):
        assert secret not in caplog.text


def test_a_failure_inside_is_500_logged_here_and_not_told_there(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = driver.create()
    driver.upload(dataset, make_scene())
    (path,) = (driver.receiver.directory / "datasets" / dataset / "scenes").glob("*.json")
    path.write_text("damaged")
    answer = driver.call("GET", f"dataset/{dataset}/scene/s1")
    assert (answer.status_code, path.name in answer.text) == (500, False)
    assert path.name in caplog.text


def test_no_request_writes_outside_the_folder(driver: Driver, tmp_path: Path) -> None:
    def outside() -> Iterator[Path]:
        return (path for path in tmp_path.rglob("*") if driver.receiver.directory not in (path, *path.parents))

    before = set(outside())
    dataset = driver.create(name="../../escaped")
    driver.upload(dataset, make_scene("../../../escaped"), make_scene("/tmp/escaped"), make_scene("a\x00b"))
    body = json.dumps({"requestId": "../" * 10 + "escaped", "update": False})
    for route in (f"{dataset}/upload_scenes?async=1", "%2e%2e%2fescaped/upload_scenes?async=1"):
        driver.call("POST", route, data=body)
    assert set(outside()) == before
    assert len(driver.references(dataset)) == 3
