# SPDX-License-Identifier: Apache-2.0
"""Whether a scene that the dataset holds is the one of the spool: equal, incomplete, differs, or a conflict.

What counts is what the service returns: fields that it does not return and URLs that it rewrites are not a difference.
The metadata key ``scene_content``, added at submission, tells whether clouds, images, cameras and poses are the same
also where nothing else does; scenes without it are compared by what can be seen, and are never deleted from the spool.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import unquote, urlsplit

from nucleus_bridge.formats.nucleus.payload import normalised_camera_params
from nucleus_bridge.upload.nucleus.payload import CONTENT_KEY, HALF_DIGITS, items_of

_TOLERANCE = 1e-6
_COEFFICIENTS = ("k1", "k2", "k3", "k4", "p1", "p2")
_DIRECT_SCHEMES = ("s3", "gs", "file")

Item = Mapping[str, Any]


class Match(Enum):
    """What the comparison of a scene came to."""

    EQUAL = "equal"
    INCOMPLETE = "incomplete"
    DIFFERS = "differs"
    CONFLICT = "conflict"


@dataclass(frozen=True)
class Comparison:
    """What the dataset holds under a scene's id.

    Attributes:
        match: What it is.
        text: What differs, for a person; empty when equal.
        is_proven: Whether the dataset holds the scene's content digest, so that the spool may let it go.
        items: Reference ids of items whose metadata or camera differ.
    """

    match: Match
    text: str = ""
    is_proven: bool = False
    items: frozenset[str] = frozenset()


def compare_scenes(sent: Mapping[str, Any], held: Mapping[str, Any], but: tuple[str, ...] = ()) -> Comparison:
    """Compare a scene as it is or would be submitted with the one that the service returns.

    Args:
        sent: The payload with URLs and ``scene_content``.
        held: The service's answer.
        but: Keys of the scene's metadata that make no difference.
    """
    try:
        return _compare(sent, held, but)
    except (KeyError, TypeError, AttributeError):
        return Comparison(Match.CONFLICT, "is not a lidar scene")


def _compare(sent: Mapping[str, Any], held: Mapping[str, Any], but: tuple[str, ...]) -> Comparison:
    metadata = held.get("metadata")
    ours, theirs = sent["metadata"][CONTENT_KEY], (metadata or {}).get(CONTENT_KEY)
    if theirs is not None and str(theirs)[:HALF_DIGITS] != ours[:HALF_DIGITS]:
        return Comparison(Match.CONFLICT, "holds other clouds or images under this id")
    wanted = {(number, sensor): item for number, sensor, item in items_of(sent)}
    there = {(number, sensor): item for number, sensor, item in items_of(held)}
    common = wanted.keys() & there.keys()
    if there.keys() - wanted.keys() or any(_name(wanted[place]) != _name(there[place]) for place in common):
        return Comparison(Match.CONFLICT, "holds another scene of this id: its frames or items differ")
    if missing := len(wanted) - len(common):
        text = f"holds the scene incomplete: {missing} of {len(wanted)} items are missing"
        return Comparison(Match.INCOMPLETE if theirs is not None else Match.CONFLICT, text)
    for place in sorted(common):
        if points_elsewhere(wanted[place]["url"], url := _url(there[place])):
            return Comparison(Match.CONFLICT, f"holds the scene with its items at another place ({_shown(url)})")
    is_proven = theirs == ours
    items = frozenset(_name(wanted[place]) for place in common if _item_differs(wanted[place], there[place]))
    if theirs is not None and not is_proven and not items:  # other cameras, which the service does not return
        items = frozenset(_name(item) for item in wanted.values() if "camera_params" in item)
    ignored = but if theirs else (*but, CONTENT_KEY)
    fields = [] if not metadata else _different(sent["metadata"], metadata, but=ignored)
    if items or fields:
        # What is not shown of an item may be missing there, too; on its own it is no difference.
        items |= {_name(wanted[place]) for place in common if _different(_plain(wanted[place]), _plain(there[place]))}
        what = [f"metadata ({', '.join(sorted(fields))})"] if fields else []
        kinds = {wanted[place].get("type") for place in common if _name(wanted[place]) in items}
        what += [f"cameras or metadata of {len(items)} {'images' if kinds == {'image'} else 'items'}"] if items else []
        return Comparison(Match.DIFFERS, f"holds the scene with other {' and '.join(what)}", is_proven, items)
    return Comparison(Match.EQUAL, is_proven=is_proven)


def points_elsewhere(wanted: str, held: str) -> bool:
    """Whether a URL that the service returns is surely another object; one that was rewritten does not say."""
    ours, theirs = urlsplit(wanted), urlsplit(held)
    if not held or ours.scheme != theirs.scheme:
        return False
    if ours.scheme not in _DIRECT_SCHEMES and ours.netloc != theirs.netloc:
        return False
    return (ours.netloc, unquote(ours.path)) != (theirs.netloc, unquote(theirs.path))


def _name(item: Item) -> str:
    return str(item.get("ref_id") or item["reference_id"])


def _url(item: Item) -> str:
    keys = ("pointcloud_url", "original_image_url", "image_url", "url")
    return next((str(item[key]) for key in keys if item.get(key)), "")


def _item_differs(sent: Item, held: Item) -> bool:
    metadata, there = sent.get("metadata") or {}, held.get("metadata") or {}
    raw = metadata.get("camera_params")
    if there and _different(_plain(sent), there):
        return True
    if raw is None:
        return False
    if (shown := there.get("camera_params")) and _different(raw, shown):
        return True
    return bool((shown := held.get("camera_params")) and _camera_differs(raw, shown))


def _plain(item: Item) -> dict[str, Any]:
    """Return the metadata of an item besides its camera."""
    return {key: value for key, value in (item.get("metadata") or {}).items() if key != "camera_params"}


def _camera_differs(raw: Mapping[str, Any], shown: Mapping[str, Any]) -> bool:
    """Compare the camera that Nucleus reads; coefficients of zero are left out there."""
    wanted = normalised_camera_params(raw)
    coefficients = {key for key in _COEFFICIENTS if key in wanted or key in shown}
    stated = {key for key in wanted if key in shown} | coefficients
    return any(not _same(wanted.get(key, 0), shown.get(key, 0)) for key in stated)


def _different(sent: Mapping[str, Any], held: Mapping[str, Any], but: tuple[str, ...] = ()) -> list[str]:
    """Return the keys of ours that are not there or have another value; what is there besides is not ours."""
    return [key for key, value in sent.items() if key not in but and not _same(value, held.get(key))]


def _same(one: object, other: object) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) or isinstance(other, float):
        numbers = (int, float)
        if isinstance(one, numbers) and isinstance(other, numbers):
            return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return one == other


def _shown(url: str) -> str:
    return url.partition("?")[0]
