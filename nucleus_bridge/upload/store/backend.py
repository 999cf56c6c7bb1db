# SPDX-License-Identifier: Apache-2.0
"""From a store's URL to obstore's client for it; credentials come from the store's own environment variables."""

from __future__ import annotations

import datetime as dt
import os
import re
from typing import Any

from nucleus_bridge.errors import ConfigError
from nucleus_bridge.upload.store.url import StoreUrl


def open_backend(url: StoreUrl, timeout_s: float, name: str) -> Any:  # noqa: ANN401 - one of obstore's
    """Make the client; nothing is sent yet.

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
    if _endpoint(url).startswith("http://") or url.options.get("use_emulator"):
        client["allow_http"] = "true"
    common: dict[str, Any] = {
        "prefix": url.prefix or None,
        "client_options": client,
        "retry_config": {"max_retries": 0, "retry_timeout": dt.timedelta(seconds=timeout_s)},
    }
    try:
        if url.scheme == "file":
            return stores.LocalStore(url.prefix, mkdir=True)
        if url.scheme == "s3":
            config: Any = dict(url.options)
            config.setdefault("virtual_hosted_style_request", "false" if _endpoint(url) else "true")
            return stores.S3Store(url.bucket, config=config, **common)
        if url.scheme == "gs":
            config = {"base_url": url.options["endpoint"]} if "endpoint" in url.options else {}
            return stores.GCSStore(url.bucket, config=config, **common)
        return stores.AzureStore(url.bucket, config=_azure_config(url), **common)
    except (BaseError, ValueError, OSError) as error:
        raise ConfigError(f"{name} {url.text}: {one_line(error)}") from None


def _endpoint(url: StoreUrl) -> str:
    variables = {"s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"), "az": ("AZURE_ENDPOINT",)}
    found = [url.options.get("endpoint", ""), *(os.environ.get(name, "") for name in variables.get(url.scheme, ()))]
    return next((endpoint for endpoint in found if endpoint), "")


def _azure_config(url: StoreUrl) -> Any:  # noqa: ANN401 - obstore types every key
    names = {"use_emulator": "azure_storage_use_emulator", "endpoint": "endpoint", "account_name": "account_name"}
    return {names[name]: value for name, value in url.options.items()}


def one_line(error: Exception) -> str:
    """Return the first line of an error, without the query of any URL in it, which may hold a signature."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return re.sub(r"\?[^\s)]*", "", lines[0])[:300]
