# SPDX-License-Identifier: Apache-2.0
"""Reading items from folders, over HTTP and from a real S3 server's stand-in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from receiver_driver import Driver, counts, make_scene

from nucleus_bridge.errors import InputError, SceneError
from nucleus_bridge.testing.receiver import object_store_resolver, resolvers_from_mappings
from nucleus_bridge.testing.receiver.resolve import ItemReader

LIMIT = 1_000_000


def reader(*mappings: str) -> ItemReader:
    return ItemReader(resolvers_from_mappings(mappings), LIMIT)


@contextmanager
def http_server(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve on loopback while the block runs."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def odd_handler(answer: Callable[[BaseHTTPRequestHandler], None]) -> Callable[..., BaseHTTPRequestHandler]:
    return type("Odd", (Quiet,), {"do_GET": answer})


def test_a_folder_stands_for_a_bucket(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.json").write_bytes(b"x" * 3_000)
    assert reader(f"s3://bucket={tmp_path}").read("s3://bucket/a/b/c.json") == b"x" * 3_000


def test_the_longest_prefix_wins(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "x").write_text(name)
        (tmp_path / name / "sub" / "x").write_text(f"{name}/sub")
    mapped = reader(f"s3://b={tmp_path / 'one'}", f"s3://b/sub/={tmp_path / 'two'}", f"gs://b={tmp_path / 'two'}")
    assert [mapped.read(url) for url in ("s3://b/x", "s3://b/sub/x", "gs://b/sub/x")] == [b"one", b"two", b"two/sub"]


def test_file_urls_are_unquoted_and_keys_of_buckets_are_not(tmp_path: Path) -> None:
    (tmp_path / "a b").write_text("space")
    (tmp_path / "a%20b").write_text("percent")
    mapped = reader(f"file:///data={tmp_path}", f"s3://b={tmp_path}")
    assert mapped.read("file:///data/a%20b") == b"space"
    assert mapped.read("s3://b/a%20b") == b"percent"


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/../secret",
        "s3://bucket/a/../../secret",
        "s3://bucket//etc/hostname",
        "s3://bucket/link",
        "s3://bucket/folder",
        "s3://bucket/",
        "s3://bucket/none",
        "s3://bucket/nul\x00",
        "s3://bucketsecret",
        "s3://other/x",
        "file:///data/%2e%2e/secret",
        "gs://bucket/x",
    ],
)
def test_nothing_outside_a_mapped_folder_is_read(tmp_path: Path, url: str) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(SceneError, match="cannot be read"):
        reader(f"s3://bucket={root}", f"file:///data={root}").read(url)


@pytest.mark.parametrize("entry", ["bucket=/tmp", "s3://bucket", "s3://bucket=", "=/tmp", "", "s3://b=/no/such/folder"])
def test_a_mapping_that_cannot_be_meant_is_refused(entry: str) -> None:
    with pytest.raises(InputError, match="mapping"):
        resolvers_from_mappings([entry])


def test_items_are_read_over_http(serve: Callable[..., Driver], bucket: Path) -> None:
    with http_server(partial(Quiet, directory=str(bucket))) as base:
        driver = serve()
        assert counts(driver.upload(driver.create(), make_scene(base=base))) == {"new_scenes": 1}
        gone = make_scene("s2", base=f"{base}/no/such")
        job = driver.upload(driver.create(), gone)
        assert "cannot be read: HTTP status 404" in driver.errors(job)[0]


def test_the_environments_proxy_is_not_asked_for_loopback(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with http_server(partial(Quiet, directory=str(bucket))) as base:
        assert reader().read(f"{base}/cloud.json") == (bucket / "cloud.json").read_bytes()


def test_an_answer_that_never_ends_is_given_up_at_the_limit() -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(10_000):
                handler.wfile.write(b"x" * 65536)
        except OSError:
            pass  # the reader left, as it should

    with http_server(odd_handler(endless)) as base, pytest.raises(SceneError, match=f"more than {LIMIT} bytes"):
        reader().read(f"{base}/x")


def test_an_answer_cut_short_is_an_error() -> None:
    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"half")

    with http_server(odd_handler(cut)) as base, pytest.raises(SceneError, match="cannot be read"):
        reader().read(f"{base}/x?signature=hidden")


@pytest.mark.parametrize("target", ["file:///etc/hostname", "http://127.0.0.1:9/", "/"])
def test_redirects_lead_nowhere_else(target: str) -> None:
    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with http_server(odd_handler(redirect)) as base, pytest.raises(SceneError, match="cannot be read"):
        reader().read(f"{base}/x")


def test_whatever_a_resolver_raises_is_one_scenes_error() -> None:
    def failing(_: str) -> Iterator[bytes]:
        yield b"half"
        raise ZeroDivisionError("first line\nsecond line")

    with pytest.raises(SceneError, match=r"s3://b/x cannot be read: first line$"):
        ItemReader({"s3": failing}, LIMIT).read("s3://b/x?token=hidden")


def test_items_are_read_from_an_object_store(
    serve: Callable[..., Driver], bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    obstore = pytest.importorskip("obstore")
    moto_server = pytest.importorskip("moto.server")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    server = moto_server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        obstore.store.HTTPStore.from_url(endpoint, client_options={"allow_http": True}).put("drives", b"")
        store: Any = obstore.store.S3Store(
            "drives", endpoint=endpoint, client_options={"allow_http": True}, virtual_hosted_style_request=False
        )
        for path in bucket.iterdir():
            store.put(f"run 1/{path.name}", path.read_bytes())
        driver = serve(resolvers={"s3": object_store_resolver(endpoint)})
        dataset = driver.create()
        escaped = driver.upload(dataset, make_scene("s0", base="s3://drives/run%201"))
        assert "cannot be read" in driver.errors(escaped)[0]
        for path in bucket.iterdir():
            store.put(f"run-1/{path.name}", path.read_bytes())
        assert counts(driver.upload(dataset, make_scene("s1", base="s3://drives/run-1"))) == {"new_scenes": 1}
        missing = driver.upload(dataset, make_scene("s2", base="s3://absent/run-1"))
        assert "s3://absent/run-1/cloud.json cannot be read" in driver.errors(missing)[0]
    finally:
        server.stop()
