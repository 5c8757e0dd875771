"""Queries whose answers are known to be theirs, although an answer does not repeat its question."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from intacct_dagster.client.errors import About, AnswerNotUnderstood
from intacct_dagster.client.query import LARGEST_PAGE, Query, QueryPage
from intacct_dagster.client.xml.gateway import LARGEST_XML_PAGE
from intacct_dagster.client.xml.objects import xml_object

#: How much smaller than asked for a page may be, so that no two requests in a row are alike; how
#: many keys come with a count; how often an answer to another question is asked for again.
_SPREAD: Final = 16
_KEYS_OF_A_COUNT: Final = 4
_TRIES_OF_AN_ANSWER: Final = 5


class MatchedQueries:
    """Asks queries at one entity (None: the top level) by `query`, which sends one."""

    def __init__(self, entity: str | None, query: Callable[[Query], QueryPage]) -> None:
        self._entity = entity
        self._query = query
        self._asked = itertools.count(random.randrange(_SPREAD))  # noqa: S311
        self._largest_page = LARGEST_PAGE

    def ask(self, query: Query) -> QueryPage:
        """Return one page of a query, known to be the answer to it: a little smaller at times.

        Raises AnswerNotUnderstood if no answer fits, and what sending raises.

        An answer that is given a second time, to another question (by a connection that is out of
        step, or a cache in between), can look like a page of this one. What an answer tells of its
        question is `start` and `pageSize`: so the size differs a little from one request to the
        next, and only an answer that tells both as they were asked is taken.
        """
        asked, smaller = "", 0
        for _ in range(_TRIES_OF_AN_ANSWER):
            size = self._next_size(query.size, query.object)
            page = self._query(replace(query, size=size))
            if page.start in (None, query.start):
                if page.page_size == size:
                    return page
                if 0 < page.page_size == smaller:  # twice the same: pages are no larger here
                    self._largest_page = smaller
                smaller = min(page.page_size, size - 1)
            asked = f"for {size:,} rows from {query.start:,} on, and answered with a page of "
            asked += f"{page.page_size:,} from {page.start or query.start:,} on"
        about = About(self._entity, query.object)
        raise AnswerNotUnderstood(
            f"{about} was asked {asked}, after {_TRIES_OF_AN_ANSWER - 1} others like it.",
            remedy="Answers come to other questions than were asked: check any proxy in between. "
            "Nothing of them was used.",
            entity=about.entity,
            object=about.object,
        )

    def _next_size(self, wanted: int, object: str) -> int:
        number = next(self._asked)
        if wanted == 1:  # a count: a key more or less costs nothing
            return 1 + number % _KEYS_OF_A_COUNT
        largest = LARGEST_XML_PAGE if xml_object(object) is not None else LARGEST_PAGE
        most = min(wanted, self._largest_page, largest)
        return most - number % (min(_SPREAD, most // 8) + 1)
