# SPDX-License-Identifier: Apache-2.0
"""What was put is what is there, in each store's own dialect; a busy store is left alone as long as it asks."""

from __future__ import annotations

import base64
import datetime as dt
import email.utils
import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from upload_scenes import KEY, seal_scenes, settings, states

pytest.importorskip("obstore", reason="the extra 'cloud' is not installed")

from nucleus_bridge.errors import AuthError, ConfigError, StoreConflictError, StoreError, UnavailableError
from nucleus_bridge.spool import FileRecord
from nucleus_bridge.testing.receiver import Receiver
from nucleus_bridge.upload.retry import Retry
from nucleus_bridge.upload.store.objects import ObjectStore, open_store
from nucleus_bridge.upload.uploader import Uploader

STORES = ("s3", "gs", "az")
_METADATA = ("x-amz-meta-", "x-goog-meta-", "x-ms-meta-")


class FakeStore:
    """An object store of three dialects that can be too busy, or keep less than it was sent.

    Attributes:
        busy: How many requests it turns away yet, each with status and headers of ``refusal``.
        cut: How many objects it cuts yet.
        tags_are_digests: Whether its ETag is the MD5 of what it holds.
    """

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.requests: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.busy = 0
        self.refusal: tuple[int, dict[str, str]] = (503, {})
        self.busy_methods = ("PUT", "HEAD", "GET")
        self.cut = 0
        self.tags_are_digests = True
        self._blocks: dict[str, bytes] = {}
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {key.lower(): value for key, value in self.headers.items()}
                fake.requests.append((self.command, self.path))
                fake.headers.append(headers)
                status, content, more = fake.answer(self.command, self.path, headers, body)
                self.send_response(status)
                for key, value in more.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_HEAD = do_POST = handle_any  # noqa: N815

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes, dict[str, str]]:
        if self.busy and method in self.busy_methods:
            self.busy -= 1
            return self.refusal[0], b"", self.refusal[1]
        parts = urlsplit(path)
        key, query = unquote(parts.path), parse_qs(parts.query)
        if method == "PUT":
            return self._put(key, query, headers, body)
        if key not in self.objects:
            return 404, b"", {}
        return 200, self.objects[key][0], {**self.objects[key][1], **self._tag(key), "x-ms-blob-type": "BlockBlob"}

    def _put(
        self, key: str, query: dict[str, list[str]], headers: dict[str, str], body: bytes
    ) -> tuple[int, bytes, dict[str, str]]:
        if query.get("comp") == ["block"]:
            self._blocks[query["blockid"][0]] = body
            return 201, b"", {"x-ms-request-id": "1"}
        if query.get("comp") == ["blocklist"]:
            blocks = re.findall(rb">([^<>\s]+)</(?:Uncommitted|Latest)>", body)
            body = b"".join(self._blocks[block.decode()] for block in blocks)
        free = headers.get("if-none-match") == "*" or headers.get("x-goog-if-generation-match") == "0"
        if key in self.objects and free:
            return (409 if any(name.startswith("x-ms-") for name in headers) else 412), b"", {}
        if self.cut:
            self.cut -= 1
            body = body[: len(body) // 2]
        kept = {name: value for name, value in headers.items() if name.startswith(_METADATA)}
        self.objects[key] = (body, {**kept, "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"})
        return 201, b"", self._tag(key)

    def _tag(self, key: str) -> dict[str, str]:
        digest = hashlib.md5(self.objects[key][0], usedforsecurity=False).hexdigest()
        return {"ETag": f'"{digest if self.tags_are_digests else "0x8D1"}"'}

    def methods(self) -> list[str]:
        return [method for method, _ in self.requests]


@pytest.fixture(scope="module")
def private_key() -> str:
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    plain = serialization.NoEncryption()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, private_key: str) -> Iterator[FakeStore]:
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    fake = FakeStore()
    account = {
        "type": "service_account",
        "gcs_base_url": fake.url,
        "disable_oauth": True,
        "client_email": "recorder@example.org",
        "private_key": private_key,
        "private_key_id": "1",
    }
    file = tmp_path / "account.json"
    file.write_text(json.dumps(account))
    for name, value in {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "GOOGLE_APPLICATION_CREDENTIALS": str(file),
        "AZURE_STORAGE_ACCOUNT_NAME": "account",
        "AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(b"key").decode(),
    }.items():
        monkeypatch.setenv(name, value)
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


class Waits:
    """A clock that only waiting moves on, and what was waited."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.seconds: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.now += seconds

    def retry(self, give_up_after_s: float = 3600.0) -> Retry:
        return Retry(give_up_after_s, clock=lambda: self.now, random=lambda: 0.5, sleep=self.sleep)


def store_of(fake: FakeStore, scheme: str, retry: Retry | None = None) -> ObjectStore:
    endpoint = fake.url + ("/account" if scheme == "az" else "")
    return open_store(f"{scheme}://bucket/x?endpoint={endpoint}", retry=retry or Waits().retry(), timeout_s=5)


@pytest.mark.parametrize("scheme", STORES)
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_store_is_left_alone_for_as_long_as_it_asks(fake: FakeStore, scheme: str, status: int) -> None:
    waits = Waits()
    store = store_of(fake, scheme, waits.retry())
    fake.busy, fake.refusal = 4, (status, {"Retry-After": "7"})
    assert store.put_bytes("scene/a", b"x") is True
    assert waits.seconds == [7.0, 7.0]
    assert fake.methods() == ["PUT", "HEAD"] * 2 + ["PUT"]
    assert [content for content, _ in fake.objects.values()] == [b"x"]


def test_a_date_is_as_good_as_seconds(fake: FakeStore) -> None:
    waits = Waits()
    later = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=90)
    fake.busy, fake.refusal = 2, (503, {"Retry-After": email.utils.format_datetime(later, usegmt=True)})
    assert store_of(fake, "s3", waits.retry()).put_bytes("scene/a", b"x") is True
    assert len(waits.seconds) == 1
    assert 60 < waits.seconds[0] <= 90


def test_no_other_thread_asks_before_the_time_either(fake: FakeStore) -> None:
    waits = Waits()
    store = store_of(fake, "s3", waits.retry(give_up_after_s=5.0))
    fake.busy, fake.refusal = 2, (503, {"Retry-After": "7"})
    with pytest.raises(UnavailableError, match="given up after"):  # at once: 7 s are more than it may take
        store.put_bytes("scene/a", b"x")
    assert waits.seconds == []
    seen = len(fake.requests)
    assert store.size("scene/b") is None
    assert waits.seconds == [7.0]
    assert len(fake.requests) == seen + 1


def test_a_store_that_says_nothing_is_asked_again_after_the_usual_wait(fake: FakeStore) -> None:
    waits = Waits()
    fake.busy, fake.busy_methods = 2, ("PUT",)
    assert store_of(fake, "s3", waits.retry()).put_bytes("scene/a", b"x") is True
    assert waits.seconds == [0.125, 0.25]


def test_credentials_that_cannot_sign_leave_the_usual_wait(fake: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=2021&sig=abc%3D")
    waits = Waits()
    store = store_of(fake, "az", waits.retry())
    fake.busy, fake.refusal = 1, (503, {"Retry-After": "7"})
    assert store.put_bytes("scene/a", b"x") is True
    assert waits.seconds == [0.125]
    assert fake.methods() == ["PUT", "PUT"]


@pytest.mark.parametrize(("scheme", "size"), [("s3", 100), ("gs", 100), ("az", 100), ("az", 20 << 20)])
@pytest.mark.parametrize("tags_are_digests", [True, False])
def test_an_object_that_is_cut_on_the_way_is_put_again(
    fake: FakeStore, tmp_path: Path, scheme: str, size: int, *, tags_are_digests: bool
) -> None:
    fake.tags_are_digests = tags_are_digests
    path = tmp_path / "a.json"
    path.write_bytes(b"a cloud" * (size // 7))
    content = path.read_bytes()
    record = FileRecord("a.json", len(content), hashlib.sha256(content).hexdigest())
    store = store_of(fake, scheme)
    fake.cut = 1
    assert store.put_file("scene/a.json", path, record, absent=True) is True
    assert [kept for kept, _ in fake.objects.values()] == [content]
    assert store.holds("scene/a.json", record)
    assert store.put_file("scene/a.json", path, record, absent=False) is False


@pytest.mark.parametrize("scheme", STORES)
def test_what_claims_a_scene_is_put_again_when_it_was_cut_before(fake: FakeStore, scheme: str) -> None:
    store = store_of(fake, scheme)
    assert store.put_bytes("scene/manifest.json", b"the claim") is True
    (key,) = fake.objects
    fake.objects[key] = (b"the", fake.objects[key][1])
    assert store.put_bytes("scene/manifest.json", b"the claim") is True
    assert fake.objects[key][0] == b"the claim"
    assert store.put_bytes("scene/manifest.json", b"another") is False
    assert fake.objects[key][0] == b"the claim"


@pytest.mark.parametrize("scheme", STORES)
def test_a_store_that_keeps_cutting_is_given_up(fake: FakeStore, scheme: str) -> None:
    fake.cut = 1 << 20
    store = store_of(fake, scheme, Waits().retry(give_up_after_s=1.0))
    with pytest.raises(UnavailableError, match=r"only 4 of 9 bytes arrived; given up"):
        store.put_bytes("scene/manifest.json", b"the claim")


@pytest.mark.parametrize("scheme", STORES)
def test_a_tag_that_is_the_digest_spares_a_look(fake: FakeStore, scheme: str) -> None:
    store = store_of(fake, scheme)
    assert store.put_bytes("scene/a", b"one") is True
    assert fake.methods() == ["PUT"]
    fake.tags_are_digests = False
    assert store.put_bytes("scene/b", b"two") is True
    assert fake.methods() == ["PUT", "PUT", "HEAD"]


@pytest.mark.parametrize("scheme", STORES)
def test_other_content_is_a_conflict_in_each_dialect(fake: FakeStore, tmp_path: Path, scheme: str) -> None:
    store = store_of(fake, scheme)
    for content in (b"one", b"two"):
        path = tmp_path / "a.json"
        path.write_bytes(content)
        record = FileRecord("a.json", len(content), hashlib.sha256(content).hexdigest())
        if content == b"one":
            assert store.put_file("scene/a.json", path, record, absent=True)
        else:
            with pytest.raises(StoreConflictError, match="never overwritten"):
                store.put_file("scene/a.json", path, record, absent=True)
    assert [kept for kept, _ in fake.objects.values()] == [b"one"]


AZURE = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY")


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({}, "Account must be specified; set AZURE_STORAGE_ACCOUNT_NAME and one of"),
        ({AZURE[0]: "account", AZURE[1]: "not base64!"}, r"Invalid Access Key.*; set AZURE_STORAGE_ACCOUNT_NAME"),
        ({AZURE[0]: "account", "AZURE_STORAGE_SAS_TOKEN": "nonsense"}, r"SAS.*; set AZURE_STORAGE_ACCOUNT_NAME"),
        ({"AZURE_STORAGE_CONNECTION_STRING": "AccountName=a"}, r"; AZURE_STORAGE_CONNECTION_STRING is not read; set"),
    ],
)
def test_azure_credentials_that_cannot_be_used_are_named(
    fake: FakeStore, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], problem: str
) -> None:
    for name in AZURE:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=problem) as caught:
        store_of(fake, "az")
    assert "not base64!" not in str(caught.value)


def test_each_kind_of_azure_credentials_is_sent_as_what_it_is(fake: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AZURE_STORAGE_SAS_TOKEN": "?sv=2021&sig=abc%3D",
        "AZURE_STORAGE_SAS_KEY": "sv=2021&sig=abc%3D",
        "AZURE_STORAGE_TOKEN": "bearer",
    }.items():
        monkeypatch.delenv(AZURE[1], raising=False)
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            fake.requests.clear()
            assert store_of(fake, "az").put_bytes(f"scene/{name}", b"x") is True
            assert ("sig=abc%3D" in fake.requests[0][1]) == name.startswith("AZURE_STORAGE_SAS")
    monkeypatch.setenv("AZURE_CLIENT_ID", "id")
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "topsecret")
    monkeypatch.setenv("AZURE_TENANT_ID", "tenant")
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", fake.url)
    fake.busy, fake.refusal, fake.busy_methods = 99, (401, {}), ("POST",)
    with pytest.raises(AuthError, match="check the store's credentials") as caught:
        store_of(fake, "az").put_bytes("scene/a", b"x")
    assert fake.requests[-1][1].startswith("/tenant/oauth2")
    assert "topsecret" not in str(caught.value)


def test_credentials_that_cannot_sign_are_refused_at_once(fake: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store_of(fake, "az").check_signing()
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=2021&sig=abc%3D")
    with pytest.raises(StoreError, match=r"cannot sign URLs: use the account's key, or another upload\.url"):
        store_of(fake, "az").check_signing()


def test_presigned_urls_that_cannot_be_made_end_an_upload_before_anything_is_sent(
    fake: FakeStore, monkeypatch: pytest.MonkeyPatch, spool: Path, receiver: Receiver
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=2021&sig=abc%3D")
    (name,) = seal_scenes(spool, 1)
    chosen = settings(receiver, f"az://bucket/x?endpoint={fake.url}/account", url="presigned")
    with pytest.raises(StoreError, match="cannot sign URLs"):
        Uploader(spool, chosen, key=KEY).run()
    assert fake.requests == []
    assert states(spool) == {name: "sealed"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "No such file"), ("{", "decode service account file"), ('{"type": "what"}', "service account")],
)
def test_google_credentials_that_cannot_be_used_are_named(
    fake: FakeStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None, problem: str
) -> None:
    file = tmp_path / "credentials.json"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    with pytest.raises(ConfigError, match=rf"{problem}.*; set GOOGLE_APPLICATION_CREDENTIALS"):
        store_of(fake, "gs")


@pytest.fixture
def profiles(fake: FakeStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], ObjectStore]:
    """Return what opens the store with the one profile of a configuration file."""
    pytest.importorskip("boto3", reason="boto3 is not installed")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_PROFILE", "depot")

    def open_with(config: str) -> ObjectStore:
        (home / ".aws/config").write_text(config)
        return store_of(fake, "s3")

    return open_with


def test_a_profile_may_have_a_process_that_gives_credentials(
    fake: FakeStore, profiles: Callable[[str], ObjectStore], tmp_path: Path
) -> None:
    program = tmp_path / "give.sh"
    given = {"Version": 1, "AccessKeyId": "AKIAGIVEN", "SecretAccessKey": "s", "SessionToken": "t"}
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(given)}\nEND\n")
    program.chmod(0o755)
    config = f"[profile depot]\nregion = eu-north-1\ncredential_process = {program}\n"
    assert profiles(config).put_bytes("scene/a", b"x") is True
    assert "Credential=AKIAGIVEN/" in fake.headers[0]["authorization"]
    assert "/eu-north-1/s3/" in fake.headers[0]["authorization"]
    assert fake.headers[0]["x-amz-security-token"] == "t"
    program.write_text("#!/bin/sh\necho the depot is closed >&2\nexit 3\n")
    with pytest.raises(ConfigError, match=r"AWS_PROFILE depot: .*the depot is closed$"):
        profiles(config).put_bytes("scene/b", b"x")


SSO = """[profile depot]
sso_account_id = 123456789012
sso_role_name = uploader
region = eu-north-1
"""


@pytest.mark.parametrize(("form", "is_cached"), [("session", True), ("session", False), ("legacy", False)])
def test_a_single_sign_on_that_has_ended_names_the_command_that_renews_it(
    fake: FakeStore, profiles: Callable[[str], ObjectStore], form: str, *, is_cached: bool
) -> None:
    start = "https://depot.example.org/start"
    if form == "session":
        config = f"{SSO}sso_session = depot\n[sso-session depot]\nsso_start_url = {start}\nsso_region = eu-north-1\n"
    else:
        config = f"{SSO}sso_start_url = {start}\nsso_region = eu-north-1\n"
    if is_cached:
        cache = Path(os.environ["HOME"]) / ".aws/sso/cache"
        cache.mkdir(parents=True)
        token = {"startUrl": start, "region": "eu-north-1", "accessToken": "t", "expiresAt": "2020-01-01T00:00:00Z"}
        for name in ("depot", start):
            (cache / f"{hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()}.json").write_text(
                json.dumps(token)
            )
    with pytest.raises(AuthError, match=r"AWS profile depot: .*aws sso login --profile depot"):
        profiles(config).put_bytes("scene/a", b"x")
    assert fake.requests == []
