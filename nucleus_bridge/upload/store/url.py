# SPDX-License-Identifier: Apache-2.0
"""Store URLs: which store, which prefix, which options; and the URLs under which its items are read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from nucleus_bridge.errors import ConfigError
from nucleus_bridge.spool.destination import is_loopback

_SCHEMES = {"s3": "s3", "s3a": "s3", "gs": "gs", "az": "az", "abfs": "az", "file": "file"}
_OPTIONS = {
    "s3": ("endpoint", "region", "virtual_hosted_style_request", "conditional_put"),
    "gs": ("endpoint", "conditional_put"),
    "az": ("endpoint", "account_name", "use_emulator", "conditional_put"),
    "file": (),
}


@dataclass(frozen=True)
class StoreUrl:
    """A store URL taken apart.

    Attributes:
        scheme: s3, gs, az or file.
        bucket: Bucket or container; empty for file.
        prefix: What every key starts with, without slashes at its ends; the folder for file.
        options: What stood after the question mark.
    """

    scheme: str
    bucket: str
    prefix: str
    options: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The URL without its options."""
        if self.scheme == "file":
            return f"file://{quote(self.prefix)}"
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")

    def key(self, reference_id: str, path: str = "") -> str:
        """Return an object's key below the prefix: a function of scene and file alone."""
        return f"{reference_id}/{path}"

    def native(self, key: str) -> str:
        """Return the URL of an object in the store's own scheme."""
        return f"{self.text}/{quote(key) if self.scheme == 'file' else key}"

    def item_urls(self, keys: Sequence[str], public_base_url: str = "") -> list[str]:
        """Return the URLs under which items are read for good: in the store's own scheme, or below a public one.

        Nucleus knows no scheme for Azure; there the blob's own https address is the native one.
        """
        base = public_base_url or self.blob_address
        if base:
            return [f"{base.rstrip('/')}/{quote(key)}" for key in keys]
        return [self.native(key) for key in keys]

    @property
    def blob_address(self) -> str:
        """The https address of the prefix in Azure; empty for other stores, and when the account is not known."""
        account = self.options.get("account_name") or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
        if self.scheme != "az" or not account:
            return ""
        endpoint = self.options.get("endpoint") or f"https://{account}.blob.core.windows.net"
        return f"{endpoint.rstrip('/')}/{self.bucket}/{quote(self.prefix)}".rstrip("/")


def parse_store_url(text: str, *, name: str = "upload.store") -> StoreUrl:
    """Take a store URL apart; ``name`` is the parameter or option that it was given as.

    Raises:
        ConfigError: It cannot be used.
    """
    parts = urlsplit(text)
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None or parts.username or parts.password:
        examples = "s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or file:///folder"
        raise ConfigError(f"{name} {_shown(text)!r}: must be written {examples}, without credentials")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for option in options:
        if option not in _OPTIONS[scheme]:
            known = ", ".join(_OPTIONS[scheme]) or "none"
            message = f"{name} {_shown(text)!r}: option {option!r} is not one for {scheme}:// (there are: {known})"
            raise ConfigError(f"{message}; credentials belong into the store's own environment variables")
    if options.get("conditional_put", "true") not in ("true", "false"):
        message = f"{name} {_shown(text)!r}: conditional_put must be true or false, not {options['conditional_put']!r}"
        raise ConfigError(message)
    if scheme == "file":
        folder = unquote(parts.path)
        if parts.netloc not in ("", "localhost") or not folder.startswith("/"):
            raise ConfigError(f"{name} {text!r}: a folder must be written file:///folder")
        return StoreUrl(scheme, "", str(Path(folder)), {})
    if not parts.netloc:
        raise ConfigError(f"{name} {_shown(text)!r}: names no bucket")
    return StoreUrl(scheme, parts.netloc, parts.path.strip("/"), options)


def check_url_kind(store: StoreUrl, kind: str, public_base_url: str, endpoint: str) -> None:
    """Make sure that the service can read items under the kind of URL that was chosen.

    Raises:
        ConfigError: It cannot; says what to choose instead.
    """
    if kind == "native" and store.scheme == "az" and not store.blob_address:
        message = "upload.url native: Nucleus reads http, https, s3 and gs, not az; set upload.url: presigned"
        raise ConfigError(f"{message}, or AZURE_STORAGE_ACCOUNT_NAME where the blobs may be read without a signature")
    if kind == "native" and store.scheme == "file" and not is_loopback(endpoint):
        message = f"upload.store {store.text}: only a receiver on this machine can read file:// URLs, not {endpoint}"
        raise ConfigError(f"{message}; use s3://, gs:// or az://")
    if kind == "presigned" and store.scheme == "file":
        raise ConfigError(f"upload.url presigned: {store.text} cannot sign URLs; use native or public")
    if kind == "public" and urlsplit(public_base_url).scheme not in ("http", "https"):
        raise ConfigError("upload.url public: set upload.public_base_url to the https:// URL that stands for the store")


def _shown(text: str) -> str:
    scheme, _, rest = text.partition("?")[0].partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
