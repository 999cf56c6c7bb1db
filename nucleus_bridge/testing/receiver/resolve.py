# SPDX-License-Identifier: Apache-2.0
"""Reads what item URLs point to: over HTTP, from folders that stand for buckets, or from an object store."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import requests

from nucleus_bridge.errors import InputError, SceneError
from nucleus_bridge.testing.receiver.scene_rules import shown_url

Resolver = Callable[[str], bytes | Iterable[bytes]]

_BLOCK = 1 << 20
_CONNECT_S, _READ_S, _ITEM_S = 5.0, 30.0, 120.0


class ItemReader:
    """Reads items by URL, within a size limit; other schemes than http and https need a resolver."""

    def __init__(self, resolvers: Mapping[str, Resolver] | None, max_bytes: int) -> None:
        self._resolvers = {"http": _http_chunks, "https": _http_chunks, **(resolvers or {})}
        self._max_bytes = max_bytes

    def chunks(self, url: str) -> Iterator[bytes]:
        """Yield the content behind a URL.

        Raises:
            SceneError: It cannot be read, or is too large.
        """
        scheme = urlsplit(url).scheme
        resolver = self._resolvers.get(scheme)
        if resolver is None:
            message = f"{shown_url(url)} cannot be read: nothing is set up to read {scheme}:// (see serve --help)"
            raise SceneError(message)
        length = 0
        try:
            content = resolver(url)
            for chunk in [content] if isinstance(content, bytes) else content:
                length += len(chunk)
                if length > self._max_bytes:
                    break
                yield chunk
        except Exception as error:  # noqa: BLE001 - a resolver is foreign code, and one scene's failure is not the server's
            raise SceneError(f"{shown_url(url)} cannot be read: {_one_line(error)}") from None
        if length > self._max_bytes:
            raise SceneError(f"{shown_url(url)} has more than {self._max_bytes} bytes")

    def read(self, url: str) -> bytes:
        """Return the whole content behind a URL.

        Raises:
            SceneError: It cannot be read, or is too large.
        """
        return b"".join(self.chunks(url))


def resolvers_from_mappings(mappings: Sequence[str]) -> dict[str, Resolver]:
    """Read ``URL-PREFIX=FOLDER`` entries, such as ``s3://bucket=/some/folder``, into a resolver a scheme.

    Raises:
        InputError: An entry is not of that form, or its folder does not exist.
    """
    folders: dict[str, dict[str, Path]] = {}
    for entry in mappings:
        prefix, _, folder = entry.partition("=")
        scheme = urlsplit(prefix).scheme
        if not scheme or "://" not in prefix or not folder:
            raise InputError(f"mapping {entry!r} must be written URL-PREFIX=FOLDER, such as s3://bucket=/some/folder")
        if not Path(folder).is_dir():
            raise InputError(f"mapping {entry!r}: {folder} is not a folder")
        folders.setdefault(scheme, {})[prefix.rstrip("/") + "/"] = Path(folder).resolve()
    return {scheme: _folder_resolver(prefixes) for scheme, prefixes in folders.items()}


def object_store_resolver(endpoint: str = "") -> Resolver:
    """Return a resolver for s3:// and gs:// URLs; credentials come from the store's own variables.

    Args:
        endpoint: Base URL of an S3-compatible store; empty for the real one.

    Raises:
        InputError: The package obstore is not installed.
    """
    try:
        import obstore  # noqa: PLC0415 - an extra
        from obstore.store import GCSStore, S3Store  # noqa: PLC0415 - an extra
    except ImportError:
        raise InputError("reading from an object store needs obstore: pip install 'nucleus-bridge[cloud]'") from None
    stores: dict[tuple[str, str], Any] = {}

    def open_store(scheme: str, bucket: str) -> Any:  # noqa: ANN401 - one of obstore's
        if scheme == "gs":
            return GCSStore(bucket)
        if not endpoint:
            return S3Store(bucket)
        options: dict[str, Any] = {"client_options": {"allow_http": endpoint.startswith("http://")}}
        return S3Store(bucket, endpoint=endpoint, virtual_hosted_style_request=False, **options)

    def resolve(url: str) -> Iterator[bytes]:
        scheme, _, rest = url.partition("://")
        bucket, _, key = rest.partition("/")
        if (scheme, bucket) not in stores:
            stores[scheme, bucket] = open_store(scheme, bucket)
        for chunk in obstore.get(stores[scheme, bucket], key).stream(min_chunk_size=_BLOCK):
            yield bytes(chunk)

    return resolve


def _folder_resolver(prefixes: Mapping[str, Path]) -> Resolver:
    def resolve(url: str) -> Iterator[bytes]:
        matching = [prefix for prefix in prefixes if url.startswith(prefix)]
        if not matching:
            raise FileNotFoundError(f"no mapping for it; there are {', '.join(prefixes)}")
        prefix = max(matching, key=len)
        key = url[len(prefix) :]
        if url.startswith("file:"):
            key = unquote(key)
        path = (prefixes[prefix] / key.lstrip("/")).resolve()
        if not path.is_relative_to(prefixes[prefix]) or not path.is_file():
            raise FileNotFoundError("no such file")
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block

    return resolve


def _http_chunks(url: str) -> Iterator[bytes]:
    deadline = time.monotonic() + _ITEM_S
    try:
        with requests.Session() as session:
            session.trust_env = not _is_loopback(urlsplit(url).hostname or "")  # no proxy on the way to ourselves
            with session.get(url, stream=True, timeout=(_CONNECT_S, _READ_S)) as response:
                if response.status_code != requests.codes.ok:
                    raise ConnectionError(f"HTTP status {response.status_code}")
                response.raw.enforce_content_length = True  # urllib3 before 2 does not do so by itself
                for chunk in response.iter_content(_BLOCK):
                    yield chunk
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"not finished after {_ITEM_S:.0f} s")
    except requests.RequestException as error:
        message = type(error).__name__  # its text would show the URL with its signature
        raise ConnectionError(message) from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _one_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
