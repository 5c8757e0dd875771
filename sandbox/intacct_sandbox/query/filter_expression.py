"""`filterExpression` of a query: `1 and (2 or 3)`.

Grammar (fact: Sage OpenAPI core-query):

    expression := term (("and" | "or") term)*
    term       := NUMBER | "(" expression ")"

A number counts filters from 1; the bare words `and` and `or` join all filters. How Intacct binds
`and` and `or` without parentheses is not documented: a behaviour.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

Mask: TypeAlias = list[bool]

_TOKEN = re.compile(r"\s*(\d+|\(|\)|[A-Za-z]+|\S)")
_DEEPEST = 50


@dataclass(frozen=True)
class Joint:
    """Terms of which every one must hold, or any one."""

    every: bool
    terms: tuple[Expression, ...]


Expression: TypeAlias = "int | Joint"
"""A filter by its place, counted from 0, or a joint."""


class ExpressionMistake(ValueError):
    """An expression that cannot be read; the message says where."""


def every_filter(filters: int) -> Joint:
    """Return what holds when nobody wrote an expression: all filters."""
    return Joint(True, tuple(range(filters)))


def holds(expression: Expression, masks: Sequence[Mask]) -> Mask:
    """For which records the expression holds, by the masks of the filters."""
    if isinstance(expression, int):
        return masks[expression]
    joint = all if expression.every else any
    parts = [holds(term, masks) for term in expression.terms]
    return [joint(each) for each in zip(*parts, strict=True)]


def read_expression(
    text: str, filters: int, *, left_to_right: bool = False, all_used: bool = False
) -> Expression:
    """Return the expression as a tree.

    `filters` is how many filters there are. `left_to_right`: `and` binds no tighter than `or`.
    `all_used`: a filter that is not named is a mistake. Raises `ExpressionMistake`.
    """
    words = _TOKEN.findall(text)
    if [word.lower() for word in words] in (["and"], ["or"]):
        return Joint(words[0].lower() == "and", tuple(range(filters)))
    reader = _ExpressionReader(words, filters, left_to_right)
    expression = reader.expression(0)
    if reader.rest:
        raise ExpressionMistake(f"unexpected '{reader.rest[0]}'")
    unused = set(range(1, filters + 1)) - reader.used
    if unused and all_used:
        raise ExpressionMistake(f"filter {min(unused)} is not used")
    return expression


class _ExpressionReader:
    def __init__(self, words: list[str], filters: int, left_to_right: bool) -> None:
        self.rest = words
        self.used: set[int] = set()
        self._filters = filters
        self._left_to_right = left_to_right

    def _next_is(self, word: str) -> bool:
        if self.rest and self.rest[0].lower() == word:
            self.rest = self.rest[1:]
            return True
        return False

    def expression(self, depth: int) -> Expression:
        if depth > _DEEPEST:
            raise ExpressionMistake(f"more than {_DEEPEST} parentheses within each other")
        if self._left_to_right:
            return self._in_turn(depth)
        terms = [self._conjunction(depth)]
        while self._next_is("or"):
            terms.append(self._conjunction(depth))
        return _joined(terms, every=False)

    def _in_turn(self, depth: int) -> Expression:
        so_far = self._term(depth)
        while self.rest and self.rest[0].lower() in ("and", "or"):
            every = self.rest[0].lower() == "and"
            self.rest = self.rest[1:]
            so_far = _joined([so_far, self._term(depth)], every=every)
        return so_far

    def _conjunction(self, depth: int) -> Expression:
        terms = [self._term(depth)]
        while self._next_is("and"):
            terms.append(self._term(depth))
        return _joined(terms, every=True)

    def _term(self, depth: int) -> Expression:
        if not self.rest:
            raise ExpressionMistake("the expression ends where a filter number is expected")
        if self._next_is("("):
            inner = self.expression(depth + 1)
            if not self._next_is(")"):
                raise ExpressionMistake("a parenthesis is not closed")
            return inner
        word, self.rest = self.rest[0], self.rest[1:]
        if not (word.isascii() and word.isdigit()):
            raise ExpressionMistake(f"'{word}' is not a filter number")
        number = int(word) if len(word) < 9 else self._filters + 1
        if not 1 <= number <= self._filters:
            raise ExpressionMistake(f"there is no filter {word}, only {self._filters}")
        self.used.add(number)
        return number - 1


def _joined(terms: list[Expression], *, every: bool) -> Expression:
    return terms[0] if len(terms) == 1 else Joint(every, tuple(terms))
