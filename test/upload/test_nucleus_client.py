# SPDX-License-Identifier: Apache-2.0
"""The REST client against a scripted server: what is tried again, what stops, and what never shows."""

from __future__ import annotations

import base64
import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from upload_scenes import KEY

from nucleus_bridge.errors import AuthError, ConfigError, RejectedError, StoppedError, UnavailableError
from nucleus_bridge.upload import http
from nucleus_bridge.upload.nucleus.client import JobStatus, NucleusClient, api_key_from_environment, endpoint_from
from nucleus_bridge.upload.retry import BASE_S, Retry, TransientError


class Script:
    """Answers requests from a list; the last answer stays."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any, dict[str, str]]] = []
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.url = ""

    def say(self, status: int, document: Any = None, **headers: str) -> None:
        self.answers.append((status, document, {key.replace("_", "-"): value for key, value in headers.items()}))


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            script.requests.append((self.command, self.path, dict(self.headers.items()), body))
            answers = script.answers
            status, document, headers = answers.pop(0) if len(answers) > 1 else answers[0]
            content = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

        do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_address[1]}/v1/nucleus"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield script
    server.shutdown()
    server.server_close()


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(script: Script, clock: Clock) -> Iterator[NucleusClient]:
    retry = Retry(give_up_after_s=1_000_000, clock=lambda: clock.now, sleep=clock.sleep, random=lambda: 0.5)
    made = NucleusClient(script.url, KEY, retry=retry, timeout_s=5)
    yield made
    made.close()


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520, 524])
def test_what_may_pass_is_tried_again(script: Script, client: NucleusClient, clock: Clock, status: int) -> None:
    for _ in range(3):
        script.say(status, {"error": "busy"})
    script.say(200, {"scenes": [{"reference_id": "a"}]})
    assert client.scene_references("ds_1") == {"a"}
    assert len(script.requests) == 4
    assert clock.slept == [BASE_S * 0.5, BASE_S, BASE_S * 2]


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b"null", b'{"scenes":{}', b'{"other":1}', b'{"scenes":[1]}'])
def test_an_answer_that_is_not_what_was_asked_for_is_tried_again(
    script: Script, client: NucleusClient, body: bytes
) -> None:
    script.say(200, body)
    script.say(200, {"scenes": []})
    assert client.scene_references("ds_1") == set()
    assert len(script.requests) == 2


def test_retry_after_is_waited_for(script: Script, client: NucleusClient, clock: Clock) -> None:
    script.say(429, None, Retry_After="37")
    script.say(503, None, Retry_After="Wed, 21 Oct 2015 07:28:30 GMT", Date="Wed, 21 Oct 2015 07:28:00 GMT")
    script.say(429, None, Retry_After="99999")
    script.say(200, {"scenes": []})
    client.scene_references("ds_1")
    assert clock.slept[0] == 37
    assert clock.slept[2] == 99_999
    assert clock.slept[1] >= BASE_S * 0.5


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_that_never_ends_is_not_read_to_its_end(
    script: Script, client: NucleusClient, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(http, "MAX_ANSWER_BYTES", 200_000)
    script.say(status, gzip.compress(bytes(100_000_000)), Content_Encoding="gzip")
    script.say(200, {"scenes": []})
    told: list[str] = []
    client.retry.told = lambda text, _: told.append(text)
    assert client.scene_references("ds_1") == set()
    assert len(told) == 1
    assert "the answer has more than 200000 bytes" in told[0]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_not_tried_again_and_not_shown(script: Script, client: NucleusClient, status: int) -> None:
    script.say(status, {"error": f"key {KEY} is bad"})
    with pytest.raises(AuthError) as caught:
        client.scene_references("ds_1")
    assert KEY not in str(caught.value)
    assert "NUCLEUS_API_KEY" in str(caught.value)
    assert len(script.requests) == 1


@pytest.mark.parametrize("status", [400, 404, 409, 422, 301])
def test_what_is_refused_is_not_tried_again(script: Script, client: NucleusClient, status: int) -> None:
    script.say(status, {"error": "the frames are wrong"}, Location="http://127.0.0.1:9/elsewhere")
    with pytest.raises(RejectedError, match="the frames are wrong") as caught:
        client.get_scene("ds_1", "s")
    assert caught.value.status == status
    assert len(script.requests) == 1


def test_after_the_time_is_up_the_last_failure_stands(script: Script, clock: Clock) -> None:
    script.say(500, {"error": "broken"})
    retry = Retry(give_up_after_s=100, clock=lambda: clock.now, sleep=clock.sleep, random=lambda: 0.999)
    with pytest.raises(UnavailableError, match=r"HTTP 500.*broken.*given up after"):
        NucleusClient(script.url, KEY, retry=retry).scene_references("ds_1")
    assert sum(clock.slept) <= 100


def test_a_host_that_is_not_there_is_tried_again(clock: Clock) -> None:
    retry = Retry(give_up_after_s=3, clock=lambda: clock.now, sleep=clock.sleep, random=lambda: 0.999)
    with pytest.raises(UnavailableError, match=r"connection to 127\.0\.0\.1:9 failed"):
        NucleusClient("http://127.0.0.1:9/v1", KEY, retry=retry, timeout_s=2).scene_references("ds_1")
    assert len(clock.slept) >= 3


def test_calls_carry_the_key_as_basic_user_and_the_put_carries_none(
    script: Script, client: NucleusClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    signed = script.url.replace("/v1/nucleus", "/put/x?X-Signature=abc")
    script.say(200, {"signed_url": signed})
    script.say(200, b"")
    request_id = client.put_scenes("ds_1", b'{"a":1}\n')
    (_, path, call_headers, _), (method, put_path, put_headers, body) = script.requests
    assert path == f"/v1/nucleus/dataset/ds_1/signedUrl/{request_id}"
    assert len(request_id) == 32
    assert call_headers["Authorization"] == "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()
    assert (method, put_path, body) == ("PUT", "/put/x?X-Signature=abc", b'{"a":1}\n')
    assert not {"Authorization", "Content-Type", "Transfer-Encoding"} & set(put_headers)


def test_an_expired_signed_url_is_replaced_by_a_new_one(script: Script, client: NucleusClient) -> None:
    signed = script.url.replace("/v1/nucleus", "/put/{}")
    script.say(200, {"signed_url": signed.format(1)})
    script.say(403, b"<Error>Request has expired</Error>")
    script.say(200, {"signed_url": signed.format(2)})
    script.say(200, b"")
    request_id = client.put_scenes("ds_1", b"{}\n")
    assert [path for _, path, _, _ in script.requests][1::2] == ["/put/1", "/put/2"]
    assert script.requests[2][1].endswith(request_id)


def test_signed_urls_show_in_no_error(script: Script, clock: Clock) -> None:
    script.say(200, {"signed_url": "http://127.0.0.1:9/put?X-Signature=topsecret"})
    retry = Retry(give_up_after_s=2, clock=lambda: clock.now, sleep=clock.sleep)
    with pytest.raises(UnavailableError) as caught:
        NucleusClient(script.url, KEY, retry=retry, timeout_s=2).put_scenes("ds_1", b"{}\n")
    assert "topsecret" not in str(caught.value)


def test_an_unclear_answer_to_creating_looks_for_the_dataset_first(script: Script, client: NucleusClient) -> None:
    script.say(500, {})
    script.say(200, [{"id": "ds_7", "name": "drives", "is_public": False}])
    assert client.create_dataset("drives", privacy_mode=True) == "ds_7"
    assert [method for method, _, _, _ in script.requests] == ["POST", "GET"]
    assert json.loads(script.requests[0][3]) == {
        "name": "drives",
        "is_scene": True,
        "use_privacy_mode": True,
        "annotation_metadata_schema": None,
        "item_metadata_schema": None,
    }


def test_of_datasets_that_were_created_at_the_same_time_all_take_the_same(
    script: Script, client: NucleusClient
) -> None:
    script.say(200, {"dataset_id": "ds_9"})
    script.say(200, [{"id": "ds_9", "name": "drives"}, {"id": "ds_8", "name": "drives"}])
    assert client.create_dataset("drives", privacy_mode=False) == "ds_9"
    assert client.find_dataset("drives", ours=True) == "ds_8"


def test_a_dataset_that_is_gone_already_is_deleted_and_one_that_must_stay_says_so(
    script: Script, client: NucleusClient
) -> None:
    script.say(404, {"error": "there is none"})
    script.say(400, {"error": "it must stay"})
    client.delete_dataset("ds_9")
    with pytest.raises(RejectedError, match="it must stay"):
        client.delete_dataset("ds_9")
    assert [request[:2] for request in script.requests] == [("DELETE", "/v1/nucleus/dataset/ds_9")] * 2


def test_two_datasets_of_one_name_need_an_id(script: Script, client: NucleusClient) -> None:
    script.say(200, [{"id": "ds_1", "name": "a"}, {"id": "ds_2", "name": "a"}, {"id": "ds_3", "name": "b"}])
    with pytest.raises(ConfigError, match=r"ds_1, ds_2.*dataset_id"):
        client.find_dataset("a")
    assert client.find_dataset("b") == "ds_3"
    assert client.find_dataset("ds_2") == "ds_2"
    assert client.find_dataset("c") is None


def test_deleting_a_scene_that_is_gone_is_fine(script: Script, client: NucleusClient) -> None:
    script.say(404, {"error": "no such scene"})
    client.delete_scene("ds_1", "a/b c")
    assert script.requests[0][:2] == ("DELETE", "/v1/nucleus/dataset/ds_1/scene/a%2Fb%20c")


@pytest.mark.parametrize(
    ("status", "ended", "failed"),
    [
        ("Queued", False, False),
        ("Running", False, False),
        ("Retried", False, False),
        ("SomethingNew", False, False),
        ("Completed", True, False),
        ("Cancelled", True, True),
        ("Errored", True, True),
        ("Errored_Server", True, True),
        ("Errored_User", True, True),
        ("Errored_Partial", True, True),
        ("Errored_Hanging", True, True),
    ],
)
def test_job_states(status: str, ended: bool, failed: bool) -> None:
    assert (JobStatus("j", status).ended, JobStatus("j", status).failed) == (ended, failed)


def test_no_repr_shows_the_key(client: NucleusClient) -> None:
    for thing in (client, client._http, client._http._session):
        assert KEY not in repr(thing)


def test_the_key_comes_from_the_environment_alone() -> None:
    assert api_key_from_environment({"NUCLEUS_API_KEY": " k \n"}) == "k"
    with pytest.raises(ConfigError, match="NUCLEUS_API_KEY is not set"):
        api_key_from_environment({"SCALE_API_KEY": "k"})


def test_the_endpoint_of_the_environment_wins_and_must_be_safe() -> None:
    assert endpoint_from("", {}) == "https://api.scale.com/v1/nucleus"
    assert endpoint_from("https://a.example/v1/", {}) == "https://a.example/v1"
    assert endpoint_from("https://a.example", {"NUCLEUS_ENDPOINT": "http://localhost:1/v1"}) == "http://localhost:1/v1"
    for bad in ("http://a.example/v1", "a.example", "ftp://a", "https://u:p@a.example"):
        with pytest.raises(ConfigError, match="endpoint"):
            endpoint_from(bad, {})


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 10_000), st.none() | st.floats(0, 1e6))
def test_every_wait_is_within_the_doubled_limit_and_five_minutes_or_what_was_asked_for(
    number: float, failures: int, asked: Any
) -> None:
    seconds = Retry(random=lambda: number).backoff(failures, asked)
    limit = min(300, 0.25 * 2 ** min(failures, 40))
    assert 0 <= seconds <= max(limit, asked or 0)
    assert seconds >= (asked or 0)


def test_a_wait_ends_when_told_to_stop() -> None:
    retry = Retry(random=lambda: 0.999)
    threading.Timer(0.1, retry.stop.set).start()

    def fail() -> None:
        raise TransientError("busy", retry_after_s=200)

    with pytest.raises(StoppedError):
        retry.again(fail)
