# SPDX-License-Identifier: Apache-2.0
"""What a store's refusal means: by the exception's class, the HTTP status and the store's own error code.

obstore tells status and answer in its error's text, in the form of structured data; the codes are those of the stores'
documentation. No sentence that is meant for people decides anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from nucleus_bridge.upload.certificates import REMEDY

Kind = Literal["passing", "refused", "lasting"]

EXISTS_RACES = frozenset({"ConditionalRequestConflict", "OperationAborted"})
"""Another request for the same key is under way; nothing is known to be there."""

UNTRUSTED = "certificate"
"""Our own word where there is no answer, since the store's certificate is not trusted."""

NO_CREDENTIALS = "no credentials"
"""Our own word where obstore found none and the machine's metadata service gave none."""

_STATUS = re.compile(r"\bstatus: (\d{3}),")
_CODE = re.compile(r"<Code>([A-Za-z0-9_.]+)</Code>")
_MESSAGE = re.compile(r"<Message>(.*?)</Message>", re.DOTALL)
_SYSTEM_CODE = re.compile(r"\(os error (\d+)\)")
_METADATA_HOSTS = ("169.254.169.254", "169.254.170.2", "metadata.google.internal")
_URI = re.compile(r"\buri: Some\(\s*(\S+?),?\s*\)")

_NOT_FOUND = "set them in the environment"
_CREDENTIALS = "get new credentials for the store"
_REGION = "set AWS_REGION, or ?region= in the store's URL, to the region of the bucket"
_CLOCK = "set this machine's clock right"
_CONDITIONAL = "if the store knows no conditional put, add ?conditional_put=false to its URL"
_RULES: dict[str, tuple[Kind, str]] = {
    **dict.fromkeys(
        ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "RequestExpired"),
        ("refused", _CREDENTIALS),
    ),
    **dict.fromkeys(
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthenticationFailed", "InvalidSecurity"),
        ("refused", "check the store's credentials"),
    ),
    **dict.fromkeys(
        ("AccessDenied", "AllAccessDisabled", "AccountProblem", "AuthorizationFailure"),
        ("refused", "allow listing, reading and creating objects under the prefix"),
    ),
    **dict.fromkeys(("RequestTimeTooSkewed", "RequestInTheFuture"), ("lasting", _CLOCK)),
    **dict.fromkeys(
        (
            *("PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "Redirect"),
            *("IllegalLocationConstraintException", "InvalidRegionName", "InvalidLocationConstraint"),
        ),
        ("lasting", _REGION),
    ),
    "NotImplemented": ("lasting", _CONDITIONAL),
    **dict.fromkeys(
        ("NoSuchBucket", "ContainerNotFound", "InvalidBucketName", "BucketNotFound"),
        ("lasting", "check the bucket's name; it is not created here"),
    ),
    **dict.fromkeys(
        (
            *("InternalError", "SlowDown", "ServiceUnavailable", "RequestTimeout", "ServerBusy", "OperationTimedOut"),
            *(
                "NoSuchUpload",
                "NoSuchKey",
                "BadDigest",
                "InvalidDigest",
                "XAmzContentSHA256Mismatch",
                "IncompleteBody",
                "Md5Mismatch",
            ),
            *EXISTS_RACES,
        ),
        ("passing", ""),
    ),
}
_CANNOT_SIGN = ("SASforSASNotSupported", "SASwithSkipSignature")
_RETRIED = frozenset({408, 425, 429})
_PASSING_ON_DISK = frozenset({5, 28, 116, 122})
"""Input/output error, no space, stale handle, quota: the disk may recover, or get room again."""


@dataclass(frozen=True)
class StoreAnswer:
    """What an error of obstore says.

    Attributes:
        kind: ``passing``: may be otherwise next time. ``refused``: the credentials are. ``lasting``: anything else.
        code: The store's own code; empty when it gave none.
        status: The HTTP status; 0 when there was no answer.
        text: Status, code and message, for a person.
        remedy: What to do.
    """

    kind: Kind
    code: str
    status: int
    text: str
    remedy: str = ""


def understand(error: Exception, *, is_local: bool = False) -> StoreAnswer:
    """Return what an error of obstore means; ``is_local`` for a store that is a folder."""
    told = str(error)
    status = int(found[1]) if (found := _STATUS.search(told)) else 0
    code = found[1] if (found := _CODE.search(told)) else ""
    said = " ".join(found[1].split())[:300] if (found := _MESSAGE.search(told)) else ""
    text = f"HTTP {status} {code}".strip() + (f": {said}" if said else "") if status else first_line(error)
    if is_local:
        number = int(found[1]) if (found := _SYSTEM_CODE.search(told)) else 0
        return StoreAnswer("passing" if number in _PASSING_ON_DISK else "lasting", "", 0, first_line(error))
    kind, remedy = _rule(told, status, code)
    if remedy is _NOT_FOUND:
        code, text = NO_CREDENTIALS, "no credentials were found, and this machine has no role"
    if code == "" and "InvalidCertificate(" in told:
        code, text = UNTRUSTED, "the store's certificate is not trusted"
    return StoreAnswer(kind, code, status, text, remedy)


def _rule(told: str, status: int, code: str) -> tuple[Kind, str]:
    """Return what kind of answer it is, and what to do."""
    if (uri := _URI.search(told)) and any(host in uri[1] for host in _METADATA_HOSTS):
        return "refused", _NOT_FOUND
    if any(name in told for name in _CANNOT_SIGN):
        return "lasting", "these credentials cannot sign URLs: use the account's key, or another upload.url"
    if code in _RULES:
        return _RULES[code]
    rules: tuple[tuple[bool, Kind, str], ...] = (
        ("BareRedirect" in told or "TooManyRedirects" in told or 300 <= status < 400, "lasting", _REGION),
        ("InvalidCertificate(" in told, "lasting", REMEDY),
        (status in (401, 403), "refused", "check the store's credentials and what they allow"),
        (status == 501, "lasting", _CONDITIONAL),
        (400 <= status < 500 and status not in _RETRIED, "lasting", ""),
    )
    return next(((kind, remedy) for applies, kind, remedy in rules if applies), ("passing", ""))


def first_line(error: Exception) -> str:
    """Return the first line of an error, without the query of any URL in it, which may hold a signature."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return re.sub(r"\?[^\s)]*", "", lines[0])[:300]
