# SPDX-License-Identifier: Apache-2.0
"""The rules that one annotation or prediction must obey, as far as its own JSON and its item tell."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from nucleus_bridge.errors import SceneError
from nucleus_bridge.testing.receiver.labels import Label
from nucleus_bridge.testing.receiver.scene_rules import SceneRules, check_url, check_vector
from nucleus_bridge.testing.receiver.strict_json import is_number, is_text

SEGMENTATION = "segmentation"
KINDS = ("box", "polygon", "line", "keypoints", "cuboid", "category", "multicategory")
"""The kinds that each row of an export has a list of; a segmentation stands beside them, at most one an item."""
_ON_IMAGES = frozenset({"box", "polygon", "line", "keypoints", SEGMENTATION})
_NAMED_BY_TAXONOMY = frozenset({"category", "multicategory"})
_PDF_TOLERANCE = 1e-3

_TEXTS = ("annotation_id", "task_id", "track_reference_id", "taxonomy_name")

PlaceOf = Callable[[str], str | None]
"""Returns what a reference id is that of: a ``pointcloud``, an ``image``, a ``scene``, or None for nothing known."""


def check_label(
    document: object, place_of: PlaceOf, rules: SceneRules, *, predicted: bool, spare_id: Callable[[], str]
) -> Label:
    """Check one annotation or prediction.

    Args:
        document: As the client sent it.
        place_of: Finds what it is on.
        rules: Which URLs masks may have.
        predicted: Whether it may have a confidence.
        spare_id: Makes the annotation id that it gets when it has none.

    Raises:
        SceneError: A rule is broken.
    """
    if not isinstance(document, dict):
        raise SceneError("an annotation must be an object")
    kind = SEGMENTATION if document.get("type") == "mask" else document.get("type")
    if kind not in _CHECKS:
        raise SceneError(f"type {document.get('type')!r} is not one of {', '.join((*KINDS, 'mask'))}")
    _check_texts(document)
    reference_id = document["reference_id"]
    place = place_of(reference_id)
    _check_place(kind, reference_id, place)
    _CHECKS[kind](document, rules)
    if predicted:
        _check_confidence(document)
    elif "confidence" in document:
        raise SceneError("an annotation has no confidence; predictions have")
    kept = {key: value for key, value in document.items() if value is not None}
    if kind not in _NAMED_BY_TAXONOMY and "annotation_id" not in kept:
        kept["annotation_id"] = spare_id()
    return Label(reference_id, "scene_category" if place == "scene" else kind, _identity(kind, kept), kept)


def label_error(document: object, error: str) -> str:
    """Return what the service's list of errors holds for a label: JSON in a text, in camel case."""
    shown = dict(document) if isinstance(document, Mapping) else {}
    for name, shown_name in (("reference_id", "referenceId"), ("annotation_id", "annotationId")):
        shown[shown_name] = shown.pop(name, None)
    return json.dumps({"annotation": shown, "error": error})


def _identity(kind: str, document: Mapping[str, Any]) -> str:
    """Return what is one label, and no second one, of an item."""
    if kind == SEGMENTATION:
        return SEGMENTATION
    if kind in _NAMED_BY_TAXONOMY:
        return json.dumps([kind, document.get("taxonomy_name"), document.get("task_id")])
    return json.dumps(["", document["annotation_id"], document.get("task_id")])


def _check_texts(document: Mapping[str, Any]) -> None:
    if not is_text(document.get("reference_id")):
        raise SceneError("reference_id must be a non-empty string")
    for key in _TEXTS:
        if document.get(key) is not None and not is_text(document[key]):
            raise SceneError(f"{key} must be a non-empty string")
    metadata = {} if document.get("metadata") is None else document["metadata"]
    if not isinstance(metadata, dict):
        raise SceneError("metadata must be an object")
    kept = [document["reference_id"], *filter(None, (document.get(key) for key in _TEXTS)), *metadata]
    if not all(map(_is_whole, kept)):
        raise SceneError("an id or a key holds half of a character (a lone surrogate)")


def _is_whole(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _check_place(kind: str, reference_id: str, place: str | None) -> None:
    if place is None or (place == "scene" and kind != "category"):
        raise SceneError(f"Item with id {reference_id} doesn't exist.")
    if kind == "cuboid" and place != "pointcloud":
        raise SceneError(f"a cuboid can be on a pointcloud only, and {reference_id} is an image")
    if kind in _ON_IMAGES and place != "image":
        raise SceneError(f"a {kind} can be on an image only, and {reference_id} is a pointcloud")


def _geometry(document: Mapping[str, Any]) -> dict[str, Any]:
    geometry = document.get("geometry")
    if not is_text(document.get("label")):
        raise SceneError("label must be a non-empty string")
    if not isinstance(geometry, dict):
        raise SceneError("geometry must be an object")
    return geometry


def _check_box(document: Mapping[str, Any], _: SceneRules) -> None:
    box = check_vector("geometry", _geometry(document), ("x", "y", "width", "height"))
    if box["width"] < 0 or box["height"] < 0:
        raise SceneError("geometry: width and height cannot be negative")


def _check_vertices(document: Mapping[str, Any], _: SceneRules) -> None:
    vertices = _geometry(document).get("vertices")
    if not isinstance(vertices, list) or not vertices:
        raise SceneError("geometry.vertices must be an array with something in it")
    for number, vertex in enumerate(vertices):
        check_vector(f"geometry.vertices[{number}]", vertex, "xy")


def _check_keypoints(document: Mapping[str, Any], _: SceneRules) -> None:
    geometry = _geometry(document)
    points, names = geometry.get("keypoints"), geometry.get("names")
    if not isinstance(points, list) or not isinstance(names, list) or len(points) != len(names):
        raise SceneError("geometry needs keypoints and as many names")
    for number, point in enumerate(points):
        if not isinstance(point, dict) or point.get("visible", True):
            check_vector(f"geometry.keypoints[{number}]", point, "xy")


def _check_cuboid(document: Mapping[str, Any], _: SceneRules) -> None:
    geometry = _geometry(document)
    check_vector("geometry.position", geometry.get("position"))
    dimensions = check_vector("geometry.dimensions", geometry.get("dimensions"))
    if min(dimensions[axis] for axis in "xyz") < 0:
        raise SceneError("geometry.dimensions cannot be negative")
    if not is_number(geometry.get("yaw")):
        raise SceneError("geometry.yaw must be a number, in radians")


def _check_category(document: Mapping[str, Any], _: SceneRules) -> None:
    _geometry(document)


def _check_categories(document: Mapping[str, Any], _: SceneRules) -> None:
    labels = document.get("labels")
    if not isinstance(labels, list) or not labels or not all(map(is_text, labels)):
        raise SceneError("labels must be an array of non-empty strings")


def _check_mask(document: Mapping[str, Any], rules: SceneRules) -> None:
    check_url("mask_url", document.get("mask_url"), rules)
    segments = document.get("annotations")
    if not isinstance(segments, list) or not all(isinstance(segment, dict) for segment in segments):
        raise SceneError("annotations must be an array of objects")
    for segment in segments:
        if not is_text(segment.get("label")) or type(segment.get("index")) is not int:
            raise SceneError("each of a mask's annotations needs a label and a whole index")


_CHECKS: dict[str, Callable[[Mapping[str, Any], SceneRules], None]] = {
    "box": _check_box,
    "polygon": _check_vertices,
    "line": _check_vertices,
    "keypoints": _check_keypoints,
    "cuboid": _check_cuboid,
    "category": _check_category,
    "multicategory": _check_categories,
    SEGMENTATION: _check_mask,
}


def _check_confidence(document: Mapping[str, Any]) -> None:
    confidence, pdf = document.get("confidence"), document.get("class_pdf")
    if confidence is not None and not (is_number(confidence) and 0.0 <= confidence <= 1.0):
        raise SceneError(f"confidence must be within 0 and 1, not {confidence!r}")
    if pdf is None:
        return
    if not isinstance(pdf, dict) or not all(is_number(share) and 0.0 <= share <= 1.0 for share in pdf.values()):
        raise SceneError("class_pdf must be an object of numbers within 0 and 1")
    if abs(math.fsum(pdf.values()) - 1.0) > _PDF_TOLERANCE:
        raise SceneError(f"class_pdf must sum up to 1, not {math.fsum(pdf.values()):g}")
