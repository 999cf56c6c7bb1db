# SPDX-License-Identifier: Apache-2.0
"""An upload to Azure over real HTTP; NUCLEUS_BRIDGE_AZURITE names the program of the stand-in (azurite-blob)."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

pytest.importorskip("obstore", reason="the extra 'cloud' is not installed")

import obstore
from obstore.store import AzureStore
from store_servers import azurite
from upload_scenes import KEY, held_scenes, seal_scene, seal_scenes, settings, states

from nucleus_bridge.testing.receiver import Receiver
from nucleus_bridge.upload.uploader import Uploader

if not os.environ.get("NUCLEUS_BRIDGE_AZURITE"):
    pytest.skip("NUCLEUS_BRIDGE_AZURITE is not set: no Azure store to test with", allow_module_level=True)

ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def create_container(endpoint: str) -> None:
    """Make the container through a signed request, which the store's client signs but does not send."""
    import base64
    import datetime as dt
    import hmac

    import requests

    date = dt.datetime.now(dt.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
    headers = {"x-ms-date": date, "x-ms-version": "2021-08-06", "Content-Length": "0"}
    canonical = f"x-ms-date:{date}\nx-ms-version:2021-08-06\n/{ACCOUNT}/{ACCOUNT}/container\nrestype:container"
    text = "PUT" + "\n" * 12 + canonical
    signature = base64.b64encode(hmac.new(base64.b64decode(ACCOUNT_KEY), text.encode(), hashlib.sha256).digest())
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{signature.decode()}"
    answer = requests.put(f"{endpoint}/container?restype=container", headers=headers, timeout=60)
    assert answer.status_code == 201, answer.text


def test_a_spool_arrives_whole_and_is_read_through_presigned_urls(
    spool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY)
    names = [*seal_scenes(spool, 3), seal_scene(spool, 7, frames=1, image_bytes=20 << 20)]
    with azurite(tmp_path / "azure") as port, Receiver(tmp_path / "kept") as receiver:
        endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
        create_container(endpoint)
        chosen = settings(receiver, f"az://container/drives?endpoint={endpoint}", url="presigned")
        summary = Uploader(spool, chosen, key=KEY).run()
        assert summary.complete, states(spool)
        assert sorted(scene["reference_id"] for scene in held_scenes(receiver)) == names
        backend = AzureStore(
            "container", config={"endpoint": endpoint}, prefix="drives", client_options={"allow_http": True}
        )
        arrived = {
            entry["path"]: hashlib.sha256(bytes(obstore.get(backend, entry["path"]).bytes())).hexdigest()
            for page in obstore.list(backend)
            for entry in page
        }
        (spool / "state").rename(spool / "state-before")
        again = Uploader(spool, chosen, key=KEY).run()
        assert again.complete
        assert again.sent == 0
    assert arrived == {
        str(path.relative_to(spool / "scenes")): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (spool / "scenes").rglob("*")
        if path.is_file()
    }
