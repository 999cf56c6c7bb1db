# SPDX-License-Identifier: Apache-2.0
"""From a store's URL to obstore's client for it; credentials come from the store's own environment variables."""

from __future__ import annotations

import datetime as dt
import os
from typing import Any

from nucleus_bridge.errors import ConfigError
from nucleus_bridge.upload.certificates import ca_bundle
from nucleus_bridge.upload.store.answers import first_line
from nucleus_bridge.upload.store.credentials import ProfileCredentials, profile_credentials
from nucleus_bridge.upload.store.url import StoreUrl


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
    if _endpoint(url).startswith("http://") or url.options.get("use_emulator"):
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
        raise ConfigError(f"{name} {url.text}: {first_line(error)}") from None


def _s3_config(url: StoreUrl, profile: ProfileCredentials | None) -> Any:  # noqa: ANN401 - obstore types every key
    config = {key: value for key, value in url.options.items() if key != "conditional_put"}
    # no certificate covers a bucket's name with dots as a host
    by_path = bool(_endpoint(url)) or "." in url.bucket
    config.setdefault("virtual_hosted_style_request", "false" if by_path else "true")
    config["checksum_algorithm"] = "sha256"
    if profile is not None and profile.region and not os.environ.get("AWS_REGION"):
        config.setdefault("region", profile.region)
    return config


def _endpoint(url: StoreUrl) -> str:
    variables = {"s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"), "az": ("AZURE_ENDPOINT",)}
    found = [url.options.get("endpoint", ""), *(os.environ.get(name, "") for name in variables.get(url.scheme, ()))]
    return next((endpoint for endpoint in found if endpoint), "")


def _azure_config(url: StoreUrl) -> Any:  # noqa: ANN401 - obstore types every key
    names = {"use_emulator": "azure_storage_use_emulator", "endpoint": "endpoint", "account_name": "account_name"}
    return {names[name]: value for name, value in url.options.items() if name in names}
