# SPDX-License-Identifier: Apache-2.0
"""Store URLs and item URLs: what is taken, what is refused and why."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from nucleus_bridge.errors import ConfigError
from nucleus_bridge.upload.store.objects import open_store
from nucleus_bridge.upload.store.url import check_url_kind, parse_store_url

PUBLIC = "https://api.scale.com/v1/nucleus"
LOCAL = "http://127.0.0.1:8080/v1/nucleus"


@pytest.mark.parametrize(
    ("text", "native"),
    [
        ("s3://bucket", "s3://bucket/scene/lidar/000000.json"),
        ("s3://bucket/", "s3://bucket/scene/lidar/000000.json"),
        ("s3://bucket/a/b/?region=eu-west-1", "s3://bucket/a/b/scene/lidar/000000.json"),
        ("gs://bucket/a", "gs://bucket/a/scene/lidar/000000.json"),
        ("az://container/a", "az://container/a/scene/lidar/000000.json"),
        ("file:///data/my%20objects/", "file:///data/my%20objects/scene/lidar/000000.json"),
    ],
)
def test_keys_are_prefix_scene_and_path(text: str, native: str) -> None:
    url = parse_store_url(text)
    assert url.native(url.key("scene", "lidar/000000.json")) == native


@pytest.mark.parametrize(
    "text", ["", "bucket", "http://bucket/a", "s3:///a", "file://host/a", "file:relative", "s3://id:secret@bucket/a"]
)
def test_what_is_no_store_is_refused_without_showing_secrets(text: str) -> None:
    with pytest.raises(ConfigError, match=r"upload\.store") as caught:
        parse_store_url(text)
    assert "secret" not in str(caught.value)


def test_credentials_have_no_place_in_the_options() -> None:
    with pytest.raises(ConfigError, match="environment variables") as caught:
        parse_store_url("s3://bucket/a?secret_access_key=topsecret")
    assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("store", "kind", "base", "endpoint", "problem"),
    [
        ("s3://b/p", "native", "", PUBLIC, ""),
        ("gs://b/p", "native", "", PUBLIC, ""),
        ("az://b/p", "native", "", PUBLIC, "presigned"),
        ("az://b/p", "presigned", "", PUBLIC, ""),
        ("file:///p", "native", "", PUBLIC, "only a receiver on this machine"),
        ("file:///p", "native", "", LOCAL, ""),
        ("file:///p", "presigned", "", LOCAL, "cannot sign"),
        ("file:///p", "public", "https://cdn.example.org/p", PUBLIC, ""),
        ("s3://b/p", "public", "", PUBLIC, "public_base_url"),
        ("s3://b/p", "public", "ftp://x", PUBLIC, "public_base_url"),
    ],
)
def test_urls_that_the_service_cannot_read_are_refused_with_the_reason(
    store: str, kind: str, base: str, endpoint: str, problem: str
) -> None:
    parsed = parse_store_url(store)
    if not problem:
        check_url_kind(parsed, kind, base, endpoint)
        return
    with pytest.raises(ConfigError, match=problem):
        check_url_kind(parsed, kind, base, endpoint)


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real_import = builtins.__import__

    def refuse(name: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith("obstore"):
            raise ImportError(name)
        return real_import(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigError, match=r"nucleus-bridge\[cloud\]"):
        open_store(f"file://{tmp_path}")
