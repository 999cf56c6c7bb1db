# SPDX-License-Identifier: Apache-2.0
"""``distortion_model`` and ``D`` of a CameraInfo as a named model with named coefficients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nucleus_bridge.errors import CalibrationError

BROWN_CONRADY = ("k1", "k2", "p1", "p2", "k3")
FISHEYE = ("k1", "k2", "k3", "k4")
RATIONAL = (*BROWN_CONRADY, "k4", "k5", "k6")
THIN_PRISM = (*RATIONAL, "s1", "s2", "s3", "s4", "tau_x", "tau_y")
OMNIDIRECTIONAL = ("xi", "k1", "k2", "p1", "p2")

# The tangential p2 is far smaller and the mirror parameter xi far larger than this in every calibration.
_SMALLEST_XI = 0.1

Distortion = tuple[str, dict[str, float]]


def read_distortion(distortion_model: str, d: Sequence[float]) -> Distortion:
    """Name the distortion of a camera.

    ================================  ====================================  ======================================
    distortion_model                  D                                     becomes
    ================================  ====================================  ======================================
    plumb_bob, radtan, Brown Conrady  none, k1 k2 p1 p2 [k3]                brown_conrady
    empty, none                       none or zeros                         brown_conrady
    equidistant, Kannala Brandt4      k1 k2 k3 k4                           fisheye
    rational_polynomial               k1 k2 p1 p2 k3 [k4 k5 k6 [s1 .. s4    brown_conrady, rational or thin_prism:
    thin_prism, thin_prism_fisheye    [tau_x tau_y]]]                       the plainest that holds all but zeros
    mei, omnidirectional, omni, cata  xi k1 k2 p1 p2, k1 k2 p1 p2 xi or xi  omnidirectional
    ================================  ====================================  ======================================

    Names are compared without case, blanks, hyphens and underscores, and drivers have more of them than this table
    (``_ALIASES``). The inverse Brown-Conrady model describes the way back: it is none of these unless it is all zeros.

    Publishers disagree on where xi stands among five coefficients. The last one is p2 where it is smaller than 0.1 in
    size, and xi where it is larger.

    Returns:
        The model as :class:`nucleus_bridge.model.CameraModel` names it, and its coefficients.

    Raises:
        CalibrationError: The model is not known (``unknown_distortion_model``), or ``d`` does not suit it
            (``distortion``).
    """
    name = "".join(letter for letter in distortion_model.lower() if letter not in " -_")
    name = _ALIASES.get(name, name)
    read = {known.replace("_", ""): reader for known, reader in _READERS.items()}.get(name)
    if name in _WITHOUT and not any(d):
        return "brown_conrady", dict.fromkeys(BROWN_CONRADY, 0.0)
    if read is None:
        msg = f"distortion_model {distortion_model!r} with D of {len(d)} is not one of {', '.join(_READERS)}"
        raise CalibrationError(msg, cause="unknown_distortion_model")
    distortion = read(d)
    if distortion is None:
        shown = ", ".join(f"{value:g}" for value in d[:16])
        msg = f"distortion_model {distortion_model!r} cannot have the {len(d)} coefficients D = [{shown}]"
        raise CalibrationError(msg, cause="distortion")
    return distortion


def _named(d: Sequence[float], names: Sequence[str], lengths: tuple[int, ...]) -> dict[str, float] | None:
    """Give coefficients their names, zeros to those left out; zeros too many are ignored."""
    if len(d) > len(names) and not any(d[len(names) :]):
        d = d[: len(names)]
    if len(d) not in lengths:
        return None
    return dict(zip(names, [*d, *[0.0] * (len(names) - len(d))], strict=True))


def _plumb_bob(d: Sequence[float]) -> Distortion | None:
    named = _named(d, BROWN_CONRADY, (0, 4, 5))
    return ("brown_conrady", named) if named else None


def _fisheye(d: Sequence[float]) -> Distortion | None:
    named = _named(d, FISHEYE, (4,))
    return ("fisheye", named) if named else None


def _polynomial(d: Sequence[float]) -> Distortion | None:
    named = _named(d, THIN_PRISM, (4, 5, 8, 12, 14))
    if named is None:
        return None
    for model, names in (("brown_conrady", BROWN_CONRADY), ("rational", RATIONAL)):
        if not any(named[name] for name in THIN_PRISM[len(names) :]):
            return model, {name: named[name] for name in names}
    return "thin_prism", named


def _omnidirectional(d: Sequence[float]) -> Distortion | None:
    if len(d) == 5 and abs(d[4]) >= _SMALLEST_XI:
        d = (d[4], *d[:4])
    named = _named(d, OMNIDIRECTIONAL, (1, 5))
    return ("omnidirectional", named) if named and named["xi"] > 0 else None


_READERS: dict[str, Callable[[Sequence[float]], Distortion | None]] = {
    "plumb_bob": _plumb_bob,
    **dict.fromkeys(("equidistant", "fisheye"), _fisheye),
    **dict.fromkeys(("rational_polynomial", "thin_prism", "thin_prism_fisheye"), _polynomial),
    **dict.fromkeys(("mei", "omnidirectional", "omni", "cata"), _omnidirectional),
}
_ALIASES = {
    **dict.fromkeys(
        ("radtan", "radialtangential", "radtan5", "brownconrady", "modifiedbrownconrady", "brown", "plumb"), "plumbbob"
    ),
    **dict.fromkeys(("kannalabrandt4", "kannalabrandt", "kb4", "equi", "opencvfisheye"), "equidistant"),
    **dict.fromkeys(("rational", "rationalpoly", "fullopencv", "opencv8"), "rationalpolynomial"),
}
_WITHOUT = ("", "none", "pinhole", "inversebrownconrady", "nodistortion", "perspective")
"""Names under which a camera without distortion is published."""
