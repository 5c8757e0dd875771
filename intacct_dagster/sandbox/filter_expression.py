"""`filterExpression` of a query: `1 and (2 or 3)`.

Grammar (fact: Sage OpenAPI core-query):

    expression := term (("and" | "or") term)*
    term       := NUMBER | "(" expression ")"

A number counts filters from 1; the bare words `and` and `or` join all filters. How Intacct binds
`and` and `or` without parentheses is not documented: here `and` binds tighter, as in SQL.
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


def read_expression(text: str, filters: int) -> Expression:
    """The expression as a function of the filters' masks.

    `filters` is how many filters there are. Raises `ExpressionMistake`.
    """
    words = _TOKEN.findall(text)
    if [word.lower() for word in words] in (["and"], ["or"]):
        joint = all if words[0].lower() == "and" else any
        return lambda masks: [joint(each) for each in zip(*masks, strict=True)]
    reader = _Reader(words, filters)
    expression = reader.expression(0)
    if reader.rest:
        raise ExpressionMistake(f"unexpected '{reader.rest[0]}'")
    return expression


class _Reader:
    def __init__(self, words: list[str], filters: int) -> None:
        self.rest = words
        self._filters = filters

    def _next_is(self, word: str) -> bool:
        if self.rest and self.rest[0].lower() == word:
            self.rest = self.rest[1:]
            return True
        return False

    def expression(self, depth: int) -> Expression:
        if depth > _DEEPEST:
            raise ExpressionMistake(f"more than {_DEEPEST} parentheses within each other")
        terms = [self._conjunction(depth)]
        while self._next_is("or"):
            terms.append(self._conjunction(depth))
        return _joined(terms, any)

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
        return lambda masks: masks[number - 1]


def _joined(terms: list[Expression], joint: Callable[[Sequence[bool]], bool]) -> Expression:
    if len(terms) == 1:
        return terms[0]
    return lambda masks: [joint(each) for each in zip(*(t(masks) for t in terms), strict=True)]
