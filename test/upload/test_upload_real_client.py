# SPDX-License-Identifier: Apache-2.0
"""The service's own client reads back what we sent, and sends the same scene the same way, key by key."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from store_servers import moto
from upload_scenes import KEY, records, seal_scenes, settings

from nucleus_bridge.testing.receiver import Receiver, object_store_resolver
from nucleus_bridge.upload.uploader import Uploader


def ask(python: Path, what: str, receiver: Receiver, **request: Any) -> Any:
    program = Path(__file__).parent / "upload_client_program.py"
    run = subprocess.run(
        [str(python), str(program), what],
        input=json.dumps({"key": KEY, "endpoint": receiver.url, **request}),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_the_real_client_reads_back_our_scenes_and_sends_the_same(
    client_python: Path, tmp_path: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("moto.server", reason="moto is not installed")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    names = seal_scenes(spool, 2, frames=3)
    kept = tmp_path / "kept"
    with moto() as s3, Receiver(kept, resolvers={"s3": object_store_resolver(s3)}) as receiver:
        assert Uploader(spool, settings(receiver, f"s3://bucket/drives?endpoint={s3}"), key=KEY).run().complete
        ours = [path for path in kept.glob("datasets/*/uploads/*") if not path.name.startswith(".")]
        sent = [json.loads(line) for path in ours for line in path.read_bytes().splitlines()]
        assert len(ours) == len(sent) == 2  # the first to a new destination goes alone
        read = ask(client_python, "read_back", receiver, dataset="drives")
        assert sorted(read["scenes"]) == names
        by_name = {payload["reference_id"]: payload for payload in sent}
        assert {payload["reference_id"]: payload for payload in read["payloads"]} == by_name
        assert ask(client_python, "send", receiver, dataset="theirs", payloads=sent) == {"status": "Completed"}
        (theirs,) = [p for p in kept.glob("datasets/*/uploads/*") if p not in ours and not p.name.startswith(".")]
        raw = theirs.read_bytes()
        assert {row["reference_id"]: row for row in map(json.loads, raw.splitlines())} == by_name
        assert raw.endswith(b"\n")
        assert all(path.read_bytes().endswith(b"\n") for path in ours)
        calls = [(record.method, record.path) for record in receiver.requests]
    assert ("GET", f"/v1/nucleus/job/{records(spool)[names[0]].job_id}") in calls
