# SPDX-License-Identifier: Apache-2.0
"""Which certificates are trusted: one answer for the service and for the object store."""

from __future__ import annotations

import os
from collections.abc import Mapping

from nucleus_bridge.errors import ConfigError

VARIABLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
REMEDY = f"set {VARIABLES[-1]} (or {VARIABLES[0]}, {VARIABLES[1]}) to a file with the certificate of its authority"


def ca_bundle(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the file of trusted certificates that the environment names, or None for the system's.

    Raises:
        ConfigError: It names a file that is not there.
    """
    for variable in VARIABLES:
        if path := environment.get(variable, "").strip():
            if not os.access(path, os.R_OK):
                raise ConfigError(f"{variable}: {path} cannot be read")
            return path
    return None
