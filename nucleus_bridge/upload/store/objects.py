# SPDX-License-Identifier: Apache-2.0
"""The object store, through obstore: puts that never overwrite, checks by our own sha256, item URLs."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from nucleus_bridge.errors import AuthError, StoreConflictError, StoreError, UploadError
from nucleus_bridge.spool.manifest import FileRecord
from nucleus_bridge.upload.http import BUSY, HttpChannel
from nucleus_bridge.upload.retry import Retry, TransientError
from nucleus_bridge.upload.sealed_file import PART_BYTES, checked_content, checked_parts
from nucleus_bridge.upload.store.answers import EXISTS_RACES, NO_CREDENTIALS, StoreAnswer, understand
from nucleus_bridge.upload.store.credentials import ProfileCredentials
from nucleus_bridge.upload.store.url import CREDENTIALS, StoreUrl, endpoint_of, open_backend, parse_store_url

LARGE_FILES_AT_ONCE = 2
SHA256 = "sha256"
_UNFINISHED = re.compile(r"#\d+$")
_CONTENT_TYPES = {".json": "application/json", ".jpg": "image/jpeg", ".png": "image/png", ".pb": "application/protobuf"}

Result = TypeVar("Result")


def open_store(
    url: str, *, timeout_s: float = 120.0, retry: Retry | None = None, name: str = "upload.store"
) -> ObjectStore:
    """Open a store by its URL, given as the parameter or option ``name``.

    Credentials come from the store's own environment variables.

    Raises:
        ConfigError: The URL cannot be used, or the package obstore is not installed.
    """
    parsed = parse_store_url(url, name=name)
    backend, profile = open_backend(parsed, timeout_s, name)
    return ObjectStore(parsed, backend, retry or Retry(), profile, timeout_s=timeout_s)


@dataclass(frozen=True)
class StoredObject:
    """An object as a listing shows it.

    Attributes:
        key: Its key below the store's prefix.
        size: Bytes.
        changed_ns: When it was written, ns.
    """

    key: str
    size: int
    changed_ns: int


def _stored_object(entry: Mapping[str, Any]) -> StoredObject:
    changed: dt.datetime = entry["last_modified"]
    return StoredObject(str(entry["path"]), int(entry["size"]), round(changed.timestamp() * 1e6) * 1000)


class ObjectStore:
    """One prefix of one bucket."""

    def __init__(
        self,
        url: StoreUrl,
        backend: Any,  # noqa: ANN401 - one of obstore's
        retry: Retry,
        profile: ProfileCredentials | None = None,
        *,
        timeout_s: float = 120.0,
    ) -> None:
        import obstore  # noqa: PLC0415 - an extra

        self.url = url
        self.retry = retry
        self._api = obstore
        self._backend = backend
        self._large_files = threading.BoundedSemaphore(LARGE_FILES_AT_ONCE)
        self._profile = profile
        self._keeps_attributes = url.scheme != "file"
        self._creates = url.options.get("conditional_put") != "false"
        # Amazon refuses a put whose SHA-256 is not the one that it carries; what else speaks S3 may not look at it
        self._looks_after_put = url.scheme in ("gs", "az") or bool(endpoint_of(url))
        self._timeout_s = timeout_s
        self._closed_until = 0.0

    def put_file(self, key: str, path: Path, record: FileRecord, *, absent: bool) -> bool:
        """Put one file of a scene under a key; returns whether it had to be sent.

        The bytes that are sent are the bytes whose checksum is compared with the manifest. ``absent`` says that the
        key is known to be free, so that it need not be looked at before a large file is sent.

        Raises:
            SceneError: The file is not what the manifest says.
            StoreConflictError: Something else is under the key.
            StoreError: The store cannot take it.
        """
        if record.bytes <= PART_BYTES:
            return self._put_whole(key, checked_content(path, record), record)
        if not absent and self.holds(key, record):
            return False
        if not absent and self.size(key) is not None and not self.is_cut(key, record):
            raise self._conflict(key, record)
        return self._put_parts(key, record, lambda: checked_parts(path, record, self.retry.check))

    def put_content(self, key: str, content: bytes, record: FileRecord) -> bool:
        """Put content under a key that was free when it was last looked at; returns whether it had to be sent.

        Raises:
            StoreConflictError: Something else is under the key.
            StoreError: The store cannot take it.
        """
        if record.bytes <= PART_BYTES:
            return self._put_whole(key, content, record)
        return self._put_parts(key, record, lambda: _parts(content, self.retry.check))

    def put_bytes(self, key: str, content: bytes) -> bool:
        """Put something small under a key; returns False when something is there already that was not cut."""
        record = FileRecord(key, len(content), hashlib.sha256(content).hexdigest())
        return self._created_or_mended(key, content, record)

    def get_bytes(self, key: str) -> bytes | None:
        """Return an object's content, or None when there is none."""

        def get() -> bytes | None:
            try:
                return bytes(self._api.get(self._backend, key).bytes())
            except FileNotFoundError:
                return None

        return self._call(f"get {key}", get)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return part of an object.

        Raises:
            StoreError: It is gone, or shorter than that.
        """

        def get() -> bytes:
            try:
                return bytes(self._api.get_range(self._backend, key, start=start, length=length))
            except FileNotFoundError:
                raise StoreError(f"{self.url.native(key)}: is not there any more") from None

        data = self._call(f"get {key}", get)
        if len(data) != length:
            raise StoreError(f"{self.url.native(key)}: has only {start + len(data)} bytes; it was replaced meanwhile")
        return data

    def objects(self, folder: str) -> list[StoredObject]:
        """List every object below a folder, or the one object of that key."""

        def look() -> list[StoredObject]:
            pages = self._api.list(self._backend, folder or None)
            found = [_stored_object(entry) for page in pages for entry in page]
            if not found and folder:
                with suppress(FileNotFoundError):
                    found.append(_stored_object(self._api.head(self._backend, folder)))
            return found

        return self._call(f"list {folder}", look)

    def remove(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are gone already are fine."""

        def remove() -> None:
            with suppress(FileNotFoundError):
                self._api.delete(self._backend, list(keys))

        if keys:
            self._call(f"remove {len(keys)} objects", remove)

    def holds(self, key: str, record: FileRecord) -> bool:
        """Whether the object under the key is the file of the record, by size and sha256."""

        def look() -> bool:
            try:
                if not self._keeps_attributes:
                    return self._digest(key) == (record.bytes, record.sha256)
                found = self._api.get(self._backend, key, options={"head": True})
                if found.meta["size"] != record.bytes:
                    return False
                stated = found.attributes.get(SHA256)
                return stated == record.sha256 if stated else self._digest(key) == (record.bytes, record.sha256)
            except FileNotFoundError:
                return False

        return self._call(f"look at {key}", look)

    def is_cut(self, key: str, record: FileRecord) -> bool:
        """Whether the object under the key calls itself the file of the record and is not as long: it was cut."""

        def look() -> bool:
            try:
                found = self._api.get(self._backend, key, options={"head": True})
            except FileNotFoundError:
                return False
            return bool(found.meta["size"] != record.bytes and found.attributes.get(SHA256) == record.sha256)

        return self._keeps_attributes and self._call(f"look at {key}", look)

    def size(self, key: str) -> int | None:
        """Return an object's size, or None when there is none."""

        def look() -> int | None:
            try:
                return int(self._api.head(self._backend, key)["size"])
            except FileNotFoundError:
                return None

        return self._call(f"look at {key}", look)

    def sizes(self, reference_id: str) -> dict[str, int]:
        """Return path and size of every object of a scene."""
        start = self.url.key(reference_id)
        return {key.removeprefix(start): size for key, size in self._listed(start) if key.startswith(start)}

    def sweep(self, reference_id: str) -> None:
        """Remove what killed uploads left of a scene in a folder; other stores keep unfinished objects out of sight."""
        if self.url.scheme == "file":
            with suppress(OSError):
                for path in (Path(self.url.prefix) / reference_id).rglob("*#*"):
                    if _UNFINISHED.search(path.name) and path.is_file():
                        path.unlink()

    def scenes(self) -> list[str]:
        """Return the reference ids of all scenes that have an object."""

        def look() -> list[str]:
            found = self._api.list_with_delimiter(self._backend, None)["common_prefixes"]
            return sorted(prefix.rstrip("/").rpartition("/")[2] for prefix in found)

        return self._call("list the scenes", look)

    def item_urls(self, keys: Sequence[str], kind: str, *, public_base_url: str, expires_s: int) -> list[str]:
        """Return the URLs under which items are read; presigned ones start to expire now."""
        if kind != "presigned":
            return self.url.item_urls(keys, public_base_url if kind == "public" else "")
        life = dt.timedelta(seconds=expires_s)
        signed: list[str] = self._call(
            "sign URLs", lambda: list(self._api.sign(self._backend, "GET", list(keys), life)) if keys else []
        )
        return signed

    def check_signing(self) -> None:
        """Make sure that the store's credentials can sign URLs.

        Raises:
            AuthError: They are refused, or there are none.
            StoreError: They cannot; says what to do.
        """
        self.item_urls(["a"], "presigned", public_base_url="", expires_s=60)

    def _put_whole(self, key: str, content: bytes, record: FileRecord) -> bool:
        if self._created_or_mended(key, content, record):
            return True
        if self.holds(key, record):
            return False
        raise self._conflict(key, record)

    def _created_or_mended(self, key: str, content: bytes, record: FileRecord) -> bool:
        """Put an object where there is none, or one that was cut on the way; returns whether it was put."""
        if self._call(f"put {key}", lambda: self._create(key, content, record)):
            return True
        if not self.is_cut(key, record):
            return False
        return self._call(f"put {key}", lambda: self._put(key, content, record, "overwrite"))

    def _put_parts(self, key: str, record: FileRecord, parts: Callable[[], Iterator[bytes]]) -> bool:
        return self._call(
            f"put {key}",
            lambda: self._send_parts(key, record, parts()),
            lambda: True if self.holds(key, record) else None,  # an answer may have been lost after all went well
        )

    def _create(self, key: str, content: bytes, record: FileRecord) -> bool:
        """Put an object where there is none; a store without conditional put is looked at before."""
        from obstore.exceptions import AlreadyExistsError  # noqa: PLC0415 - an extra

        if not self._creates:
            with suppress(FileNotFoundError):
                self._api.head(self._backend, key)
                return False
            return self._put(key, content, record, "overwrite")
        try:
            return self._put(key, content, record, "create")
        except AlreadyExistsError as error:
            if understand(error).code in EXISTS_RACES:
                raise TransientError(f"{self.url.text}: put {key}: another request is under way") from None
            return False

    def _put(self, key: str, content: bytes, record: FileRecord, mode: Literal["create", "overwrite"]) -> bool:
        attributes = self._attributes(record)
        put = self._api.put(self._backend, key, content, attributes=attributes, mode=mode, use_multipart=False)
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest() if self._looks_after_put else ""
        if not digest or digest != (put["e_tag"] or "").strip('"'):  # which is the MD5 of what arrived, or says nothing
            self._check_arrived(key, record)
        return True

    def _check_arrived(self, key: str, record: FileRecord) -> None:
        """Make sure that an object that was just put is as long as it should be.

        Raises:
            TransientError: It was cut, or is gone.
        """
        if self._looks_after_put:
            with suppress(FileNotFoundError):
                if (size := self._api.head(self._backend, key)["size"]) == record.bytes:
                    return
                message = f"{self.url.text}: put {key}: only {size} of {record.bytes} bytes arrived"
                raise TransientError(message, unclear=True)
            raise TransientError(f"{self.url.text}: put {key}: nothing is there afterwards", unclear=True)

    def _send_parts(self, key: str, record: FileRecord, parts: Iterator[bytes]) -> bool:
        with self._large_files:  # each holds several parts in memory
            self._api.put(
                self._backend,
                key,
                parts,
                attributes=self._attributes(record),
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=2,
            )
        self._check_arrived(key, record)
        return True

    def _attributes(self, record: FileRecord) -> dict[str, str] | None:
        if not self._keeps_attributes:
            return None
        kind = _CONTENT_TYPES.get(Path(record.path).suffix, "application/octet-stream")
        return {"Content-Type": kind, SHA256: record.sha256}

    def _digest(self, key: str) -> tuple[int, str]:
        digest, length = hashlib.sha256(), 0
        for block in self._api.get(self._backend, key).stream(min_chunk_size=1 << 20):
            digest.update(block)
            length += len(block)
        return length, digest.hexdigest()

    def _listed(self, start: str) -> Iterable[tuple[str, int]]:
        def look() -> list[tuple[str, int]]:
            found: Iterable[Sequence[Mapping[str, Any]]] = self._api.list(self._backend, start)
            return [(str(entry["path"]), int(entry["size"])) for page in found for entry in page]

        return self._call(f"list {start}", look)

    def _call(
        self, what: str, attempt: Callable[[], Result], before_again: Callable[[], Result | None] = lambda: None
    ) -> Result:
        from obstore import exceptions as errors  # noqa: PLC0415 - an extra

        def once() -> Result:
            if (seconds := self._closed_until - self.retry.clock()) > 0:
                self.retry.wait(seconds)
            try:
                return attempt()
            except (errors.BaseError, OSError) as error:
                raise self._meaning(what, error) from None

        return self.retry.call(once, lambda _: before_again())

    def _meaning(self, what: str, error: Exception) -> UploadError:
        """Return the error of ours for one of obstore's."""
        answer = understand(error, is_local=self.url.scheme == "file")
        if not answer.code and answer.kind != "passing" and 400 <= answer.status < 500:
            answer = self._asked_again() or answer  # the answer to HEAD has no body
        message = f"{self.url.text}: {what}: {answer.text}"
        if self._profile is not None and self._profile.error:
            name = self._profile.profile
            return AuthError(f"AWS profile {name}: {self._profile.error}; for SSO: aws sso login --profile {name}")
        if answer.kind == "passing":
            seconds = self._asked_to_wait() if answer.status in BUSY else None
            return TransientError(message, retry_after_s=seconds, unclear=True)
        remedy = f"; {answer.remedy}" if answer.remedy else ""
        if answer.code == NO_CREDENTIALS:
            return AuthError(f"{message}; {CREDENTIALS[self.url.scheme]}")
        if answer.kind == "refused":
            refused = "access was refused; nothing more is sent until the store's credentials allow it"
            return AuthError(f"{message}: {refused}{remedy}")
        return StoreError(f"{message}{remedy}")

    def _asked_to_wait(self) -> float | None:
        """Ask a busy store how long it wants to be left alone; all threads do so then.

        obstore passes on status and body of an answer and none of its headers. So one HEAD under a signed URL, whose
        answer is read here, follows a request that was turned away.
        """
        from obstore import exceptions as errors  # noqa: PLC0415 - an extra

        try:
            url = self._api.sign(self._backend, "HEAD", "a", dt.timedelta(minutes=5))
        except (errors.BaseError, OSError, TypeError, ValueError):
            return None  # credentials that cannot sign
        seconds = HttpChannel("", self._timeout_s, key_variable="", stop=self.retry.stop).asked_to_wait(url)
        if seconds is not None:
            self._closed_until = max(self._closed_until, self.retry.clock() + seconds)
        return seconds

    def _asked_again(self) -> StoreAnswer | None:
        """Ask for something whose refusal says why."""
        from obstore import exceptions as errors  # noqa: PLC0415 - an extra

        try:
            next(iter(self._api.list(self._backend, "nothing")), None)
        except (errors.BaseError, OSError) as error:
            answer = understand(error)
            return answer if answer.code else None
        return None

    def _conflict(self, key: str, record: FileRecord) -> StoreConflictError:
        return StoreConflictError(
            f"{self.url.native(key)}: other content is there already (wanted {record.bytes} bytes, sha256 "
            f"{record.sha256[:12]}...); it is never overwritten: use another scene.prefix or store prefix, or remove it"
        )


def _parts(content: bytes, check: Callable[[], None]) -> Iterator[bytes]:
    for start in range(0, len(content), PART_BYTES):
        check()
        yield content[start : start + PART_BYTES]
