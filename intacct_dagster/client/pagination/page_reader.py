"""Ask for a page, and accept it only if it is what it claims to be."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from intacct_dagster.client.errors import AnswerNotUnderstood
from intacct_dagster.client.http.responses import UNREADABLE
from intacct_dagster.client.pagination.progress import AttemptProgress
from intacct_dagster.client.pagination.proof import check_budget, check_length, check_times
from intacct_dagster.client.pagination.request import PageRequest
from intacct_dagster.client.pagination.rows import (
    UNDATED,
    RowDecoder,
    Rows,
    dated_decoder,
    key_at,
)
from intacct_dagster.client.query import Query, QueryPage

#: Asks for a page and returns it.
Ask = Callable[[Query], QueryPage]


class PageReader:
    """The pages of one attempt, each checked for length, order and bounds."""

    def __init__(
        self, ask: Ask, clock: Callable[[], float], request: PageRequest, progress: AttemptProgress
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._request = request
        self._progress = progress
        dated = request.window is not None
        self.decoder: RowDecoder = dated_decoder(request.changed, None) if dated else UNDATED
        self._ours: RowDecoder = (
            dated_decoder(request.changed, request.entity) if dated else UNDATED
        )
        #: the rows that Intacct puts on a page, which may be fewer than were asked for
        self.size = request.page_size
        #: what the last page took
        self.seconds = 0.0

    def read(self, bound: datetime | None, start: int) -> tuple[QueryPage, Rows]:
        """Return the page at `bound` and `start`. Raises NotProven."""
        self._progress.requests += 1
        began = self._clock()
        page = self.understood(lambda: self._ask(self._request.page(bound, start)))
        self.seconds = self._clock() - began
        return page, self.received(page, bound, start)

    def understood(self, get: Callable[[], QueryPage]) -> QueryPage:
        """Return a page; if it is not understood, raise an error that names its number."""
        try:
            return get()
        except AnswerNotUnderstood as error:
            what = f"Page {self._progress.pages + 1}: {error.what}"
            raise self._not_understood(what, error.remedy) from None

    def received(self, page: QueryPage, bound: datetime | None, start: int) -> Rows:
        """Return the rows of a page that was asked for at `bound` and `start`. Raises NotProven."""
        check_budget(self._progress, self.size, self._request.page_size)
        self._progress.pages += 1
        self.size = min(self.size, page.page_size)
        try:
            rows: Rows = self._ours.decode(page.raw)
        except UNREADABLE:
            rows = self._decode(page, self.decoder)
        self._check_length(page, rows, start)
        if self._request.window is not None:
            check_times(self._progress.pages, rows, bound, self._request.window.until)
        return rows

    def keys(self, query: Query) -> tuple[QueryPage, Rows]:
        """Return a page of keys alone, as `query` asks for it."""
        self._progress.requests += 1
        page = self._ask(query)
        rows = self._decode(page, UNDATED)
        self._check_length(page, rows, query.start)
        return page, rows

    def count(self, bound: datetime | None) -> int:
        """Return how many rows Intacct counts from `bound` to the end of the window."""
        self._progress.requests += 1
        return self._ask(self._request.count(bound)).total_count

    def _check_length(self, page: QueryPage, rows: Rows, start: int) -> None:
        check_length(self._progress.pages, page, rows, start, self.size)

    def _decode(self, page: QueryPage, decoder: RowDecoder) -> Rows:
        try:
            return decoder.decode(page.raw)
        except UNREADABLE as error:
            what = (
                f"Page {self._progress.pages} of {self._request.about} is not understood: {error}"
                f"{key_at(error, page)}."
            )
            raise self._not_understood(what, "Nothing of it was kept.") from None

    def _not_understood(self, what: str, remedy: str) -> AnswerNotUnderstood:
        about = self._request.about
        return AnswerNotUnderstood(what, remedy=remedy, entity=about.entity, object=about.object)
