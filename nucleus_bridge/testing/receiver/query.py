# SPDX-License-Identifier: Apache-2.0
"""Queries as far as the service documents them: comparisons of metadata, joined by AND and OR.

Fields are ``reference_id``, ``metadata.<key>``, ``scene.metadata.<key>``, ``annotations.metadata.<key>``,
``annotations.label`` and ``annotations.count``; operators ``= != < <= > >= % + - AND OR ( )``; text stands in double
quotes. A comparison holds when it does for one of the values that a field has, so for one annotation of many; of a
field that is absent none holds.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any

from nucleus_bridge.testing.receiver.messages import Refusal

MAX_LENGTH = 4096
MAX_TOKENS = 200
MAX_DEPTH = 50
MAX_PAIRS = 10_000
"""Pairs of values that one operator looks at, so that no query takes long."""

Values = list[Any]
Term = Callable[[Mapping[str, Any]], Values]

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d+)?)|"(?P<text>[^"]*)"|(?P<word>[A-Za-z_][\w-]*(?:\.[\w-]+)*)|(?P<sign><=|>=|!=|[=<>%+()-]))"""
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {"+": operator.add, "-": operator.sub, "%": operator.mod}


def parse_query(text: object) -> Callable[[Mapping[str, Any]], bool] | None:
    """Return what says whether a record fits a query; None for no query.

    Raises:
        Refusal: 400 when it cannot be understood.
    """
    if text in (None, ""):
        return None
    if not isinstance(text, str) or len(text) > MAX_LENGTH:
        raise Refusal(400, f"query must be a text of at most {MAX_LENGTH} characters")
    parser = _Parser(_tokens(text))
    term = parser.either(0)
    parser.expect_end()
    return lambda record: True in term(record)


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, place = [], 0
    while text[place:].strip():
        found = _TOKEN.match(text, place)
        if found is None:
            raise Refusal(400, f"query: {text[place:].strip()[:20]!r} cannot be understood")
        tokens.append((str(found.lastgroup), found[str(found.lastgroup)]))
        place = found.end()
    if len(tokens) > MAX_TOKENS:
        raise Refusal(400, f"query: more than {MAX_TOKENS} words and signs")
    return tokens


class _Parser:
    """Reads tokens, from what binds loosest to what binds tightest."""

    def __init__(self, tokens: Sequence[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._place = 0

    def either(self, depth: int) -> Term:
        """Read what OR joins."""
        term = self._both(depth)
        while self._take("word", "OR"):
            term = _joined(term, self._both(depth), any)
        return term

    def expect_end(self) -> None:
        """Make sure that nothing is left."""
        if self._place < len(self._tokens):
            raise Refusal(400, f"query: {self._tokens[self._place][1]!r} is not expected there")

    def _both(self, depth: int) -> Term:
        term = self._comparison(depth)
        while self._take("word", "AND"):
            term = _joined(term, self._comparison(depth), all)
        return term

    def _comparison(self, depth: int) -> Term:
        left = self._sum(depth)
        sign = self._take("sign", *_COMPARE)
        return _compared(_COMPARE[sign], left, self._sum(depth)) if sign else left

    def _sum(self, depth: int) -> Term:
        term = self._remainder(depth)
        while sign := self._take("sign", "+", "-"):
            term = _computed(_ARITHMETIC[sign], term, self._remainder(depth))
        return term

    def _remainder(self, depth: int) -> Term:
        term = self._value(depth)
        while self._take("sign", "%"):
            term = _computed(operator.mod, term, self._value(depth))
        return term

    def _value(self, depth: int) -> Term:
        if depth > MAX_DEPTH:
            raise Refusal(400, f"query: more than {MAX_DEPTH} brackets or signs in each other")
        if self._take("sign", "("):
            term = self.either(depth + 1)
            if not self._take("sign", ")"):
                raise Refusal(400, "query: a bracket is not closed")
            return term
        if self._take("sign", "-"):
            return _computed(operator.sub, lambda _: [0], self._value(depth + 1))
        kind, text = self._tokens[self._place] if self._place < len(self._tokens) else ("", "the end")
        if kind not in ("number", "text", "word") or text in ("AND", "OR"):
            raise Refusal(400, f"query: {text!r} is not expected there")
        self._place += 1
        if kind == "word":
            return lambda record: _look_up(record, text.split("."))
        value = float(text) if kind == "number" else text
        return lambda _: [value]

    def _take(self, kind: str, *texts: str) -> str:
        if self._place < len(self._tokens):
            found, text = self._tokens[self._place]
            if found == kind and text in texts:
                self._place += 1
                return text
        return ""


def _look_up(record: object, path: Sequence[str]) -> Values:
    if isinstance(record, list):
        if list(path) == ["count"]:
            return [len(record)]
        return [value for entry in record for value in _look_up(entry, path)]
    if not path:
        return [record]
    if isinstance(record, Mapping) and path[0] in record:
        return _look_up(record[path[0]], path[1:])
    return []


def _joined(left: Term, right: Term, rule: Callable[[Sequence[bool]], bool]) -> Term:
    return lambda record: [rule([True in left(record), True in right(record)])]


def _compared(rule: Callable[[Any, Any], bool], left: Term, right: Term) -> Term:
    return lambda record: [any(_applied(rule, a, b) is True for a, b in _pairs(left(record), right(record)))]


def _computed(rule: Callable[[Any, Any], Any], left: Term, right: Term) -> Term:
    return lambda record: [
        value for a, b in _pairs(left(record), right(record)) if (value := _applied(rule, a, b)) is not None
    ]


def _pairs(left: Values, right: Values) -> Iterator[tuple[Any, Any]]:
    return islice(product(left, right), MAX_PAIRS)


def _applied(rule: Callable[[Any, Any], Any], left: object, right: object) -> Any:  # noqa: ANN401 - as the rule says
    """Apply a rule to two numbers or two texts; None for anything else."""
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (left, right))
    if not numbers and not (isinstance(left, str) and isinstance(right, str) and rule in _COMPARE.values()):
        return None
    try:
        return rule(left, right)
    except (OverflowError, ZeroDivisionError):
        return None
