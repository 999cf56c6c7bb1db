# SPDX-License-Identifier: Apache-2.0
"""Every exception that leaves this package on purpose.

::

    BridgeError
    ├── InputError                  bad arguments or input files            (exit status 2)
    │   ├── ConfigError             a parameter file or override is wrong
    │   ├── TextError               JSON or YAML cannot be read, or is ambiguous
    │   ├── BagError                not a bag, missing or unreadable
    │   ├── MissingExtraError       a library that an extra of this package brings is not installed
    │   └── OutputError             the place to write to cannot take it
    │       └── SceneExistsError    a scene of that id is there with other content
    ├── DecodeError                 one message cannot be used              (dropped and counted)
    │   ├── CloudError              a PointCloud2 contradicts itself
    │   ├── ImageError              an Image or CompressedImage cannot be read
    │   └── CalibrationError        a CameraInfo or camera model cannot be used
    ├── TransformError              a pose cannot be had
    │   ├── UnknownFrameError       unknown frame ID
    │   ├── ConnectivityError       two frames are not in one tree, or the tree has a loop
    │   ├── ExtrapolationError      the stamp is outside what was recorded
    │   └── InvalidTransformError   zero, NaN or otherwise unusable values
    ├── CoordinateRangeError        coordinates too large for 32-bit floats
    ├── SceneError                  a sealed scene breaks a rule or a checksum
    │   └── SceneUnreadableError    the disk cannot read it now
    ├── LabelError                  a label cannot be put back into its recording
    └── UploadError                 an upload cannot go on
        ├── AuthError               the key or the store's credentials are refused     (everything stops)
        ├── RejectedError           a request was understood and refused               (that scene is set aside)
        ├── UnavailableError        no usable answer for as long as one may wait       (tried again later)
        ├── StoppedError            it was told to stop                                (goes on at the next start)
        ├── JobCancelledError       a person cancelled a job at the service            (everything stops)
        └── StoreError              the object store cannot take or give an object
            └── StoreConflictError  other content is under the scene's key already     (that scene is set aside)

A program that catches ``BridgeError`` catches everything that is wrong with its input, its disk or the service, and
nothing that is a mistake in a program:

>>> from nucleus_bridge import load_config
>>> try:
...     load_config("nowhere.yaml")
... except BridgeError as error:
...     print(type(error).__name__, 2 if isinstance(error, InputError) else 1)
ConfigError 2
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from nucleus_bridge.causes import Cause


class BridgeError(Exception):
    """Base of all errors of this package; its text is meant for a person."""


class InputError(BridgeError):
    """Arguments or input files cannot be used."""


class ConfigError(InputError):
    """A parameter file, an override or a combination of parameters is wrong."""


class TextError(InputError):
    """A JSON or YAML text cannot be read, or says something twice; the caller knows what it is called."""


class BagError(InputError):
    """A recording is missing, is not a rosbag2, or cannot be read."""


class MissingExtraError(InputError):
    """A library is not installed that only an extra of this package brings; the text has the command for it."""


class OutputError(InputError):
    """The output folder cannot be written to."""


class SceneExistsError(OutputError):
    """A sealed scene of the same reference id but other content is in the way."""


class DecodeError(BridgeError):
    """One message cannot be used; ``cause`` is the short name it is counted under."""

    def __init__(self, message: str, *, cause: Cause = "damaged") -> None:
        super().__init__(message)
        self.cause = cause


class CloudError(DecodeError):
    """A PointCloud2 contradicts itself or lacks what is needed."""


class ImageError(DecodeError):
    """An Image or CompressedImage cannot be read or written."""


class CalibrationError(DecodeError):
    """A CameraInfo cannot be used for the image at hand."""


class TransformError(BridgeError):
    """A pose cannot be had from the transforms at hand."""


class UnknownFrameError(TransformError):
    """Unknown frame ID: no transform names it."""


class ConnectivityError(TransformError):
    """Two frames are not connected, or the tree has a loop."""


class ExtrapolationError(TransformError):
    """The stamp lies outside the recorded history; ``direction`` says on which side."""

    def __init__(self, message: str, *, direction: Literal["past", "future"]) -> None:
        super().__init__(message)
        self.direction = direction


class TransformGapError(ExtrapolationError):
    """The stamp lies in a gap of the transforms of ``child``, from ``begin_ns`` to ``end_ns``."""

    def __init__(self, message: str, *, child: str, begin_ns: int, end_ns: int) -> None:
        super().__init__(message, direction="future")
        self.child = child
        self.begin_ns = begin_ns
        self.end_ns = end_ns


class InvalidTransformError(TransformError):
    """A transform has a zero or NaN quaternion, a NaN translation, or unusable frame ids."""


class CoordinateRangeError(BridgeError):
    """Coordinates are so large that 32-bit floats would round them visibly."""


class SceneError(BridgeError):
    """A scene on disk breaks a format rule or does not match its manifest."""


class SceneUnreadableError(SceneError):
    """The disk cannot read a file of a scene now; nothing is known to be wrong with the scene itself."""


class LabelError(BridgeError):
    """A label, or those of a scene, cannot be put back into the recording."""


class UploadError(BridgeError):
    """An upload cannot go on."""


class AuthError(UploadError):
    """The API key or the object store's credentials are refused; nothing can be sent until that is fixed."""


class RejectedError(UploadError):
    """The service understood a request and refused it.

    Attributes:
        status: The HTTP status.
        answer: The JSON object of the answer; empty when it was none.
    """

    def __init__(self, message: str, *, status: int, answer: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.answer = answer or {}


class UnavailableError(UploadError):
    """There was no usable answer for as long as one may wait."""


class StoppedError(UploadError):
    """The upload was told to stop."""


class JobCancelledError(UploadError):
    """A person cancelled a job at the service; its scenes are not submitted again behind that person's back."""


class StoreError(UploadError):
    """The object store cannot take or give an object."""


class StoreConflictError(StoreError):
    """Other content is in the object store under the scene's key; it is never overwritten."""
