# SPDX-License-Identifier: Apache-2.0
"""Where scenes go: what tells one destination from another.

What is known of a scene's upload belongs to one destination. A rehearsal against a local receiver says nothing about
the real dataset, and another store or dataset is work to do.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

NUCLEUS_ENDPOINT = "https://api.scale.com/v1/nucleus"
NUCLEUS_ENDPOINT_VARIABLE = "NUCLEUS_ENDPOINT"
TASK_ENDPOINT = "https://api.scale.com/v1"
TASK_ENDPOINT_VARIABLE = "SCALE_ENDPOINT"
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class DestinationKey:
    """What tells one destination from another.

    Attributes:
        endpoint: The service's URL, normalised.
        store: The object store's URL without its options.
        dataset_id: The dataset; empty for tasks, and while the dataset has not been created.
        dataset_name: The name that the dataset was looked for under, if it was; tells nothing apart.
        project: The project of annotation tasks.
        template: Digest of the task template; empty for datasets.
    """

    endpoint: str = ""
    store: str = ""
    dataset_id: str = ""
    project: str = ""
    template: str = ""
    dataset_name: str = ""

    @property
    def identity(self) -> tuple[str, ...]:
        """What differs between two destinations."""
        return self.endpoint, self.store, self.dataset_id, self.project, self.template

    @property
    def is_loopback(self) -> bool:
        """Whether the service is a rehearsal on this very machine."""
        return is_loopback(self.endpoint)

    @property
    def text(self) -> str:
        """Name it for a person."""
        if self.template:
            what = f"tasks of project {self.project}" if self.project else "tasks"
        else:
            what = f"dataset {self.dataset_id or self.dataset_name or '(not created yet)'}"
        return f"{what} at {self.endpoint or 'an unknown endpoint'}, files in {self.store or 'an unknown store'}"


def normalised_endpoint(url: str) -> str:
    """Return the one way to write an endpoint: lower-case host, no default port, no slash at its end."""
    parts = urlsplit(url.strip())
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return url
    if ":" in host:
        host = f"[{host}]"
    shown = "" if port is None or port == _DEFAULT_PORTS.get(parts.scheme) else f":{port}"
    return urlunsplit((parts.scheme, f"{host}{shown}", parts.path.rstrip("/"), "", ""))


def is_loopback(url: str) -> bool:
    """Whether a URL points to this very machine, where no proxy and no encryption is needed."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
