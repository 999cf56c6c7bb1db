# SPDX-License-Identifier: Apache-2.0
"""AWS credentials that obstore does not find by itself: profiles, SSO and credential files, through boto3."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nucleus_bridge.errors import ConfigError

_OTHER_SOURCES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_FILES = (("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), ("AWS_CONFIG_FILE", "~/.aws/config"))
_LIFE = dt.timedelta(minutes=5)


class ProfileCredentials:
    """Gives obstore the credentials of a profile, anew when they run out.

    Attributes:
        profile: Its name.
        region: The profile's region, or None.
        error: Why the credentials could not be had the last time; empty when they could.
    """

    def __init__(self, session: Any, profile: str) -> None:  # noqa: ANN401 - boto3 has no types
        self.profile = profile
        self.region: str | None = session.region_name
        self.error = ""
        self._credentials = session.get_credentials()

    def __call__(self) -> dict[str, object]:
        """Return the credentials of now."""
        try:
            frozen = self._credentials.get_frozen_credentials()
        except Exception as error:
            self.error = " ".join(str(error).split())[:300]
            raise
        self.error = ""
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": dt.datetime.now(dt.timezone.utc) + _LIFE,
        }


def profile_credentials(environment: Mapping[str, str] = os.environ) -> ProfileCredentials | None:
    """Return the credentials of the profile that the environment names or the user's files hold, if any.

    Raises:
        ConfigError: A profile is named and cannot be used.
    """
    named = environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE") or ""
    if any(environment.get(name) for name in _OTHER_SOURCES):
        return None  # as for Amazon's own tools
    files = [Path(environment.get(name) or default).expanduser() for name, default in _FILES]
    if not named and not any(file.is_file() for file in files):
        return None
    try:
        import boto3  # noqa: PLC0415 - optional
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - optional
    except ImportError:
        if not named:
            return None
        needed = "profiles and SSO need boto3, which is not installed: pip install 'nucleus-bridge[aws]'"
        message = f"AWS_PROFILE {named}: {needed}"
        raise ConfigError(message) from None
    try:
        session = boto3.Session(profile_name=named or None)
        found = ProfileCredentials(session, named or "default")
    except BotoCoreError as error:
        raise ConfigError(f"AWS_PROFILE {named or 'default'}: {' '.join(str(error).split())}") from None
    if found._credentials is None:  # noqa: SLF001 - its own module
        if named:
            raise ConfigError(f"AWS_PROFILE {named}: the profile holds no credentials")
        return None
    return found
