# SPDX-License-Identifier: Apache-2.0
"""The task template: a YAML or JSON file with what tasks say besides the scenes themselves."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from nucleus_bridge.errors import ConfigError, TextError
from nucleus_bridge.strict_text import parse_json, parse_yaml, read_text

MAX_BYTES = 1_000_000
EXTRA = "extra"
SCENE_ID_KEY = "scene_reference_id"
CONTENT_KEY = "scene_content"

TaskType = Literal["lidarannotation", "sensorfusion", "multistage"]
DEFAULT_TYPE: TaskType = "lidarannotation"

_TYPE = "type"
_OF_SCENES: tuple[TaskType, ...] = ("sensorfusion", "multistage")
_FROM_THE_SCENE = ("attachments", "attachment_type", "scene_format", "unique_id")
_SECRET_NAME = re.compile(r"api_?key|secret|passw|credential|access_?token|auth_?token|authorization", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"(live|test)_[0-9A-Za-z]{16,}")


@dataclass(frozen=True)
class TaskTemplate:
    """What every task of an upload has in common.

    Attributes:
        path: The file it was read from.
        type: Of the tasks.
        fields: Fields of the request, checked; shared, not to be changed.
    """

    path: Path
    fields: Mapping[str, Any]
    type: TaskType = DEFAULT_TYPE

    @property
    def kind(self) -> Literal["annotation_task", "scene_task"]:
        """What its tasks are made of: frame files, or one file a scene."""
        return "scene_task" if self.type in _OF_SCENES else "annotation_task"

    @property
    def project(self) -> str:
        """The project that the tasks belong to; empty when the template names none."""
        project = self.fields.get("project", "")
        return project if isinstance(project, str) else ""

    @property
    def digest(self) -> str:
        """What tells this template from others, by what it holds."""
        said = self.fields if self.type == DEFAULT_TYPE else {_TYPE: self.type, **self.fields}
        text = json.dumps(said, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def request(
        self, reference_id: str, attachments: list[str], form: Mapping[str, str], content: str
    ) -> dict[str, Any]:
        """Return the body of the request that makes the task of one scene.

        Args:
            reference_id: The scene, whose task no other may share.
            attachments: URLs of its frames in order of time, or of its one file.
            form: What the request says of their form.
            content: Digest of the scene's sealed files.
        """
        metadata = {**self.fields.get("metadata", {}), SCENE_ID_KEY: reference_id, CONTENT_KEY: content}
        return {
            **self.fields,
            "unique_id": reference_id,
            **form,
            "attachments": attachments,
            "metadata": metadata,
        }


def load_task_template(path: Path) -> TaskTemplate:
    """Read a task template; ``.json`` files as JSON, all others as YAML.

    Raises:
        ConfigError: Naming the file, the key, the value and what is expected.
    """
    name = f"task template {path}"
    parse = parse_json if path.suffix == ".json" else parse_yaml
    try:
        document = parse(read_text(path, MAX_BYTES))
    except TextError as error:
        raise ConfigError(f"{name}: {error}") from None
    if not isinstance(document, Mapping):
        raise ConfigError(f"{name}: must hold keys and values, at least 'labels:'")
    for problem in _problems(document):
        raise ConfigError(f"{name}: {problem}")
    fields = {key: value for key, value in document.items() if key not in (EXTRA, _TYPE)}
    return TaskTemplate(path, {**fields, **document.get(EXTRA, {})}, document.get(_TYPE, DEFAULT_TYPE))


def _problems(document: Mapping[Any, Any]) -> Iterator[str]:
    """Yield what is wrong with a template."""
    extra = document.get(EXTRA, {})
    if not isinstance(extra, Mapping):
        yield f"{EXTRA} must hold keys and values, not {extra!r}"
        return
    yield from _json_problems(document)
    yield from _key_problems(document, extra)
    for key, value in document.items():
        if key != EXTRA and not _FIELDS[key][0](value):
            yield f"{key} must be {_FIELDS[key][1]}, not {value!r}"
    yield from _missing(document)
    for key in (SCENE_ID_KEY, CONTENT_KEY):
        if key in document.get("metadata", {}):
            yield f"metadata.{key} is made from each scene and cannot be set"


def _missing(document: Mapping[Any, Any]) -> Iterator[str]:
    """Yield what the service asks for and the template does not say."""
    kind = document.get(_TYPE, DEFAULT_TYPE)
    if kind == DEFAULT_TYPE and "labels" not in document:
        yield (
            "labels is missing: list what is to be annotated, such as labels: [car, pedestrian]; for .sfs scenes say "
            f"{_TYPE}: {' or '.join(_OF_SCENES)}"
        )
    if kind == "sensorfusion":
        for key in ("project", "instruction", "annotation_definition", "callback_url", "is_frameless"):
            if key not in document:
                yield f"{key} is missing: a sensorfusion task needs {_FIELDS[key][1]}"
    if kind == "multistage" and not {"project", "batch"} & set(document):
        yield "project is missing: a multistage task needs a project, or a batch of one"


def _key_problems(document: Mapping[Any, Any], extra: Mapping[Any, Any]) -> Iterator[str]:
    for key in (*document, *extra):
        if key in _FROM_THE_SCENE:
            yield f"{key} is made from each scene and cannot be set"
    for key in document:
        if key not in _FIELDS and key != EXTRA:
            nearest = difflib.get_close_matches(str(key), _FIELDS, n=1, cutoff=0.0)[0]
            yield f"{key}: no such key; the nearest is {nearest!r}. What the service takes besides goes under {EXTRA}"
    for key in extra:
        if key in _FIELDS:
            yield f"{EXTRA}.{key}: set it as {key}, outside of {EXTRA}"


def _json_problems(document: Mapping[Any, Any]) -> Iterator[str]:
    """Yield what cannot be sent, or must not be in a file."""
    try:
        json.dumps(document, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        yield f"cannot be sent as JSON ({error}); put text such as dates in quotes"
        return
    for place, value in _leaves(document, ""):
        name = place.rpartition(".")[2]
        if _SECRET_NAME.search(name) or (isinstance(value, str) and _SECRET_VALUE.fullmatch(value.strip())):
            yield f"{place} looks like a secret, which has no place in a file that is sent; the key is SCALE_API_KEY"


def _leaves(value: object, place: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _leaves(below, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from _leaves(below, f"{place}[{number}]")
    else:
        yield place, value


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_url(value: object) -> bool:
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None


def _is_size(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _is_labels(value: object) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(_is_text(item) or isinstance(item, Mapping) for item in value)
    )


_FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    _TYPE: (lambda value: value in get_args(TaskType), f"one of {', '.join(get_args(TaskType))}"),
    "labels": (_is_labels, "a list of texts or mappings with something in it"),
    "project": (_is_text, "a text"),
    "batch": (_is_text, "a text"),
    "instruction": (_is_text, "a text"),
    "callback_url": (_is_url, "a http:// or https:// URL without credentials"),
    "max_distance_meters": (_is_size, "a number above 0"),
    "meters_per_unit": (_is_size, "a number above 0"),
    "annotation_definition": (
        lambda value: isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value),
        "a list of mappings with something in it",
    ),
    "is_frameless": (lambda value: isinstance(value, bool), "true or false"),
    "annotation_attributes": (lambda value: isinstance(value, Mapping), "a mapping"),
    "metadata": (lambda value: isinstance(value, Mapping), "a mapping"),
    "dependents": (lambda value: isinstance(value, Mapping), "a mapping"),
    "tags": (lambda value: isinstance(value, list) and all(map(_is_text, value)), "a list of texts"),
    "priority": (lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"),
    "clear_unique_id_on_error": (lambda value: isinstance(value, bool), "true or false"),
}
