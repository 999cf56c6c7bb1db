# SPDX-License-Identifier: Apache-2.0
"""Store URLs: which store, which prefix, which options; the URLs under which items are read; obstore's client for one.

Credentials come from the store's own environment variables.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from nucleus_bridge.errors import ConfigError
from nucleus_bridge.spool.destination import is_loopback
from nucleus_bridge.upload.certificates import ca_bundle
from nucleus_bridge.upload.store.answers import first_line
from nucleus_bridge.upload.store.credentials import ProfileCredentials, profile_credentials

_SCHEMES = {"s3": "s3", "s3a": "s3", "gs": "gs", "az": "az", "abfs": "az", "file": "file"}
_OPTIONS = {
    "s3": ("endpoint", "region", "virtual_hosted_style_request", "conditional_put"),
    "gs": ("endpoint", "conditional_put"),
    "az": ("endpoint", "account_name", "use_emulator", "conditional_put"),
    "file": (),
}

CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account's key",
    "az": (
        "set AZURE_STORAGE_ACCOUNT_NAME and one of AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, or "
        "AZURE_CLIENT_ID with AZURE_CLIENT_SECRET and AZURE_TENANT_ID"
    ),
}
"""How each store's client is given credentials."""


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


def open_backend(url: StoreUrl, timeout_s: float, name: str) -> tuple[Any, ProfileCredentials | None]:
    """Make the client, and what gives it credentials if it does not find them itself; nothing is sent yet.

    Raises:
        ConfigError: The URL cannot be used, or the package obstore is not installed.
    """
    try:
        import obstore.store as stores  # noqa: PLC0415 - an extra
        from obstore.exceptions import BaseError  # noqa: PLC0415 - an extra
    except ImportError:
        message = "object stores need obstore, which is not installed: pip install 'nucleus-bridge[cloud]'"
        raise ConfigError(message) from None
    client = {"timeout": f"{timeout_s:.0f}s", "connect_timeout": f"{min(10.0, timeout_s):.0f}s"}
    if endpoint_of(url).startswith("http://") or url.options.get("use_emulator"):
        client["allow_http"] = "true"
    common: dict[str, Any] = {
        "prefix": url.prefix or None,
        "client_options": client,
        "retry_config": {"max_retries": 0, "retry_timeout": dt.timedelta(seconds=timeout_s)},
    }
    if (bundle := ca_bundle()) is not None:
        os.environ["SSL_CERT_FILE"] = bundle  # where obstore looks
    try:
        if url.scheme == "file":
            return stores.LocalStore(url.prefix, mkdir=True), None
        if url.scheme == "s3":
            profile = profile_credentials()
            options: Any = {"config": _s3_config(url, profile), "credential_provider": profile}
            return stores.S3Store(url.bucket, **options, **common), profile
        if url.scheme == "gs":
            config: Any = {"base_url": url.options["endpoint"]} if "endpoint" in url.options else {}
            return stores.GCSStore(url.bucket, config=config, **common), None
        return stores.AzureStore(url.bucket, config=_azure_config(url), **common), None
    except (BaseError, ValueError, OSError) as error:
        raise ConfigError(f"{name} {url.text}: {first_line(error).rstrip('.')}{_remedy(url)}") from None


def _remedy(url: StoreUrl) -> str:
    """Return what to do when a client cannot be made: it has looked at the store's environment variables."""
    if url.scheme not in ("gs", "az"):
        return ""
    unread = "AZURE_STORAGE_CONNECTION_STRING"
    why = f"; {unread} is not read" if url.scheme == "az" and os.environ.get(unread) else ""
    return f"{why}; {CREDENTIALS[url.scheme]}"


def _s3_config(url: StoreUrl, profile: ProfileCredentials | None) -> Any:  # noqa: ANN401 - obstore types every key
    config = {key: value for key, value in url.options.items() if key != "conditional_put"}
    # no certificate covers a bucket's name with dots as a host
    by_path = bool(endpoint_of(url)) or "." in url.bucket
    config.setdefault("virtual_hosted_style_request", "false" if by_path else "true")
    config["checksum_algorithm"] = "sha256"
    if profile is not None and profile.region and not os.environ.get("AWS_REGION"):
        config.setdefault("region", profile.region)
    return config


def endpoint_of(url: StoreUrl) -> str:
    """Return the address of a store that is not at its usual one; empty for one that is."""
    variables = {"s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"), "az": ("AZURE_ENDPOINT",)}
    found = [url.options.get("endpoint", ""), *(os.environ.get(name, "") for name in variables.get(url.scheme, ()))]
    return next((endpoint for endpoint in found if endpoint), "")


def _azure_config(url: StoreUrl) -> Any:  # noqa: ANN401 - obstore types every key
    names = {"use_emulator": "azure_storage_use_emulator", "endpoint": "endpoint", "account_name": "account_name"}
    return {names[name]: value for name, value in url.options.items() if name in names}
