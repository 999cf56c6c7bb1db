# SPDX-License-Identifier: Apache-2.0
"""What an object store answers over real HTTP: what is told, what ends at once, what is tried or put again."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import ipaddress
import os
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("obstore", reason="the extra 'cloud' is not installed")

from nucleus_bridge.errors import AuthError, ConfigError, StoreConflictError, StoreError, UnavailableError, UploadError
from nucleus_bridge.spool import FileRecord
from nucleus_bridge.upload.http import HttpChannel
from nucleus_bridge.upload.retry import Retry
from nucleus_bridge.upload.store.credentials import profile_credentials
from nucleus_bridge.upload.store.objects import ObjectStore, open_store

CONTENT = b"a cloud"
RECORD = FileRecord("a.json", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


def etag(content: bytes) -> dict[str, str]:
    return {"ETag": f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'}


class FakeS3:
    """Answers with what it is told to; else keeps objects the way a simple store does."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes, dict[str, str]]] = []
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.objects: dict[str, tuple[bytes, str]] = {}
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {key.lower(): value for key, value in self.headers.items()}
                fake.requests.append((self.command, self.path, headers, body))
                if fake.answers:
                    status, content, more = fake.answers.pop(0) if len(fake.answers) > 1 else fake.answers[0]
                else:
                    status, content, more = fake.serve(self.command, self.path, headers, body)
                self.send_response(status)
                for key, value in more.items():
                    self.send_header(key, value)
                if "Content-Length" not in more:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any  # noqa: N815

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def serve(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes, dict[str, str]]:
        found = self.objects.get(path)
        if method == "PUT":
            if found is not None and headers.get("if-none-match") == "*":
                return 412, b"", {}
            self.objects[path] = (body, headers.get("x-amz-meta-sha256", ""))
            return 200, b"", etag(body)
        if found is None:
            return 404, b"", {}
        content, sha = found
        more = {"x-amz-meta-sha256": sha, "ETag": '"1"', "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
        return 200, content, {**more, "Content-Length": str(len(content))}

    def say(self, status: int, code: str = "", message: str = "The reason.", **headers: str) -> None:
        body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode() if code else b""
        self.answers.append((status, body, {key.replace("_", "-"): value for key, value in headers.items()}))


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    fake = FakeS3()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


def store_of(s3: FakeS3, more: str = "") -> ObjectStore:
    retry = Retry(give_up_after_s=0.3, random=lambda: 0.1)
    return open_store(f"s3://bucket/x?endpoint={s3.url}&region=us-east-1{more}", retry=retry, timeout_s=5)


@pytest.mark.parametrize(
    ("status", "code", "kind", "remedy"),
    [
        (400, "ExpiredToken", AuthError, "get new credentials"),
        (403, "InvalidAccessKeyId", AuthError, "check the store's credentials"),
        (403, "SignatureDoesNotMatch", AuthError, "check the store's credentials"),
        (403, "AccessDenied", AuthError, "allow listing, reading and creating"),
        (401, "", AuthError, "credentials"),
        (403, "RequestTimeTooSkewed", StoreError, "clock right"),
        (400, "AuthorizationHeaderMalformed", StoreError, "AWS_REGION"),
        (301, "PermanentRedirect", StoreError, "AWS_REGION"),
        (307, "TemporaryRedirect", StoreError, "AWS_REGION"),
        (400, "IllegalLocationConstraintException", StoreError, "AWS_REGION"),
        (501, "NotImplemented", StoreError, "conditional_put=false"),
        (404, "NoSuchBucket", StoreError, "bucket's name"),
        (400, "InvalidRequest", StoreError, ""),
        (418, "", StoreError, ""),
    ],
)
def test_what_will_not_pass_ends_at_once_with_code_message_and_remedy(
    s3: FakeS3, status: int, code: str, kind: type[Exception], remedy: str
) -> None:
    s3.say(status, code)
    with pytest.raises(kind) as caught:
        store_of(s3).put_bytes("scene/a", b"x")
    told = str(caught.value)
    assert type(caught.value) is kind
    assert remedy in told
    if code and status not in (301, 307):
        assert f"HTTP {status} {code}: The reason." in told
    assert len([request for request in s3.requests if request[0] == "PUT"]) == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (500, "InternalError"),
        (503, "SlowDown"),
        (503, ""),
        (429, "TooManyRequests"),
        (400, "RequestTimeout"),
        (400, "BadDigest"),
        (408, ""),
        (409, "ConditionalRequestConflict"),
    ],
)
def test_what_may_pass_is_tried_again(s3: FakeS3, status: int, code: str) -> None:
    s3.say(status, code)
    s3.answers.append((200, b"", etag(b"x")))
    assert store_of(s3).put_bytes("scene/a", b"x") is True
    assert [method for method, *_ in s3.requests if method != "HEAD"] == ["PUT", "PUT"]
    s3.answers.clear()
    s3.say(status, code)
    with pytest.raises(UnavailableError, match="given up after"):
        store_of(s3).put_bytes("scene/a", b"x")


def test_the_reason_of_an_answer_without_a_body_is_asked_for(s3: FakeS3) -> None:
    s3.say(400)  # as S3 answers to HEAD
    s3.say(400, "ExpiredToken")
    with pytest.raises(AuthError, match=r"ExpiredToken.*get new credentials"):
        store_of(s3).holds("scene/a.json", RECORD)


def test_a_redirect_loop_ends_at_once(s3: FakeS3) -> None:
    s3.say(302, Location=f"{s3.url}/bucket/elsewhere")
    with pytest.raises(StoreError, match="AWS_REGION"):
        store_of(s3).size("scene/a")
    assert len(s3.requests) < 30


def test_each_put_carries_a_checksum_and_its_digest(s3: FakeS3, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(CONTENT)
    assert store_of(s3).put_file("scene/a.json", path, RECORD, absent=True)
    _, _, headers, body = s3.requests[0]
    assert body == CONTENT
    assert bytes.fromhex(RECORD.sha256) == base64.b64decode(headers["x-amz-checksum-sha256"])
    assert headers["x-amz-meta-sha256"] == RECORD.sha256
    assert headers["if-none-match"] == "*"


def test_an_object_that_was_cut_is_put_again_and_another_one_is_a_conflict(s3: FakeS3, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(CONTENT)
    s3.objects["/bucket/x/scene/a.json"] = (CONTENT[:3], RECORD.sha256)
    assert store_of(s3).put_file("scene/a.json", path, RECORD, absent=False)
    assert s3.objects["/bucket/x/scene/a.json"][0] == CONTENT
    s3.objects["/bucket/x/scene/a.json"] = (b"another", "0" * 64)
    with pytest.raises(StoreConflictError, match="never overwritten"):
        store_of(s3).put_file("scene/a.json", path, RECORD, absent=False)
    assert s3.objects["/bucket/x/scene/a.json"][0] == b"another"


def test_a_store_without_conditional_put_is_looked_at_before(s3: FakeS3) -> None:
    store = store_of(s3, "&conditional_put=false")
    assert store.put_bytes("scene/a", b"one") is True
    assert store.put_bytes("scene/a", b"two") is False
    assert s3.objects["/bucket/x/scene/a"][0] == b"one"
    assert [(method, "if-none-match" in headers) for method, _, headers, _ in s3.requests] == [
        ("HEAD", False),
        ("PUT", False),
        ("HEAD", False),
        ("HEAD", False),
    ]
    with pytest.raises(ConfigError, match="conditional_put must be true or false"):
        store_of(s3, "&conditional_put=maybe")


def test_a_bucket_with_dots_is_addressed_by_path(monkeypatch: pytest.MonkeyPatch, s3: FakeS3) -> None:
    store = open_store("s3://drives.example.org/x?region=eu-central-1")
    (url,) = store.item_urls(["scene/a"], "presigned", public_base_url="", expires_s=60)
    assert url.startswith("https://s3.eu-central-1.amazonaws.com/drives.example.org/x/scene/a?")


def certificate(folder: Path) -> tuple[Path, Path, Path]:
    """Make an authority and a server's certificate that it signed."""
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = dt.datetime.now(dt.timezone.utc)

    def make(name: str, signer: Any, issuer: str, *, is_authority: bool) -> tuple[Any, Any]:
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, issuer)]
        builder = (
            x509.CertificateBuilder()
            .subject_name(names[0])
            .issuer_name(names[1])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if not is_authority:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        return key, builder.sign(signer or key, hashes.SHA256())

    authority_key, authority = make("authority", None, "authority", is_authority=True)
    key, leaf = make("store", authority_key, "authority", is_authority=False)
    pem = serialization.Encoding.PEM
    paths = folder / "authority.pem", folder / "store.pem", folder / "store.key"
    paths[0].write_bytes(authority.public_bytes(pem))
    paths[1].write_bytes(leaf.public_bytes(pem))
    plain = serialization.NoEncryption()
    paths[2].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return paths


@pytest.fixture
def encrypted(s3: FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """Encrypt the store with a certificate that nobody trusts yet; returns its URL and the authority's file."""
    authority, chain, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    s3.server.socket = context.wrap_socket(s3.server.socket, server_side=True)
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    s3.answers.append((200, b"{}", etag(b"x")))
    return s3.url.replace("http://", "https://"), authority


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_store_and_service_trust_the_same_authority(
    encrypted: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    url, authority = encrypted
    monkeypatch.setenv("SSL_CERT_FILE", "")  # so that it is put back after the test
    monkeypatch.setenv(variable, str(authority))
    store = open_store(f"s3://bucket/x?endpoint={url}&region=us-east-1", retry=Retry(give_up_after_s=1.0))
    assert store.put_bytes("scene/a", b"x") is True
    assert HttpChannel("key", 5.0, key_variable="K").call("GET", f"{url}/v1") == {}


def test_a_certificate_that_is_not_trusted_ends_at_once_with_the_remedy(encrypted: tuple[str, Path]) -> None:
    url, _ = encrypted
    calls: list[Callable[[], object]] = [
        lambda: open_store(f"s3://bucket/x?endpoint={url}&region=us-east-1").put_bytes("scene/a", b"x"),
        lambda: HttpChannel("key", 5.0, key_variable="K").call("GET", f"{url}/v1"),
    ]
    for call in calls:
        with pytest.raises(UploadError, match=r"certificate.*not trusted.*SSL_CERT_FILE"):
            call()


def test_a_profile_without_boto3_names_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ConfigError, match=r"AWS_PROFILE depot: .*pip install 'nucleus-bridge\[aws\]'"):
        profile_credentials({"AWS_PROFILE": "depot"})


def test_a_profile_of_the_credentials_file_is_used(s3: FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("boto3", reason="boto3 is not installed")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    file = tmp_path / "credentials"
    file.write_text("[depot]\naws_access_key_id = AKIADEPOT\naws_secret_access_key = s\nregion = eu-north-1\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_PROFILE", "depot")
    store = open_store(f"s3://bucket/x?endpoint={s3.url}", retry=Retry(give_up_after_s=1.0))
    assert store.put_bytes("scene/a", b"x")
    assert "Credential=AKIADEPOT/" in s3.requests[0][2]["authorization"]
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigError, match="AWS_PROFILE nobody"):
        open_store("s3://bucket/x")
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    assert profile_credentials() is None  # what stands in the environment itself counts first
