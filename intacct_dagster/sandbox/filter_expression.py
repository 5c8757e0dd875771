"""`filterExpression` of a query: `1 and (2 or 3)`.

Grammar (fact: Sage OpenAPI core-query):

    expression := term (("and" | "or") term)*
    term       := NUMBER | "(" expression ")"

A number counts filters from 1; the bare words `and` and `or` join all filters. How Intacct binds
`and` and `or` without parentheses is not documented: a behaviour.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

Mask: TypeAlias = list[bool]
Expression: TypeAlias = Callable[[Sequence[Mask]], Mask]

_TOKEN = re.compile(r"\s*(\d+|\(|\)|[A-Za-z]+|\S)")
_DEEPEST = 50


class ExpressionMistake(ValueError):
    """An expression that cannot be read; the message says where."""


def read_expression(
    text: str, filters: int, *, left_to_right: bool = False, all_used: bool = False
) -> Expression:
    """The expression as a function of the filters' masks.

    `filters` is how many filters there are. `left_to_right`: `and` binds no tighter than `or`.
    `all_used`: a filter that is not named is a mistake. Raises `ExpressionMistake`.
    """
    words = _TOKEN.findall(text)
    if [word.lower() for word in words] in (["and"], ["or"]):
        joint = all if words[0].lower() == "and" else any
        return lambda masks: [joint(each) for each in zip(*masks, strict=True)]
    reader = _Reader(words, filters, left_to_right)
    expression = reader.expression(0)
    if reader.rest:
        raise ExpressionMistake(f"unexpected '{reader.rest[0]}'")
    unused = set(range(1, filters + 1)) - reader.used
    if unused and all_used:
        raise ExpressionMistake(f"filter {min(unused)} is not used")
    return expression


class _Reader:
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
        return _joined(terms, any)

    def _in_turn(self, depth: int) -> Expression:
        so_far = self._term(depth)
        while self.rest and self.rest[0].lower() in ("and", "or"):
            joint = all if self.rest[0].lower() == "and" else any
            self.rest = self.rest[1:]
            so_far = _joined([so_far, self._term(depth)], joint)
        return so_far

    def _conjunction(self, depth: int) -> Expression:
        terms = [self._term(depth)]
        while self._next_is("and"):
            terms.append(self._term(depth))
        return _joined(terms, all)

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
        return lambda masks: masks[number - 1]


def _joined(terms: list[Expression], joint: Callable[[Sequence[bool]], bool]) -> Expression:
    if len(terms) == 1:
        return terms[0]
    return lambda masks: [joint(each) for each in zip(*(t(masks) for t in terms), strict=True)]
